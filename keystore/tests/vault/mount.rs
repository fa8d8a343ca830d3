//! The configuration has one version of the KV engine, and the engine has the other.

use kes_keystore::config::{KvVersion, Place, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore};
use kes_testkit::faulty::{Faulty, Reply, Request};
use serde_json::{Value, json};

use super::world::{
    STORED, World, create, delete, list, list_of, name, open, read, transit_key, value,
};

const ALL: &str = r#"{ capabilities = ["create", "read", "delete", "list"] }"#;

/// What the reference stores with `version: v2` in an engine of version 1.
fn as_version_2(key: &str, text: &str) -> Value {
    json!({ "data": { key: text }, "options": { "cas": 0 } })
}

/// `version: v2`, and an engine of version 1 at `engine` in which everything is granted.
async fn plain(world: &World, engine: &str, prefix: &str) -> VaultStore {
    let policy = format!("path \"{engine}/*\" {ALL}");
    world.bao.root().write_policy("kes", &policy);
    open(Vault {
        version: KvVersion::V2,
        engine: engine.to_owned(),
        prefix: prefix.to_owned(),
        ..world.config()
    })
    .await
}

#[tokio::test]
async fn keys_of_version_2_in_an_engine_of_version_1_stay_where_they_are() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    root.enable_kv("a/b", 1);
    // Made as `vault secrets enable kv` does, without a version.
    root.must("POST", "sys/mounts/plain", Some(&json!({ "type": "kv" })));
    for engine in ["kv", "a/b", "plain"] {
        for prefix in ["", "team/minio"] {
            let store = plain(&world, engine, prefix).await;
            let folder = [engine, "data", prefix].join("/");
            let folder = folder.trim_end_matches('/');
            root.write(&format!("{folder}/k"), &as_version_2("k", "eA=="));
            assert_eq!(read(&store, "k").await.unwrap(), "eA==", "{folder}");
            let again = create(&store, "k").await;
            assert!(matches!(again, Err(Error::Exists { .. })), "{folder}: {again:?}");
            create(&store, "new").await.unwrap();
            assert_eq!(root.read(&format!("{folder}/new")), Some(as_version_2("new", STORED)));
            assert_eq!(read(&store, "new").await.unwrap(), STORED);
            assert_eq!(list(&store).await, ["k", "new"], "{folder}");
            assert_eq!(root.list(folder), ["k", "new"], "no claim is left");
            delete(&store, "k").await.unwrap();
            delete(&store, "k").await.unwrap();
            assert_eq!(root.list(folder), ["new"]);
            assert!(matches!(read(&store, "k").await, Err(Error::NotFound { .. })));
            delete(&store, "new").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_servers_one_creates_a_key_there_too() {
    let world = World::new(KvVersion::V1);
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(std::sync::Arc::new(plain(&world, "kv", "").await));
    }
    // The result is the same with the right to overwrite.
    let rights = r#"["create", "update", "read", "delete", "list"]"#;
    world.bao.root().write_policy("kes", &format!("path \"kv/*\" {{ capabilities = {rights} }}"));
    for round in 0..10 {
        let key = format!("key-{round}");
        let winner = super::creators::race(&servers, &key, 2).await;
        assert_eq!(read(&*servers[0], &key).await.unwrap(), winner);
    }
}

#[tokio::test]
async fn the_documented_policy_for_version_2_is_enough_there_for_reading_and_creating() {
    let world = World::new(KvVersion::V1);
    let config = Vault { version: KvVersion::V2, transit: Some(transit_key()), ..world.config() };
    let policy = kes_testkit::bao::minimal_kv_policy("kv", 2)
        + &kes_testkit::bao::minimal_transit_policy("transit", "wrap");
    world.bao.root().write_policy("kes", &policy);
    let store = open(config).await;
    create(&store, "k").await.unwrap();
    assert!(matches!(create(&store, "k").await, Err(Error::Exists { .. })));
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    let secret = world.bao.root().read("kv/data/k").unwrap();
    assert!(secret["data"]["k"].as_str().unwrap().starts_with("vault:v1:"), "{secret}");
    // A delete that removes nothing does not report success: it needs another right there.
    let error = delete(&store, "k").await.unwrap_err().to_string();
    assert!(error.contains("grant \"delete\" on \"kv/data/*\""), "{error}");
}

/// A proxy that hides the version of the engine from the store.
fn mute(world: &World) -> Faulty {
    let server = world.bao.admin_address();
    Faulty::start(move |request: &Request| {
        if request.path().starts_with("/v1/sys/internal/") {
            return Reply::json(403, json!({ "errors": ["permission denied"] }));
        }
        Reply::Forward(server)
    })
}

#[tokio::test]
async fn where_vault_does_not_tell_its_version_answers_do() {
    for (real, configured) in [
        (KvVersion::V1, KvVersion::V1),
        (KvVersion::V2, KvVersion::V2),
        (KvVersion::V1, KvVersion::V2),
    ] {
        let world = World::new(real);
        let root = world.bao.root();
        if real != configured {
            root.write_policy("kes", &format!("path \"kv/*\" {ALL}"));
        }
        let node = mute(&world);
        let config = || Vault {
            endpoints: vec![node.url().parse().unwrap()],
            version: configured,
            ..world.config()
        };
        let of = format!("{configured:?} on {real:?}");
        // Each operation is the first one of a store.
        create(&open(config()).await, "k").await.unwrap();
        let again = open(config()).await.create(&name("k"), &value("another")).await;
        assert!(matches!(again, Err(Error::Exists { .. })), "{of}: {again:?}");
        assert_eq!(read(&open(config()).await, "k").await.unwrap(), STORED, "{of}");
        assert_eq!(list(&open(config()).await).await, ["k"], "{of}");
        delete(&open(config()).await, "k").await.unwrap();
        assert!(matches!(read(&open(config()).await, "k").await, Err(Error::NotFound { .. })));
        assert_eq!(list(&open(config()).await).await, [""; 0], "{of}");
        delete(&open(config()).await, "k").await.unwrap();
        // All operations on one store.
        let store = open(config()).await;
        create(&store, "k").await.unwrap();
        assert_eq!(list(&store).await, ["k"], "{of}");
        delete(&store, "k").await.unwrap();
        create(&store, "k").await.unwrap();
        delete(&store, "k").await.unwrap();
        let folder = if real == configured { "kv" } else { "kv/data" };
        assert_eq!(root.list(folder), [""; 0], "{of}");
    }
}

#[tokio::test]
async fn an_engine_of_version_2_takes_nothing_for_version_1_and_it_is_said_what_to_write() {
    let world = World::new(KvVersion::V2);
    let root = world.bao.root();
    root.write_policy("kes", &format!("path \"kv/*\" {ALL}"));
    root.write("kv/config", &json!({ "max_versions": 7 }));
    // Names and prefixes that have a meaning for such an engine.
    for (prefix, key) in [("", "k"), ("", "config"), ("p", "k"), ("data", "k"), ("metadata", "k")] {
        let config =
            || Vault { version: KvVersion::V1, prefix: prefix.to_owned(), ..world.config() };
        let store = open(config()).await;
        let error = create(&store, key).await.unwrap_err();
        // An entry that can be read there is not a key, and its name is taken.
        if key != "config" {
            assert!(matches!(error, Error::Unavailable { .. }), "{prefix} {key}: {error:?}");
            assert!(error.to_string().contains("write `version: v2`"), "{prefix} {key}: {error}");
        }
        assert!(read(&store, key).await.is_err(), "{prefix} {key}");
        assert_eq!(root.read("kv/config").unwrap()["max_versions"], 7);
        assert_eq!(root.list("kv/metadata"), [""; 0], "{prefix} {key}");

        // Nothing is written either if the version is not known.
        let node = mute(&world);
        let endpoints = vec![node.url().parse().unwrap()];
        let store = open(Vault { endpoints, ..config() }).await;
        assert!(create(&store, key).await.is_err(), "{prefix} {key}");
        assert_eq!(root.read("kv/config").unwrap()["max_versions"], 7);
        assert_eq!(root.list("kv/metadata"), [""; 0], "{prefix} {key}");
    }
    let config = || Vault { version: KvVersion::V1, ..world.config() };
    each_is_told(config, "write `version: v2`").await;
}

/// Each operation, as the first one of a store, reports what is wrong with the configuration.
async fn each_is_told(config: impl Fn() -> Vault, advice: &str) {
    let open = || open(config());
    for text in [
        create(&open().await, "k").await.unwrap_err().to_string(),
        read(&open().await, "k").await.unwrap_err().to_string(),
        delete(&open().await, "k").await.unwrap_err().to_string(),
        list_of(&open().await).await.unwrap_err().to_string(),
    ] {
        assert!(text.ends_with(advice), "{text}");
        assert!(!text.contains("grant"), "{text}");
    }
}

/// The message does not advise to grant a right that would not help.
#[tokio::test]
async fn the_documented_policy_for_version_2_with_version_1_is_no_missing_right() {
    let world = World::new(KvVersion::V2);
    let of = |engine: &'static str, prefix: &'static str| {
        let world = &world;
        move || Vault {
            version: KvVersion::V1,
            engine: engine.to_owned(),
            prefix: prefix.to_owned(),
            ..world.config()
        }
    };
    each_is_told(of("kv", ""), "write `version: v2`").await;
    each_is_told(of("kv", "minio"), "write `version: v2`").await;
    // A key that exists there is not changed.
    let secret = json!({ "data": { "k": STORED } });
    for folder in ["", "minio/"] {
        world.bao.root().write(&format!("kv/data/{folder}k"), &secret);
    }
    each_is_told(of("kv/data", ""), "write `engine: kv` and `version: v2`").await;
    for (engine, prefix) in [("kv/data/minio", "minio"), ("kv/minio", "minio")] {
        let advice =
            format!("write `engine: kv`, `version: v2` and a prefix that begins with {prefix}");
        each_is_told(of(engine, ""), &advice).await;
    }
    for folder in ["", "minio"] {
        let prefix = folder.to_owned();
        let store = open(Vault { prefix, ..world.config() }).await;
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }
}

/// A configuration for version 2 whose engine is a path.
fn at_path(world: &World, engine: &str, prefix: &str) -> Vault {
    let file = Some(std::path::Path::new("config.yml").into());
    Vault {
        engine: engine.to_owned(),
        engine_place: Some(Place { file, line: 12, field: "keystore.vault.engine".to_owned() }),
        prefix: prefix.to_owned(),
        version: KvVersion::V2,
        ..world.config()
    }
}

/// With few rights and with many, nothing is created, and nothing of another program is deleted.
#[tokio::test]
async fn a_path_within_an_engine_of_version_2_is_refused_with_what_to_write() {
    let world = World::new(KvVersion::V2);
    let root = world.bao.root();
    let documented = kes_testkit::bao::minimal_kv_policy("kv", 2);
    let everything = format!("path \"kv/*\" {ALL}");
    for policy in [&documented, &everything] {
        root.write_policy("kes", policy);
        for (engine, prefix, advice) in [
            ("kv/data", "", "write `engine: kv` and `prefix: data`, where the keys made with"),
            ("kv//data/", "", "if there are none, write `engine: kv`"),
            ("kv/data", "p", "write `engine: kv` and `prefix: data/p`, where"),
            ("kv/data", "p", "if there are none, write `engine: kv` and `prefix: p`"),
            ("kv/data/team", "", "write `engine: kv` and `prefix: team/data`, where"),
            ("kv/metadata", "", "write `engine: kv`"),
            ("kv/metadata/team", "p", "write `engine: kv` and `prefix: team/p`"),
            ("kv/team", "", "write `engine: kv` and `prefix: team`"),
        ] {
            // What a delete of `k` would remove.
            let other = root_path(&format!("{engine}/metadata/{prefix}/k"));
            let secret = json!({ "data": { "v": "1" } });
            let stands = other.starts_with("kv/data/");
            if stands {
                root.write(&other, &secret);
            }
            let open = || open(at_path(&world, engine, prefix));
            for error in [
                create(&open().await, "k").await.unwrap_err(),
                delete(&open().await, "k").await.unwrap_err(),
                list_of(&open().await).await.unwrap_err(),
            ] {
                assert!(matches!(error, Error::Unavailable { .. }), "{engine}: {error:?}");
                let text = error.to_string();
                let place = format!(
                    "config.yml:12: keystore.vault.engine: '{}' is a path within 'kv'",
                    root_path(engine)
                );
                assert!(text.contains(&place), "{engine}: {text}");
                assert!(text.contains(advice), "{engine}: {text}");
                assert!(!text.contains("grant"), "{engine}: {text}");
            }
            if stands {
                assert_eq!(root.read(&other).unwrap()["data"]["v"], "1", "{engine}");
                root.must("DELETE", &other.replacen("data", "metadata", 1), None);
            }
            assert_eq!(root.list("kv/metadata"), [""; 0], "{engine} {prefix}");
        }
    }
}

/// A path without its empty parts.
fn root_path(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// Keys that the reference created with such a configuration are read, and the advised
/// configuration finds them.
#[tokio::test]
async fn keys_at_a_path_within_an_engine_of_version_2_can_be_read_and_are_found_as_advised() {
    let world = World::new(KvVersion::V2);
    let root = world.bao.root();
    root.write("kv/data/data/k", &json!({ "data": { "k": STORED } }));
    let store = open(at_path(&world, "kv/data", "")).await;
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    assert!(matches!(create(&store, "k").await, Err(Error::Exists { .. })));
    // The answer to a read shows the version of the engine, but not where it is mounted.
    assert!(delete(&store, "k").await.is_err());
    assert_eq!(root.list("kv/metadata/data"), ["k"]);

    let store = open(at_path(&world, "kv", "data")).await;
    assert_eq!(list(&store).await, ["k"]);
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    delete(&store, "k").await.unwrap();
    assert_eq!(list(&store).await, [""; 0]);
}

/// An engine may be mounted at any path, also one that contains these words.
#[tokio::test]
async fn an_engine_that_is_mounted_at_such_a_path_is_one() {
    let world = World::new(KvVersion::V2);
    let root = world.bao.root();
    for (engine, version) in [("team/data", 2), ("team/metadata", 2), ("data/data", 2), ("one", 1)]
    {
        root.enable_kv(engine, version);
        // Below an engine of version 1, every path may hold keys.
        let engine = if version == 1 { format!("{engine}/data") } else { engine.to_owned() };
        root.write_policy("kes", &format!("path \"{engine}/*\" {ALL}"));
        let store = open(at_path(&world, &engine, "")).await;
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED, "{engine}");
        assert_eq!(list(&store).await, ["k"], "{engine}");
        delete(&store, "k").await.unwrap();
        assert_eq!(list(&store).await, [""; 0], "{engine}");
    }
}
