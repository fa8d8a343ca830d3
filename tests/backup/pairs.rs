use std::fs;

use kes_testkit::Bao;
use kes_testkit::bao::minimal_transit_policy;
use serde_json::json;

use super::World;
use crate::migrate::stored;

/// The kinds of key stores: what an engine is called, its version, and whether transit wraps its keys.
const KINDS: [(&str, Option<(u8, bool)>); 4] = [
    ("folder", None),
    ("one", Some((1, false))),
    ("two", Some((2, false))),
    ("wrapped", Some((2, true))),
];

/// An OpenBao with an engine for each kind, in which a role may do what a server may.
fn site(world: &mut World) -> Bao {
    let bao = Bao::start_in_memory();
    let root = bao.root();
    let mut set_up = root.set_up().transit("transit", "wrap");
    for (name, kind) in KINDS {
        if let Some((version, _)) = kind {
            set_up = set_up.kv(name, version);
        }
    }
    let role = set_up.granting(&minimal_transit_policy("transit", "wrap")).app_role();
    world.env.push(("ID".to_owned(), role.role_id));
    world.secrets.push(role.secret_id.clone());
    world.env.push(("SECRET".to_owned(), role.secret_id));
    bao
}

/// Writes a configuration file: of a place for keys in a store of this kind.
fn configure(world: &World, bao: &Bao, file: &str, kind: (&str, Option<(u8, bool)>), place: &str) {
    let (engine, Some((version, transit))) = kind else {
        return world.keystore(file, &format!("fs: {{ path: {place} }}"));
    };
    let transit = if transit { ", transit: { engine: transit, key: wrap }" } else { "" };
    world.keystore(
        file,
        &format!(
            "vault: {{ endpoint: \"{}\", engine: {engine}, version: v{version}, prefix: {place}, \
             approle: {{ id: \"${{ID}}\", secret: \"${{SECRET}}\" }}{transit} }}",
            bao.url()
        ),
    );
}

#[test]
fn a_backup_of_each_key_store_is_restored_into_each() {
    let mut world = World::with_keys(25);
    let bao = site(&mut world);
    let keys = world.keys("from");
    for source in KINDS {
        let from = format!("from-{}", source.0);
        configure(&world, &bao, &from, source, &from);
        let moved = world.run(&["migrate", "--from", "from.yml", "--to", &format!("{from}.yml")]);
        moved.is_good();
        world.backup(&format!("{from}.yml"), &["--force"]).is_good();
        world.verify(&["-i", "identity.txt", "--config", "from.yml"]).is_good();
        for target in KINDS {
            let to = format!("to-{}-{}", source.0, target.0);
            configure(&world, &bao, &to, target, &to);
            let config = format!("{to}.yml");
            let restored = world.restore(&config, &[]);
            let last = "Restored     25 keys successfully!";
            assert_eq!(restored.is_good().last(), last, "{to}: {restored:#?}");
            let verified = world.verify(&["--config", &config]);
            assert!(verified.is_good().stdout.contains("has 25 keys of the backup"), "{to}");
            match target.1 {
                None => assert_eq!(world.keys(&to), keys, "{to}"),
                Some((version, transit)) => {
                    let data = if version == 1 { "" } else { "data/" };
                    let path = format!("{}/{data}{to}/key-00007", target.0);
                    let entry = bao.root().must("GET", &path, None).json();
                    let fields = if version == 1 { &entry["data"] } else { &entry["data"]["data"] };
                    let text = fields["key-00007"].as_str().unwrap();
                    assert_eq!(text.starts_with("vault:v1:"), transit, "{to}: {text}");
                    assert_eq!(text == stored(7), !transit, "{to}");
                }
            }
        }
    }
}

/// A backup that lacks a key that is there is none.
#[test]
fn a_key_that_cannot_be_read_makes_no_backup() {
    let mut world = World::with_keys(3);
    let bao = Bao::start_in_memory();
    let rights = "path \"kv/data/*\" { capabilities = [\"create\", \"read\"] }\n\
                  path \"kv/data/key-00001\" { capabilities = [\"create\"] }\n\
                  path \"kv/metadata/*\" { capabilities = [\"list\"] }\n";
    let role = bao.root().set_up().kv("kv", 2).granting_only(rights).app_role();
    world.env.push(("ID".to_owned(), role.role_id));
    world.env.push(("SECRET".to_owned(), role.secret_id));
    configure(&world, &bao, "vault", ("kv", Some((2, false))), "\"\"");
    for number in 0..3 {
        let name = format!("key-{number:05}");
        bao.root().write(&format!("kv/data/{name}"), &json!({ "data": { &name: stored(number) } }));
    }
    let ran = world.backup("vault.yml", &[]);
    ran.fails("1 key could not be read, and no backup was written");
    assert!(ran.stderr.contains("'key-00001' is not in the backup: cannot be read: "), "{ran:#?}");
    assert_eq!(world.names("keys"), [""; 0]);
    assert_eq!(fs::read_dir(world.path("from")).unwrap().count(), 3);
}
