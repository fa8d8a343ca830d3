//! Each right that a server needs of Vault, there and missing.

use std::time::Duration;

use kes_testkit::bao::{KvPolicy, minimal_transit_policy};
use serde_json::json;

use super::world::{HEAD, World, keystore, policy};

#[test]
fn all_is_good_on_kv_version_1() {
    let world = World::new(1, false);
    world.put("mine");
    let ran = world.place.check();
    ran.is_good();
    for text in [
        "config.yml: can be read",
        "tls: the private key belongs to the certificate",
        "tls: server.crt: valid until ",
        &format!("keystore: connection: {} serves", world.bao.url()),
        "keystore: login: by AppRole; the token lives 1200 s",
        "keystore: engine: 'kv' is KV version 1",
        "keystore: right to read keys: \"kv/*\"",
        "keystore: right to list keys: \"kv/*\"",
        "keystore: right to delete keys: \"kv/*\"",
        "keystore: right to create keys: \"kv/*\"",
        "keystore: one creator of each key: servers that create a key at the same time agree on one",
        "keystore: scratch key: created, read, listed and deleted",
    ] {
        ran.tells(text);
    }
    assert_eq!(ran.lines.len(), 13, "{ran:#?}");
    assert_eq!(world.names(), ["mine"]);
}

#[test]
fn all_is_good_on_kv_version_2_with_transit() {
    let world = World::new(2, true);
    let ran = world.place.check();
    ran.is_good();
    for text in [
        "keystore: engine: 'kv' is KV version 2",
        "right to read keys: \"kv/data/*\"",
        "right to list keys: \"kv/metadata/*\"",
        "right to delete keys: \"kv/metadata/*\"",
        "right to create keys: \"kv/data/*\"",
        "right to encrypt keys: transit/encrypt/wrap",
        "right to decrypt keys: transit/decrypt/wrap",
        "scratch key: created, read, listed and deleted",
    ] {
        ran.tells(text);
    }
    world.is_untouched();
}

/// What operators were told to grant is no failure, and what more would give them is a warning.
#[test]
fn each_documented_policy_passes() {
    for documented in KvPolicy::ALL {
        for transit in [false, true] {
            let of_transit =
                if transit { minimal_transit_policy("transit", "wrap") } else { String::new() };
            let policy = documented.text("kv") + &of_transit;
            let world = World::with_policy(documented.version(), transit, &policy);
            let mut more = format!(", prefix: \"{}\"", documented.prefix());
            if transit {
                more += ", transit: { engine: transit, key: wrap }";
            }
            let keystore = keystore(&world.bao.url(), documented.version(), &more);
            world.place.write(&format!("{HEAD}{keystore}"));
            let ran = world.place.check();
            assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{documented:?}: {ran:#?}");
            if documented.lists() {
                ran.is_good();
                ran.tells("scratch key: created, read, listed and deleted");
            } else {
                ran.warns(&[
                    &["right to list keys: ", "grant \"list\" on \"kv/tenant/minio/*\""],
                    &[
                        "one creator of each key: ",
                        "with several servers",
                        "grant \"list\" on \"kv/tenant/minio/*\"",
                    ],
                ]);
                ran.tells("scratch key: created, read and deleted");
            }
            world.is_untouched();
        }
    }
}

#[test]
fn a_missing_right_on_kv_version_1_is_named() {
    let world = World::new(1, false);
    let all = ["create", "read", "delete", "list"];
    for missing in all {
        let rights: Vec<_> = all.into_iter().filter(|right| *right != missing).collect();
        world.grant(&format!("path \"kv/*\" {{ capabilities = {} }}", json!(rights)));
        let ran = world.place.check();
        let grant = format!("grant \"{missing}\" on \"kv/*\"");
        if missing != "list" {
            let right = format!("keystore: right to {missing} keys: missing");
            ran.fails(&[&[&right, &grant]]);
        } else {
            assert_eq!(ran.status, 0, "{ran:#?}");
        }
        assert!(ran.warnings().iter().all(|line| line.ends_with(&grant)), "{ran:#?}");
        world.is_untouched();
    }
}

#[test]
fn the_rights_of_an_election_are_proved_as_well() {
    let world = World::new(1, false);
    // One level of names, as somebody may think that it is enough.
    let rights = r#"capabilities = ["create", "read", "delete", "list"]"#;
    world.grant(&format!("path \"kv/+\" {{ {rights} }} path \"kv/\" {{ {rights} }}"));
    let ran = world.place.check();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let all = "grant \"read\", \"list\", \"delete\" and \"create\" on \"kv/.kes-claims/*\"";
    ran.warns(&[&["one creator of each key: ", all]]);
    ran.tells("scratch key: created, read, listed and deleted");
    world.is_untouched();
}

#[test]
fn a_missing_right_on_kv_version_2_is_named() {
    let world = World::new(2, false);
    for (data, metadata, right, place) in [
        (json!(["read"]), json!(["list", "delete"]), "create", "kv/data/*"),
        (json!(["create"]), json!(["list", "delete"]), "read", "kv/data/*"),
        (json!(["create", "read"]), json!(["delete"]), "list", "kv/metadata/*"),
        (json!(["create", "read"]), json!(["list"]), "delete", "kv/metadata/*"),
    ] {
        world.grant(&format!(
            "path \"kv/data/*\" {{ capabilities = {data} }} \
             path \"kv/metadata/*\" {{ capabilities = {metadata} }}"
        ));
        let ran = world.place.check();
        let grant = format!("grant \"{right}\" on \"{place}\"");
        if right == "list" {
            assert_eq!(ran.status, 0, "{ran:#?}");
            ran.warns(&[&["right to list keys: ", &grant]]);
            ran.tells("scratch key: created, read and deleted");
        } else {
            ran.fails(&[&[&format!("keystore: right to {right} keys: missing"), &grant]]);
        }
        world.is_untouched();
    }
}

#[test]
fn a_missing_right_on_transit_is_named() {
    let world = World::new(1, true);
    for (there, missing) in [("encrypt", "decrypt"), ("decrypt", "encrypt")] {
        let kv = policy(1, false);
        world.grant(&format!(
            "{kv} path \"transit/{there}/wrap\" {{ capabilities = [\"update\"] }}"
        ));
        let ran = world.place.check();
        ran.fails(&[&[
            &format!("keystore: right to {missing} keys: missing"),
            &format!("grant \"update\" on \"transit/{missing}/wrap\""),
        ]]);
        ran.tells(&format!("right to {there} keys: transit/{there}/wrap"));
        world.is_untouched();
    }
}

/// Who may create transit keys does so by using one that is missing.
#[test]
fn a_missing_transit_key_is_named_and_not_made() {
    let all = "path \"transit/*\" { capabilities = [\"create\", \"update\"] }";
    let world = World::with_policy(2, true, &format!("{} {all}", policy(2, false)));
    world.bao.root().write("transit/keys/wrap/config", &json!({ "deletion_allowed": true }));
    world.bao.root().delete("transit/keys/wrap");
    world
        .place
        .check()
        .fails(&[&["keystore: right to encrypt keys: there is no transit key 'wrap'"]]);
    assert_eq!(world.bao.root().list("transit/keys"), [""; 0]);
    world.is_untouched();
}

/// A token reaches another engine only where its policy names it.
#[test]
fn a_transit_engine_that_is_missing_is_named() {
    let all = "path \"trans/*\" { capabilities = [\"create\", \"update\"] }";
    for policy in [policy(2, false), format!("{} {all}", policy(2, false))] {
        let world = World::with_policy(2, true, &policy);
        let more = ", transit: { engine: trans, key: wrap }";
        world.place.write(&format!("{HEAD}{}", keystore(&world.bao.url(), 2, more)));
        let ran = world.place.check();
        assert_eq!(ran.status, 1, "{ran:#?}");
        assert!(ran.failures()[0].contains("no engine 'trans'"), "{ran:#?}");
        world.is_untouched();
    }
}

#[test]
fn an_engine_that_is_missing_or_of_the_other_version_is_named() {
    let world = World::new(2, false);
    let url = world.bao.url();
    world.place.write(&format!("{HEAD}{}", keystore(&url, 1, "")));
    world
        .place
        .check()
        .fails(&[&["keystore: engine: 'kv' is an engine of KV version 2", "write `version: v2`"]]);
    world.place.write(&format!("{HEAD}{}", keystore(&url, 2, ", engine: kv/data")));
    world.place.check().fails(&[&[
        "config.yml:4: keystore.vault.engine: 'kv/data' is a path within 'kv'",
        "write `engine: kv` and `prefix: data`",
    ]]);
    world.place.write(&format!("{HEAD}{}", keystore(&url, 2, ", engine: other")));
    let ran = world.place.check();
    assert_eq!(
        ran.failures()[0],
        "keystore: engine: no right to do anything with 'other', or no such engine in this namespace"
    );
    assert_eq!((ran.failures().len(), ran.status), (4, 1), "{ran:#?}");
    world.is_untouched();
}

/// Keys that the reference has put there stay where they are, and nobody is told to change that.
#[test]
fn version_2_in_the_file_and_an_engine_of_version_1_passes() {
    let world = World::new(1, false);
    world.place.write(&format!("{HEAD}{}", keystore(&world.bao.url(), 2, ", prefix: minio")));
    let ran = world.place.check();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    ran.warns(&[&[
        "keystore: engine: 'kv' is an engine of KV version 1",
        "leave both as they are",
    ]]);
    for text in [
        "right to read keys: \"kv/data/minio/*\"",
        "right to list keys: \"kv/data/minio/*\"",
        "right to delete keys: \"kv/data/minio/*\"",
        "scratch key: created, read, listed and deleted",
    ] {
        ran.tells(text);
    }
    world.is_untouched();
    // The documented rights for version 2 name other paths.
    world.grant(&KvPolicy::V2.text("kv"));
    let ran = world.place.check();
    ran.fails(&[&["right to delete keys: missing", "grant \"delete\" on \"kv/data/minio/*\""]]);
    world.is_untouched();
}

#[test]
fn a_prefix_and_a_namespace_are_part_of_what_to_grant() {
    let world = World::new(1, false);
    let root = world.bao.root();
    let space = root.create_namespace("team");
    space.enable_kv("keys", 2);
    space.enable_transit("transit", "wrap");
    space.enable_app_role("approle");
    // The login in the namespace of the keys, and in the root namespace, whose policies name paths
    // with the namespace.
    for (login, prefix) in [(&space, ""), (&root, "team/")] {
        let policy = |rights: &str| {
            let policy = format!(
                "path \"{prefix}keys/data/minio/*\" {{ capabilities = [\"create\", \"read\"] }}
                 path \"{prefix}keys/metadata/minio/*\" {{ capabilities = [{rights}] }}
                 path \"{prefix}transit/encrypt/wrap\" {{ capabilities = [\"update\"] }}"
            );
            login.write_policy("kes", &policy);
        };
        policy("\"deny\"");
        let role = login.create_role("approle", "kes", "kes", Duration::ZERO);
        let mut more = ", engine: /keys/, prefix: minio/, namespace: team, \
                        transit: { engine: transit, key: wrap }"
            .to_owned();
        let mut keystore = keystore(&world.bao.url(), 2, "");
        if !prefix.is_empty() {
            keystore = keystore.replace("approle: {", "approle: { namespace: /,");
        }
        more += " } }\n";
        let keystore = keystore.replace(" } }\n", &more);
        let mut place = super::Place::new(&format!("{HEAD}{keystore}"));
        place.env.push(("ID".to_owned(), role.role_id));
        place.env.push(("SECRET".to_owned(), role.secret_id));
        let grant = |right: &str| format!("grant \"{right}\" on \"{prefix}keys/metadata/minio/*\"");
        let decrypt = format!("grant \"update\" on \"{prefix}transit/decrypt/wrap\"");
        let ran = place.check();
        ran.fails(&[&[&grant("delete")], &[&decrypt]]);
        ran.warns(&[&[&grant("list")]]);
        policy("\"list\", \"delete\"");
        place.check().fails(&[&[&decrypt]]);
        assert_eq!(space.list("keys/metadata/minio"), [""; 0]);
    }
}

#[test]
fn a_namespace_that_is_missing_or_out_of_reach_is_named() {
    let world = World::new(2, false);
    let root = world.bao.root();
    let url = world.bao.url();
    let write = |login: &str, more: &str| {
        let keystore = keystore(&url, 2, more);
        let login = format!("approle: {{{login}");
        world.place.write(&format!("{HEAD}{}", keystore.replace("approle: {", &login)));
    };
    write("", ", namespace: teem");
    world.place.check().fails(&[&["keystore: login: ", "namespace 'teem' does not exist"]]);
    write(" namespace: /,", ", namespace: teem");
    world.place.check().fails(&[&["keystore: engine: ", "namespace 'teem' does not exist"]]);

    let space = root.create_namespace("team");
    let role = space.set_up().granting(&policy(2, false)).app_role();
    let mut place = super::Place::new("");
    place.env.push(("ID".to_owned(), role.role_id));
    place.env.push(("SECRET".to_owned(), role.secret_id));
    let keystore = keystore(&url, 2, "").replace("approle: {", "approle: { namespace: team,");
    place.write(&format!("{HEAD}{keystore}"));
    let ran = place.check();
    assert_eq!(ran.status, 1, "{ran:#?}");
    assert!(ran.failures()[0].contains("login is in namespace 'team'"), "{ran:#?}");
}
