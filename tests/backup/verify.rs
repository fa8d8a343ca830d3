use std::fs;

use super::World;

#[test]
fn a_manifest_tells_what_is_in_a_backup_without_what_opens_it() {
    let world = World::with_keys(3);
    world.backup("from.yml", &[]).is_good();
    fs::rename(world.path("identity.txt"), world.path("hidden")).unwrap();
    let ran = world.verify(&[]);
    let text = &ran.is_good().stdout;
    assert!(
        text.contains("keys.age.manifest: 3 keys of filesystem: from, backed up at "),
        "{text}"
    );
    assert!(text.contains("keys.age: is the file that the manifest is of, SHA-256 "), "{text}");
    // Names and fingerprints, as 'kes key info' shows them.
    let manifest = fs::read_to_string(world.path("keys.age.manifest")).unwrap();
    let line: serde_json::Value = serde_json::from_str(manifest.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["name"], "key-00000");
    assert_eq!(line["fingerprint"].as_str().map(str::len), Some(32));

    let moved = world.path("else.manifest");
    fs::rename(world.path("keys.age.manifest"), &moved).unwrap();
    world.verify(&[]).fails("open keys.age.manifest: no such file or directory");
    world.verify(&["--manifest", "else.manifest"]).is_good();
}

#[test]
fn another_file_than_that_of_the_manifest_is_found() {
    let world = World::with_keys(3);
    world.backup("from.yml", &[]).is_good();
    let (file, manifest) = (world.path("keys.age"), world.path("keys.age.manifest"));
    let (backup, text) = (fs::read(&file).unwrap(), fs::read_to_string(&manifest).unwrap());
    let fails = |more: &[&str], told: &str| {
        let ran = world.verify(more);
        let failed = ran.stdout.lines().filter(|line| line.starts_with("FAILED")).count();
        ran.fails(&format!("{failed} check"));
        let line = ran.stdout.lines().find(|line| line.starts_with("FAILED")).unwrap();
        assert!(line.contains(told), "{told}: {ran:#?}");
    };
    let mut changed = backup.clone();
    changed[300] ^= 1;
    fs::write(&file, changed).unwrap();
    fails(&[], "keys.age: is not the file that the manifest is of");
    fs::write(&file, &backup[..backup.len() - 1]).unwrap();
    fails(&[], "keys.age: is not the file that the manifest is of");
    fails(&["-i", "identity.txt"], "keys.age: is not the file");
    fs::write(&file, &backup).unwrap();
    world.verify(&["-i", "identity.txt"]).is_good();
    // A manifest that was changed is found by whoever can open the file.
    let fingerprint = text.split("\"fingerprint\":\"").nth(1).unwrap().get(..32).unwrap();
    fs::write(&manifest, text.replace(fingerprint, &"0".repeat(32))).unwrap();
    world.verify(&[]).is_good();
    fails(&["-i", "identity.txt"], "keys.age: its keys are not those of the manifest");
    fs::write(&manifest, text.replace("key-00002", "key-00003")).unwrap();
    fails(&["-i", "identity.txt"], "keys.age: its keys are not those of the manifest");
    fs::write(&manifest, text.lines().take(3).collect::<String>()).unwrap();
    world.verify(&[]).fails("keys.age.manifest: ");
}

#[test]
fn a_key_store_is_compared_with_a_backup() {
    let mut world = World::with_keys(4);
    world.backup("from.yml", &[]).is_good();
    let same = world.verify(&["--config", "from.yml"]);
    assert!(same.is_good().stdout.contains("has 4 keys of the backup"), "{same:#?}");
    world.put("from/newer", 9);
    let newer = world.verify(&["--config", "from.yml"]);
    assert!(newer.is_good().stdout.contains("has 1 key that the backup lacks"), "{newer:#?}");
    world.put("from/key-00001", 50);
    fs::remove_file(world.path("from/key-00000")).unwrap();
    fs::remove_file(world.path("from/key-00003")).unwrap();
    fs::write(world.path("from/key-00002"), "hunter2-hunter2").unwrap();
    let ran = world.verify(&["--config", "from.yml"]);
    ran.fails("4 checks failed");
    for text in [
        "'key-00000' is not in the key store",
        "'key-00001' is another key in the key store",
        "'key-00002' is not a stored key: ",
        "'key-00003' is not in the key store",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {ran:#?}");
    }
    assert!(!ran.stdout.contains("hunter2"), "{ran:#?}");
}
