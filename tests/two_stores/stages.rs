use super::*;
use crate::harness;

/// Keys with a ciphertext of each, which every stage has to open.
struct Keys(Vec<(String, String)>);

impl Keys {
    async fn make(&mut self, client: &mut Client, key: &str) {
        assert_eq!(create(client, key).await, 200, "{key}");
        self.0.push((key.to_owned(), seal(client, key).await.unwrap()));
    }

    /// All keys are there, and none is created anew.
    async fn work(&self, client: &mut Client, stage: &str) {
        for (key, ciphertext) in &self.0 {
            assert_eq!(open(client, key, ciphertext).await, 200, "{stage}: {key}");
            assert_eq!(create(client, key).await, 400, "{stage}: {key}");
        }
        let (_, names) = send(client, "GET", "/v1/key/list/*", &Value::Null).await;
        let names = names["names"].as_array().unwrap().len();
        assert_eq!(names, self.0.len(), "{stage}");
    }
}

/// Walks from one store to the other, back, and to the end.
async fn walk(vault: &Vault, old: Kind, new: Kind) {
    // The keys of each walk have a place of their own.
    let [here, there] =
        ["here", "there"].map(|place| format!("{place}-{old:?}-{new:?}").to_lowercase());
    let (from, to) = (vault.section(old, &here), vault.section(new, &there));
    let config = config(&from).env("ID", &vault.role.role_id).env("SECRET", &vault.role.secret_id);
    let server = Server::with(&config);
    // A reload makes no folder.
    if new == Kind::Folder {
        std::fs::create_dir(server.file(&there)).unwrap();
    }
    let stage = |stage: Stage| config.clone().with("migration", &stage.section(&to));
    let mut client = admin(&server).await;
    let mut keys = Keys(Vec::new());
    for number in 0..3 {
        keys.make(&mut client, &format!("before-{number}")).await;
    }
    counted(&server, &stage(FIRST), [3, 0, 0]).await;
    keys.make(&mut client, "first").await;
    keys.work(&mut client, "first").await;

    server.reload_and_wait(&stage(DOUBLE));
    keys.make(&mut client, "double").await;
    keys.work(&mut client, "double").await;
    counted(&server, &stage(DOUBLE), [4, 0, 1]).await;

    let copied = migrated(&server, &[]);
    assert!(copied.contains("Migrated      4 keys successfully!"), "{old:?} {new:?}: {copied}");
    counted(&server, &stage(COMPARE), [0, 0, 5]).await;
    keys.work(&mut client, "compare").await;
    keys.make(&mut client, "compared").await;

    server.reload_and_wait(&stage(READ_NEW));
    keys.work(&mut client, "read new").await;
    keys.make(&mut client, "read-new").await;
    // A delete is one from both.
    keys.make(&mut client, "deleted").await;
    assert_eq!(delete(&mut client, "deleted").await, 200);
    keys.0.pop();
    counted(&server, &stage(READ_NEW), [0, 0, 7]).await;

    server.reload_and_wait(&stage(WRITE_NEW));
    keys.make(&mut client, "new-alone").await;
    keys.work(&mut client, "write new").await;
    assert_eq!(delete(&mut client, "first").await, 200);
    keys.0.retain(|(key, _)| key != "first");
    counted(&server, &stage(WRITE_NEW), [0, 1, 6]).await;

    // The way back.
    server.reload_and_wait(&stage(READ_NEW));
    let copied = migrated(&server, &["--back"]);
    assert!(copied.contains("Migrated      1 key successfully!"), "{old:?} {new:?}: {copied}");
    counted(&server, &stage(DOUBLE), [0, 0, 7]).await;
    keys.work(&mut client, "back to double").await;
    server.reload_and_wait(&config);
    keys.work(&mut client, "back to the old store").await;

    // And to the end.
    server.reload_and_wait(&stage(READ_NEW));
    keys.make(&mut client, "again").await;
    let copied = migrated(&server, &[]);
    assert!(copied.contains("No keys migrated"), "{old:?} {new:?}: {copied}");
    server.reload_and_wait(&stage(WRITE_NEW));
    server.reload_and_wait(&config.clone().with("keystore", &to));
    keys.work(&mut client, "the new store").await;
    keys.make(&mut client, "after").await;
}

fn walk_from(old: Kind) {
    harness::run(async {
        let vault = Vault::start();
        for new in KINDS {
            walk(&vault, old, new).await;
        }
    });
}

#[test]
fn keys_move_from_a_folder_to_every_store_and_back() {
    walk_from(Kind::Folder);
}

#[test]
fn keys_move_from_version_1_to_every_store_and_back() {
    walk_from(Kind::V1);
}

#[test]
fn keys_move_from_version_2_to_every_store_and_back() {
    walk_from(Kind::V2);
}

#[test]
fn keys_move_from_transit_to_every_store_and_back() {
    walk_from(Kind::Transit);
}
