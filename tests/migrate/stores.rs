use std::time::{Duration, Instant};

use kes_testkit::{Bao, Port, Process, wait};

use super::{World, hidden};

fn is_refused(world: &World) {
    for flags in [&[][..], &["--force"], &["--merge"], &["--dry-run"]] {
        let ran = world.run(flags);
        assert_eq!(ran.status, 1, "{ran:#?}");
        let [error] = ran.errors()[..] else { panic!("{ran:#?}") };
        assert!(error.contains("source and target are the same key store"), "{error}");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_folder_is_not_copied_to_itself() {
    let world = World::with_keys(3);
    std::os::unix::fs::symlink("from", world.path("link")).unwrap();
    let before = world.keys("from");
    for path in ["from", "./from", "from/", "link", "link/", "from/../from"] {
        world.keystore("to", &format!("fs: {{ path: {path} }}"));
        is_refused(&world);
    }
    let absolute = world.path("from");
    world.keystore("to", &format!("fs: {{ path: {} }}", absolute.display()));
    is_refused(&world);
    assert_eq!(world.keys("from"), before);
    assert_eq!(hidden(&absolute), [""; 0]);
}

#[test]
fn an_engine_is_not_copied_to_itself() {
    let mut world = World::new();
    let bao = Bao::start_in_memory();
    let team = bao.root().create_namespace("team");
    let role = team.set_up().kv("kv", 2).app_role();
    world.env.push(("ID".to_owned(), role.role_id));
    world.env.push(("SECRET".to_owned(), role.secret_id));
    let vault = |endpoint: &str, place: &str| {
        format!(
            "vault: {{ endpoint: \"{endpoint}\", version: v2, {place}, \
             approle: {{ namespace: team, id: \"${{ID}}\", secret: \"${{SECRET}}\" }} }}"
        )
    };
    let url = bao.url();
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_ne!(url, by_name);
    world.keystore("from", &vault(&url, "namespace: team, engine: kv, prefix: a"));
    for (endpoint, place) in [
        (&url, "namespace: team, engine: kv, prefix: a"),
        (&url, "namespace: team/, engine: /kv/, prefix: /a/"),
        (&format!("{url}/"), "namespace: team, engine: kv, prefix: a"),
        (&by_name, "namespace: team, engine: kv, prefix: a"),
        // The namespace is a part of the path.
        (&url, "engine: team/kv, prefix: a"),
    ] {
        world.keystore("to", &vault(endpoint, place));
        is_refused(&world);
    }
    // Another place of the same engine.
    world.keystore("to", &vault(&url, "namespace: team, engine: kv, prefix: b"));
    world.run(&[]).is_good("Migration succeeded! No keys migrated.");
}

#[test]
fn a_source_that_does_not_exist_is_not_made() {
    let world = World::new();
    world.keystore("from", "fs: { path: nope }");
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:#?}");
    let [error] = ran.errors()[..] else { panic!("{ran:#?}") };
    assert!(
        error.starts_with("source: from.yml:1: keystore.fs.path: cannot open folder"),
        "{error}"
    );
    assert!(!world.path("nope").exists() && !world.path("to").exists());
}

#[test]
fn a_store_that_is_away_ends_the_run_at_once() {
    let world = World::with_keys(300);
    let port = Port::free();
    let vault = format!(
        "vault: {{ endpoint: \"http://{}\", approle: {{ id: a, secret: b }} }}",
        port.address()
    );
    world.keystore("away", &vault);
    let start = Instant::now();
    let to = world.run_with(&["--from", "from.yml", "--to", "away.yml"]);
    let [error] = to.errors()[..] else { panic!("{to:#?}") };
    assert!(error.starts_with("cannot use the target: key store: vault: "), "{to:#?}");
    let from = world.run_with(&["--from", "away.yml", "--to", "to.yml"]);
    let [error] = from.errors()[..] else { panic!("{from:#?}") };
    assert!(error.starts_with("cannot list the keys of the source: "), "{from:#?}");
    assert_eq!((to.status, from.status), (1, 1));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn a_wrong_password_ends_the_run_before_the_first_key() {
    let world = World::with_keys(300);
    let bao = Bao::start_in_memory();
    let role = bao.root().set_up().kv("kv", 1).app_role();
    let vault = format!(
        "vault: {{ endpoint: \"{}\", approle: {{ id: {}, secret: wrong }} }}",
        bao.url(),
        role.role_id
    );
    world.keystore("to", &vault);
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.last()), (1, "Migrated      0 key."), "{ran:#?}");
    let [error] = ran.errors()[..] else { panic!("{ran:#?}") };
    assert!(error.starts_with("cannot use the target: "), "{error}");
}

/// Vault dies in the middle: the run ends, tells how far it is, and another one completes it.
#[test]
fn a_store_that_goes_away_ends_the_run_and_another_completes_it() {
    let mut world = World::with_keys(4_000);
    let mut bao = Bao::start();
    let role = bao.root().set_up().kv("kv", 2).app_role();
    world.env.push(("ID".to_owned(), role.role_id));
    world.env.push(("SECRET".to_owned(), role.secret_id));
    let vault = format!(
        "vault: {{ endpoint: \"{}\", version: v2, approle: {{ id: \"${{ID}}\", secret: \"${{SECRET}}\" }} }}",
        bao.url()
    );
    world.keystore("to", &vault);
    let mut command = world.command(&["--from", "from.yml", "--to", "to.yml"]);
    let (out, err) = (world.path("out"), world.path("err"));
    command.stdout(std::fs::File::create(&out).unwrap());
    command.stderr(std::fs::File::create(&err).unwrap());
    let mut process = Process::start(command);
    wait::eventually(Duration::from_secs(60), "keys arrive", || {
        bao.root().list("kv/metadata").len() > 100
    });
    bao.kill();
    let mut status = None;
    wait::eventually(Duration::from_secs(120), "the run ends", || {
        status = process.exit_status();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    let err = std::fs::read_to_string(err).unwrap();
    assert!(err.contains("Error: cannot use the target: key store: vault: "), "{err}");
    assert!(err.ends_with(" of 4000 keys; run it again to complete it\n"), "{err}");
    // Those at work, and not thousands.
    assert!(err.lines().count() < 50, "{err}");
    bao.start_again();
    bao.unseal();
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    assert_eq!(bao.root().list("kv/metadata").len(), 4_000);
}
