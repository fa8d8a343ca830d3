//! Which entries the store writes to Vault, and at which paths.

use kes_keystore::Error;
use kes_keystore::config::{KvVersion, Login, Vault};
use serde_json::json;

use super::world::{STORED, World, app_role, create, delete, list, open, read, transit_key};

#[tokio::test]
async fn v1_holds_one_field_named_like_the_key() {
    let world = World::new(KvVersion::V1);
    let store = world.open().await;
    create(&store, "a1").await.unwrap();
    assert_eq!(world.bao.root().read("kv/a1"), Some(json!({ "a1": STORED })));
    assert_eq!(world.bao.root().list("kv"), ["a1"], "no claim is left");

    world.bao.root().write("kv/theirs", &json!({ "theirs": "eA==" }));
    assert_eq!(read(&store, "theirs").await.unwrap(), "eA==");
    assert_eq!(list(&store).await, ["a1", "theirs"]);
    delete(&store, "theirs").await.unwrap();
    assert_eq!(world.bao.root().read("kv/theirs"), None);
}

#[tokio::test]
async fn v2_holds_one_field_in_one_version() {
    let world = World::new(KvVersion::V2);
    let store = world.open().await;
    create(&store, "a1").await.unwrap();
    let secret = world.bao.root().read("kv/data/a1").unwrap();
    assert_eq!(secret["data"], json!({ "a1": STORED }));
    assert_eq!(secret["metadata"]["version"], 1);
    assert_eq!(list(&store).await, ["a1"]);
}

#[tokio::test]
async fn v2_reads_the_first_version_and_deletes_all() {
    let world = World::new(KvVersion::V2);
    let root = world.bao.root();
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    root.write("kv/data/k", &json!({ "data": { "k": "written over" } }));
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    assert!(matches!(create(&store, "k").await, Err(Error::Exists { .. })));
    delete(&store, "k").await.unwrap();
    assert_eq!(root.read("kv/metadata/k"), None);
    assert_eq!(root.read("kv/data/k?version=1"), None);
}

#[tokio::test]
async fn v2_a_soft_deleted_key_is_not_found_and_can_be_removed() {
    let world = World::new(KvVersion::V2);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    world.bao.root().delete("kv/data/k");
    assert!(matches!(read(&store, "k").await, Err(Error::NotFound { .. })));
    // The version can be undeleted, so the name is not free.
    assert!(matches!(create(&store, "k").await, Err(Error::Exists { .. })));
    delete(&store, "k").await.unwrap();
    create(&store, "k").await.unwrap();
}

#[tokio::test]
async fn engine_prefix_and_namespace_may_hold_slashes() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let number = super::world::number(version);
        let space = world.bao.root().create_namespace("team").create_namespace("minio");
        assert_eq!(space.path(), "team/minio");
        let role = space.set_up().kv("a/b", number).login_engine("logins/minio").app_role();
        let Login::AppRole { id, secret, .. } = app_role(&role) else { unreachable!() };
        let engine = "logins/minio".to_owned();
        let store = open(Vault {
            engine: "a/b".to_owned(),
            prefix: "c d/e".to_owned(),
            namespace: "team/minio".to_owned(),
            login: Login::AppRole { engine, namespace: None, id, secret },
            ..world.config()
        })
        .await;
        create(&store, "k").await.unwrap();
        create(&store, "k").await.unwrap_err();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
        assert_eq!(list(&store).await, ["k"]);
        match version {
            KvVersion::V1 => assert_eq!(space.read("a/b/c%20d/e/k"), Some(json!({ "k": STORED }))),
            KvVersion::V2 => {
                assert_eq!(space.list("a/b/metadata/c%20d/e"), ["k"]);
            }
        }
        delete(&store, "k").await.unwrap();
        assert!(super::world::is_reachable(&store));
    }
}

#[tokio::test]
async fn a_folder_and_a_foreign_name_are_no_keys() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    for path in ["kv/key", "kv/folder/key", "kv/a.b", "kv/-x", "kv/.kes-claims/key/1"] {
        root.write(path, &json!({ "x": "y" }));
    }
    let store = world.open().await;
    assert_eq!(list(&store).await, ["key"]);
}

#[tokio::test]
async fn what_is_no_stored_key_is_said_to_be_damaged() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    root.write("kv/other", &json!({ "value": "hunter2" }));
    root.write("kv/number", &json!({ "number": 20_771 }));
    root.write("kv/long", &json!({ "long": "hunter2".repeat(12_000) }));
    let store = world.open().await;
    for key in ["other", "number", "long"] {
        let error = read(&store, key).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("20771"), "{text}");
        // The entry exists, whatever it is.
        assert!(matches!(create(&store, key).await, Err(Error::Exists { .. })));
    }
    let error = read(&store, "other").await.unwrap_err().to_string();
    let expected = "key store: vault: 'other' is not a key of this server (its entry in Vault has no text in a \
                    field of that name)";
    assert_eq!(error, expected);
    assert!(matches!(read(&store, "long").await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn transit_wraps_and_a_rotated_key_still_reads() {
    let world = World::new(KvVersion::V2);
    let store = open(Vault { transit: Some(transit_key()), ..world.config() }).await;
    create(&store, "first").await.unwrap();
    world.bao.root().rotate_transit("transit", "wrap");
    create(&store, "second").await.unwrap();
    for (key, start) in [("first", "vault:v1:"), ("second", "vault:v2:")] {
        let secret = world.bao.root().read(&format!("kv/data/{key}")).unwrap();
        let text = secret["data"][key].as_str().unwrap();
        assert!(text.starts_with(start), "{text}");
        assert_eq!(read(&store, key).await.unwrap(), STORED);
    }

    // Without the transit engine, the error says what is missing.
    let plain = world.open().await;
    let error = read(&plain, "first").await.unwrap_err();
    let expected = "key store: vault: key 'first' is encrypted by Vault's transit engine; set \
                    keystore.vault.transit";
    assert_eq!(error.to_string(), expected);
    // Keys from before the engine was configured stay readable.
    create(&plain, "plain").await.unwrap();
    assert_eq!(read(&store, "plain").await.unwrap(), STORED);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_an_error_and_no_missing_key() {
    let world = World::new(KvVersion::V1);
    world.bao.root().write_policy(
        "kes",
        "path \"*\" { capabilities = [\"sudo\", \"read\", \"create\", \"list\"] }",
    );
    let store = open(Vault { engine: "none".to_owned(), ..world.config() }).await;
    let error = read(&store, "k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let error = create(&store, "k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}
