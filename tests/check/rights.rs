//! Each right that a server needs of Vault, there and missing.

use std::time::Duration;

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
        "tls: private key and certificate belong together",
        "tls: server.crt: valid until ",
        &format!("keystore: connection: {} serves", world.bao.url()),
        "keystore: login: by AppRole; the token lives 1200 s",
        "keystore: engine: 'kv' is KV version 1",
        "keystore: right to read keys: \"kv/*\"",
        "keystore: right to list keys: \"kv/*\"",
        "keystore: right to delete keys: \"kv/*\"",
        "keystore: right to create keys: \"kv/*\"",
        "keystore: scratch key: created, read, listed and deleted",
    ] {
        ran.tells(text);
    }
    assert_eq!(ran.lines.len(), 11, "{ran:#?}");
    assert_eq!(world.names(), ["mine"]);
}

#[test]
fn all_is_good_on_kv_version_2_with_transit() {
    let world = World::new(2, true);
    let ran = world.place.check();
    ran.is_good();
    for text in [
        "keystore: engine: 'kv' is KV version 2",
        "right to read keys: \"kv/data/*\" and \"kv/metadata/*\"",
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

#[test]
fn a_missing_right_on_kv_version_1_is_named() {
    let world = World::new(1, false);
    for missing in ["create", "read", "delete", "list"] {
        let rights: Vec<_> = ["create", "read", "delete", "list"]
            .into_iter()
            .filter(|right| *right != missing)
            .collect();
        world.grant(&format!("path \"kv/*\" {{ capabilities = {} }}", json!(rights)));
        world.place.check().fails(&[&[
            &format!("keystore: right to {missing} keys: missing"),
            &format!("grant \"{missing}\" on \"kv/*\""),
        ]]);
        world.is_untouched();
    }
}

#[test]
fn the_rights_of_an_election_are_proved_as_well() {
    let world = World::new(1, false);
    // One level of names, as somebody may think that it is enough.
    let rights = r#"capabilities = ["create", "read", "delete", "list"]"#;
    world.grant(&format!("path \"kv/+\" {{ {rights} }} path \"kv/\" {{ {rights} }}"));
    let of = |right: &str| format!("grant \"{right}\" on \"kv/.kes-claims/*\"");
    world.place.check().fails(&[
        &[&of("read")],
        &[&of("list")],
        &[&of("delete")],
        &[&of("create")],
    ]);
    world.is_untouched();
}

#[test]
fn a_missing_right_on_kv_version_2_is_named() {
    let world = World::new(2, false);
    for (data, metadata, right, place) in [
        (json!(["read"]), json!(["read", "list", "delete"]), "create", "kv/data/*"),
        (json!(["create"]), json!(["read", "list", "delete"]), "read", "kv/data/*"),
        (json!(["create", "read"]), json!(["list", "delete"]), "read", "kv/metadata/*"),
        (json!(["create", "read"]), json!(["read", "delete"]), "list", "kv/metadata/*"),
        (json!(["create", "read"]), json!(["read", "list"]), "delete", "kv/metadata/*"),
    ] {
        world.grant(&format!(
            "path \"kv/data/*\" {{ capabilities = {data} }} \
             path \"kv/metadata/*\" {{ capabilities = {metadata} }}"
        ));
        world.place.check().fails(&[&[
            &format!("keystore: right to {right} keys: missing"),
            &format!("grant \"{right}\" on \"{place}\""),
        ]]);
        world.is_untouched();
    }
    // No more than these is needed.
    world.grant(
        "path \"kv/data/*\" { capabilities = [\"create\", \"read\"] } \
         path \"kv/metadata/*\" { capabilities = [\"read\", \"list\", \"delete\"] }",
    );
    world.place.check().is_good();
    world.is_untouched();
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

#[test]
fn an_engine_that_is_missing_or_of_the_other_version_is_named() {
    let world = World::new(2, false);
    let url = world.bao.url();
    world.place.write(&format!("{HEAD}{}", keystore(&url, 1, "")));
    world
        .place
        .check()
        .fails(&[&["keystore: engine: 'kv' is KV version 2", "set `version` to v2"]]);
    world.place.write(&format!("{HEAD}{}", keystore(&url, 2, ", engine: other")));
    let ran = world.place.check();
    assert_eq!(
        ran.failures()[0],
        "keystore: engine: no right to do anything with 'other', or no such engine in this namespace"
    );
    assert_eq!((ran.failures().len(), ran.status), (5, 1), "{ran:#?}");
    world.is_untouched();
}

#[test]
fn a_prefix_and_a_namespace_are_part_of_what_to_grant() {
    let world = World::new(1, false);
    let space = world.bao.root().create_namespace("team");
    space.enable_kv("keys", 2);
    space.write_policy(
        "kes",
        "path \"keys/data/minio/*\" { capabilities = [\"create\", \"read\"] }",
    );
    space.enable_app_role("approle");
    let role = space.create_role("approle", "kes", "kes", Duration::ZERO);
    let mut place = super::Place::new(&format!(
        "{HEAD}{}",
        keystore(&world.bao.url(), 2, ", engine: /keys/, prefix: minio/, namespace: team")
    ));
    place.env.push(("ID".to_owned(), role.role_id));
    place.env.push(("SECRET".to_owned(), role.secret_id));
    let grant = |right: &str| format!("grant \"{right}\" on \"keys/metadata/minio/*\"");
    place.check().fails(&[&[&grant("read")], &[&grant("list")], &[&grant("delete")]]);
    space.write_policy(
        "kes",
        "path \"keys/+/minio/*\" { capabilities = [\"create\", \"read\", \"list\", \"delete\"] }",
    );
    place.check().is_good();
    assert_eq!(space.list("keys/metadata/minio"), [""; 0]);
}
