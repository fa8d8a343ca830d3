use kes_testkit::Bao;
use kes_testkit::bao::{KvPolicy, minimal_transit_policy};
use serde_json::json;

use super::{World, stored};

/// A world, and an OpenBao with an engine `kv` for which a role has the rights of a policy.
struct Site {
    world: World,
    bao: Bao,
    version: u8,
    prefix: &'static str,
}

impl Site {
    fn new(world: World, policy: KvPolicy) -> Self {
        let bao = Bao::start_in_memory();
        let rights = policy.text("kv") + &minimal_transit_policy("transit", "wrap");
        let root = bao.root();
        let engines = root.set_up().kv("kv", policy.version()).transit("transit", "wrap");
        let role = engines.granting_only(&rights).app_role();
        let mut site = Self { world, bao, version: policy.version(), prefix: policy.prefix() };
        site.world.env.push(("ID".to_owned(), role.role_id));
        site.world.secrets.push(role.secret_id.clone());
        site.world.env.push(("SECRET".to_owned(), role.secret_id));
        site.configure("vault", &site.bao.url(), "");
        site
    }

    /// Writes a configuration file for the engine.
    fn configure(&self, file: &str, url: &str, more: &str) {
        let Self { version, prefix, .. } = self;
        self.world.keystore(
            file,
            &format!(
                "vault: {{ endpoint: \"{url}\", version: v{version}, prefix: \"{prefix}\", \
                 approle: {{ id: \"${{ID}}\", secret: \"${{SECRET}}\" }}{more} }}"
            ),
        );
    }

    fn put(&self, name: &str, fields: &serde_json::Value) {
        let place =
            if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        match self.version {
            1 => self.bao.root().write(&format!("kv/{place}{name}"), fields),
            _ => {
                self.bao.root().write(&format!("kv/data/{place}{name}"), &json!({ "data": fields }))
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let place = if self.version == 1 { "kv" } else { "kv/metadata" };
        self.bao.root().list(&format!("{place}/{}", self.prefix))
    }
}

#[test]
fn two_thousand_keys_go_to_version_2_and_on_to_another_folder() {
    let site = Site::new(World::with_keys(2_000), KvPolicy::V2);
    let world = &site.world;
    let there = world.run_with(&["--from", "from.yml", "--to", "vault.yml"]);
    there.is_good("Migrated   2000 keys successfully!");
    assert_eq!(site.names().len(), 2_000);
    let back = world.run_with(&["--from", "vault.yml", "--to", "to.yml"]);
    back.is_good("Migrated   2000 keys successfully!");
    assert_eq!(world.keys("to"), world.keys("from"));
    // Nothing is left to do.
    let again = world.run_with(&["--from", "from.yml", "--to", "vault.yml"]);
    again.is_good("Migration succeeded! No keys migrated.");
}

#[test]
fn each_documented_policy_is_enough() {
    for policy in KvPolicy::ALL {
        let mut world = World::with_keys(40);
        std::fs::create_dir(world.path("newer")).unwrap();
        world.keystore("newer", "fs: { path: newer }");
        for number in 0..3 {
            world.put(&format!("newer/key-{number:05}"), 1_000 + number);
        }
        let site = Site::new(world, policy);
        let world = &site.world;
        let run = |args: &[&str]| world.run_with(args);
        let there = run(&["--from", "from.yml", "--to", "vault.yml"]);
        there.is_good("Migrated     40 keys successfully!");
        let again = run(&["--from", "from.yml", "--to", "vault.yml"]);
        again.is_good("Migration succeeded! No keys migrated.");

        let taken = run(&["--from", "newer.yml", "--to", "vault.yml"]);
        assert_eq!(taken.status, 1, "{policy:?} {taken:#?}");
        for number in 0..3 {
            assert!(taken.stderr.contains(&format!("'key-{number:05}' was not")), "{taken:#?}");
        }
        let replaced = run(&["--from", "newer.yml", "--to", "vault.yml", "--force"]);
        replaced.is_good("Migrated      3 keys successfully!");

        let back = run(&["--from", "vault.yml", "--to", "to.yml"]);
        if policy.lists() {
            back.is_good("Migrated     40 keys successfully!");
            let mut expected = world.keys("from");
            expected.extend(world.keys("newer"));
            assert_eq!(world.keys("to"), expected, "{policy:?}");
        } else {
            assert_eq!(back.status, 1, "{back:#?}");
            let [error] = back.errors()[..] else { panic!("{back:#?}") };
            assert!(error.starts_with("cannot list the keys of the source: "), "{error}");
            assert!(error.contains("\"list\""), "{error}");
        }
    }
}

#[test]
fn transit_is_taken_off_and_put_on() {
    let site = Site::new(World::with_keys(20), KvPolicy::V2);
    let transit = ", transit: { engine: transit, key: wrap }";
    site.configure("wrapped", &site.bao.url(), transit);
    let world = &site.world;
    let run = |from: &str, to: &str| world.run_with(&["--from", from, "--to", to]);
    run("from.yml", "wrapped.yml").is_good("Migrated     20 keys successfully!");
    let entry = site.bao.root().must("GET", "kv/data/key-00001", None).json();
    let text = entry["data"]["data"]["key-00001"].as_str().unwrap().to_owned();
    assert!(text.starts_with("vault:v1:"), "{text}");
    run("from.yml", "wrapped.yml").is_good("Migration succeeded! No keys migrated.");
    // Without transit the keys cannot be read, which is no reason to leave them out silently.
    let bare = run("vault.yml", "to.yml");
    assert_eq!((bare.status, bare.last()), (1, "Migrated      0 key."), "{bare:#?}");
    assert!(bare.stderr.contains("set keystore.vault.transit"), "{bare:#?}");
    run("wrapped.yml", "to.yml").is_good("Migrated     20 keys successfully!");
    assert_eq!(world.keys("to"), world.keys("from"));
}

#[test]
fn foreign_secrets_are_named_and_left_where_they_are() {
    for policy in [KvPolicy::V1, KvPolicy::V2, KvPolicy::V2Tenant] {
        let site = Site::new(World::new(), policy);
        site.put("good", &json!({ "good": stored(1) }));
        site.put("db-password", &json!({ "user": "u", "password": "hunter2-hunter2" }));
        site.put("number", &json!({ "number": 5 }));
        site.put("text", &json!({ "text": "hunter2-hunter2" }));
        site.put("app.config", &json!({ "x": "hunter2-hunter2" }));
        site.put("folder/below", &json!({ "below": stored(2) }));
        let ran = site.world.run_with(&["--from", "vault.yml", "--to", "to.yml"]);
        assert_eq!((ran.status, ran.last()), (0, "Migrated      1 key successfully!"), "{ran:#?}");
        assert!(!ran.stderr.contains("hunter2"), "{ran:#?}");
        let names: Vec<&str> =
            ran.stderr.lines().map(|line| line.split('\'').nth(1).unwrap()).collect();
        assert_eq!(names, ["app.config", "folder/", "db-password", "number", "text"], "{ran:#?}");
        assert_eq!(site.world.keys("to").into_keys().collect::<Vec<_>>(), ["good"]);
        let strict = site.world.run_with(&["--from", "vault.yml", "--to", "to.yml", "--strict"]);
        assert_eq!((strict.status, strict.errors()), (1, vec!["5 keys were not migrated"]));
    }
}

/// An engine of version 2 lists a key whose version was deleted.
#[test]
fn a_deleted_version_is_no_key() {
    let site = Site::new(World::with_keys(2), KvPolicy::V2);
    let world = &site.world;
    let run = |from: &str, to: &str, more: &[&str]| {
        world.run_with(&[&["--from", from, "--to", to], more].concat())
    };
    run("from.yml", "vault.yml", &[]).is_good("Migrated      2 keys successfully!");
    site.bao.root().must("DELETE", "kv/data/key-00001", None);
    let ran = run("vault.yml", "to.yml", &[]);
    assert_eq!((ran.status, ran.last()), (0, "Migrated      1 key successfully!"), "{ran:#?}");
    assert!(
        ran.stderr.starts_with("Warning: 'key-00001' was not migrated: was listed"),
        "{ran:#?}"
    );
    // And its name is taken.
    let taken = run("from.yml", "vault.yml", &[]);
    assert_eq!(taken.status, 1, "{taken:#?}");
    let reason = "'key-00001' was not migrated: the target has an entry under this name that cannot be \
                  read: a deleted version";
    assert!(taken.stderr.contains(reason), "{taken:#?}");
    // It could be undeleted, and not be put back: `--force` leaves it as well.
    let forced = run("from.yml", "vault.yml", &["--force"]);
    assert_eq!(forced.status, 1, "{forced:#?}");
    assert!(
        forced.stderr.contains(reason) && forced.stderr.contains("not replaced"),
        "{forced:#?}"
    );
    site.bao.root().must("DELETE", "kv/metadata/key-00001", None);
    run("from.yml", "vault.yml", &[]).is_good("Migrated      1 key successfully!");
    run("vault.yml", "to.yml", &[]).is_good("Migrated      1 key successfully!");
    assert_eq!(world.keys("to"), world.keys("from"));
}
