use super::*;
use crate::harness::{self, Exposition};

const TO: &str = "{ fs: { path: new } }";

fn stage(stage: Stage) -> Config {
    config("{ fs: { path: keys } }").with("migration", &stage.section(TO))
}

/// A server whose two folders have one key in both, and one in each alone.
async fn apart() -> (Server, Client) {
    let server = Server::with(&stage(DOUBLE));
    let mut client = admin(&server).await;
    for key in ["both", "old-alone", "new-alone"] {
        assert_eq!(create(&mut client, key).await, 200);
    }
    std::fs::remove_file(server.file("new").join("old-alone")).unwrap();
    std::fs::remove_file(server.file("keys").join("new-alone")).unwrap();
    (server, client)
}

#[test]
fn status_and_metrics_tell_the_stage_and_where_keys_are() {
    harness::run(async {
        let (server, mut client) = apart().await;
        counted(&server, &stage(DOUBLE), [1, 1, 1]).await;
        let told = told(&mut client).await;
        assert_eq!(
            (&told["read"], &told["write"], &told["compare"]),
            (&json!("old"), &json!("both"), &json!(false))
        );
        assert_eq!(told["keys"]["old_names"], json!(["old-alone"]));
        assert_eq!(told["keys"]["new_names"], json!(["new-alone"]));
        assert_eq!(told["new"]["place"], "filesystem: new");

        let command = || {
            let output = server.command(Who::Admin, &["status", "-k"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let status = command();
        for line in [
            "  Migrate  read old, write both\n",
            "  · Old    filesystem: keys\n",
            "  · New    filesystem: new\n",
            "  · Keys   1 in both, 1 in the old alone (old-alone), 1 in the new alone (new-alone); counted",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        let metrics = Exposition::of(&mut client).await;
        for (series, value) in [
            ("kes_migration_stage{compare=\"off\",read=\"old\",write=\"both\"}", 1.0),
            ("kes_migration_store_reachable{store=\"old\"}", 1.0),
            ("kes_migration_keys{in=\"old\"}", 1.0),
            ("kes_migration_keys{in=\"new\"}", 1.0),
            ("kes_migration_keys{in=\"both\"}", 1.0),
            ("kes_migration_differences", 0.0),
            ("kes_migration_unfinished", 0.0),
        ] {
            assert_eq!(metrics.value(series), value, "{series}");
        }

        // Whoever may see the status alone is told no names.
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let told = super::told(&mut minio).await;
        assert_eq!((&told["keys"]["old"], &told["keys"]["old_names"]), (&json!(1), &Value::Null));
        assert_eq!(
            (&told["old"]["place"], &told["old"]["unreachable"]),
            (&Value::Null, &json!(false))
        );

        server.reload_and_wait(&config("{ fs: { path: keys } }"));
        server
            .wait_for_stderr("1 keys were in the new key store alone when they were counted last");
        assert!(!server.stderr().contains("keys were in the old key store alone"));
        assert!(super::told(&mut client).await.is_null());
        assert!(!command().contains("Migrate"));
    });
}

#[test]
fn different_values_are_told_and_not_used() {
    harness::run(async {
        let (server, mut client) = apart().await;
        let other = std::fs::read(server.file("new").join("new-alone")).unwrap();
        std::fs::write(server.file("new").join("both"), other).unwrap();
        server.reload_and_wait(&stage(COMPARE));
        assert!(seal(&mut client, "both").await.unwrap_err() >= 500);
        assert!(seal(&mut client, "old-alone").await.is_ok());
        server
            .wait_for_stderr("key 'both' has different values in the old store and in the new one");
        let told = told(&mut client).await;
        assert_eq!(told["differing"], json!(["both"]));
        assert!(Exposition::of(&mut client).await.value("kes_migration_differences") >= 1.0);
        let output = server.command(Who::Admin, &["status", "-k"]).output().unwrap();
        let status = String::from_utf8(output.stdout).unwrap();
        assert!(status.contains("found different values (both)"), "{status}");
        // The copy finds it as well.
        let output = migrate(&server, &[]);
        assert!(!output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains("'both' was not migrated: the target has another value"),
            "{stderr}"
        );
        assert!(stderr.contains("1 key (new-alone) are in the target alone"), "{stderr}");
        assert!(!stderr.contains("--force"), "{stderr}");
    });
}

#[test]
fn a_change_that_one_store_cannot_complete_is_told_and_completed() {
    harness::run(async {
        let server = Server::with(&stage(DOUBLE));
        let mut client = admin(&server).await;
        // What cannot begin changes nothing.
        let (new, away) = (server.file("new"), server.file("away"));
        std::fs::rename(&new, &away).unwrap();
        std::fs::create_dir(&new).unwrap();
        assert!(create(&mut client, "k").await >= 500);
        assert!(!server.file("keys").join("k").exists());
        std::fs::remove_dir(&new).unwrap();
        std::fs::rename(&away, &new).unwrap();
        eventually_async(PATIENCE, "the key is created", || {
            let mut client = client.share();
            async move { create(&mut client, "k").await == 200 }
        })
        .await;
        let [one, other] =
            ["keys", "new"].map(|folder| std::fs::read(server.file(folder).join("k")));
        assert_eq!(one.unwrap(), other.unwrap());
        // Neither does a delete that cannot begin.
        std::fs::rename(&new, &away).unwrap();
        std::fs::create_dir(&new).unwrap();
        assert!(delete(&mut client, "k").await >= 500);
        assert_eq!(told(&mut client).await["unfinished"], 0);
        assert!(server.file("keys").join("k").exists() && away.join("k").exists());
        std::fs::remove_dir(&new).unwrap();
        std::fs::rename(&away, &new).unwrap();
        eventually_async(PATIENCE, "the key is deleted", || {
            let mut client = client.share();
            async move { delete(&mut client, "k").await == 200 }
        })
        .await;
        assert!(!server.file("keys").join("k").exists() && !new.join("k").exists());
        // A create whose second half fails is completed once it can be, also after a reload. What is no
        // file is no key, and in the way of one.
        std::fs::create_dir(new.join("half")).unwrap();
        assert!(create(&mut client, "half").await >= 500);
        assert_eq!(told(&mut client).await["unfinished"], 1);
        server
            .wait_for_stderr("key 'half' was created in the old store and not yet in the new one");
        server.reload_and_wait(&stage(READ_NEW));
        assert_eq!(told(&mut client).await["unfinished"], 1);
        std::fs::remove_dir(new.join("half")).unwrap();
        eventually_async(PATIENCE, "the create is completed", || {
            let mut client = client.share();
            async move { told(&mut client).await["unfinished"] == 0 }
        })
        .await;
        let [one, other] =
            ["keys", "new"].map(|folder| std::fs::read(server.file(folder).join("half")));
        assert_eq!(one.unwrap(), other.unwrap());
        // A server that ends says what it leaves half done.
        std::fs::create_dir(new.join("left")).unwrap();
        assert!(create(&mut client, "left").await >= 500);
        server.signal(rustix::process::Signal::TERM);
        server.wait_for_stderr("made in one of the two key stores alone: create of 'left'");
    });
}

#[test]
fn one_store_is_not_two() {
    for (to, told) in [
        (
            "{ fs: { path: keys } }",
            "config.yml:11: migration.to: is the key store that 'keystore' names",
        ),
        (
            "{ fs: { path: ./keys } }",
            "config.yml:11: migration.to: the new key store is the old one",
        ),
        (
            "{ fs: { path: keys/new } }",
            "the folder of the new key store is within that of the old one",
        ),
    ] {
        let config = config("{ fs: { path: keys } }").with("migration", &DOUBLE.section(to));
        let refused = Server::refused(&config, |_| {});
        assert!(refused.stderr.contains(told), "{to}: {}", refused.stderr);
    }
}

#[test]
fn both_stores_are_checked() {
    harness::run(async {
        let server = Server::with(&stage(DOUBLE));
        let mut command = server.command(Who::Nobody, &["check", "--config", "config.yml"]);
        command.envs(server.environment().iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in [
            "keystore: scratch key: created, read, listed and deleted",
            "migration.to: scratch key: created, read, listed and deleted",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    });
}

#[test]
fn arguments_of_a_copy_beside_servers_are_checked() {
    let server = Server::with(&config("{ fs: { path: keys } }"));
    for (args, told) in [
        (&["migrate", "--rate", "5", "--from", "a", "--to", "b"][..], "--rate is for --online"),
        (&["migrate", "--online"], "no configuration file of the servers: --config"),
        (
            &["migrate", "--online", "--config", "config.yml", "--force"],
            "--force is not for --online",
        ),
        (
            &["migrate", "--online", "--config", "config.yml", "--to", "b"],
            "leave out --from and --to",
        ),
        (&["migrate", "--online", "--from", "a", "--to", "b", "--back"], "--back is for --config"),
        (
            &["migrate", "--online", "--config", "config.yml"],
            "config.yml has no section 'migration'",
        ),
    ] {
        let mut command = server.command(Who::Nobody, args);
        command.envs(server.environment().iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(told), "{args:?}: {stderr}");
    }
}
