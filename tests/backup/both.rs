//! A configuration that names two key stores at once (`migration`).

use std::fs;

use super::World;

/// `both.yml`: `from` is the old key store, and `to` the new one, which new keys are stored in alone.
fn two_stores(keys: u32) -> World {
    let world = World::with_keys(keys);
    fs::create_dir(world.path("to")).unwrap();
    let text = "keystore: { fs: { path: from } }\n\
                migration: { to: { fs: { path: to } }, read: new, write: new }\n";
    fs::write(world.path("both.yml"), text).unwrap();
    world
}

#[test]
fn a_backup_has_the_keys_of_both_stores() {
    let mut world = two_stores(3);
    fs::copy(world.path("from/key-00001"), world.path("to/key-00001")).unwrap();
    world.put("to/new", 8);
    let mut all = world.keys("from");
    all.extend(world.keys("to"));
    let made = world.backup("both.yml", &[]);
    assert!(made.is_good().stdout.starts_with("4 keys backed up\n"), "{made:#?}");
    let verified = world.verify(&["--config", "both.yml", "-i", "identity.txt"]);
    assert!(verified.is_good().stdout.contains("has 4 keys of the backup"), "{verified:#?}");
    world.keystore("third", "fs: { path: third }");
    world.restore("third.yml", &[]).is_good();
    assert_eq!(world.keys("third"), all);
}

#[test]
fn a_key_with_two_values_is_named_and_in_no_backup() {
    let mut world = two_stores(2);
    world.put("to/key-00001", 700);
    let refused = world.backup("both.yml", &[]);
    refused.fails("1 key could not be read, and no backup was written");
    assert!(refused.stderr.contains("key 'key-00001' has different values"), "{refused:#?}");
    assert_eq!(world.names("keys.age"), Vec::<String>::new());
}

/// Which of the two would it be?
#[test]
fn what_is_for_one_key_store_refuses_two() {
    let world = two_stores(2);
    world.backup("from.yml", &[]).is_good();
    fs::remove_file(world.path("from/key-00000")).unwrap();
    let before = [world.keys("from"), world.keys("to")];
    world.restore("both.yml", &[]).fails("both.yml names two key stores, and 'kes restore' is for");
    world.keystore("third", "fs: { path: third }");
    for files in [["both.yml", "third.yml"], ["third.yml", "both.yml"]] {
        let ran = world.run(&["migrate", "--from", files[0], "--to", files[1]]);
        ran.fails("both.yml names two key stores, and 'kes migrate' is for one");
    }
    assert_eq!([world.keys("from"), world.keys("to")], before);
    assert!(!world.path("third").exists());
}
