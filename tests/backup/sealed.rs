use std::fs;

use kes_testkit::age;

use super::World;

/// Nothing of a file that cannot be opened whole reaches a key store.
#[test]
fn a_file_that_was_changed_or_cut_is_refused_before_the_first_write() {
    let world = World::with_keys(1_200);
    world.backup("from.yml", &[]).is_good();
    let whole = fs::read(world.path("keys.age")).unwrap();
    assert!(whole.len() > 3 * 65_536, "{} bytes", whole.len());
    let try_with = |bytes: &[u8]| {
        fs::write(world.path("keys.age"), bytes).unwrap();
        let ran = world.restore("to.yml", &[]);
        ran.fails("keys.age: ");
        assert!(!world.path("to").exists(), "{ran:#?}");
        ran.stderr
    };
    for at in [0, 30, 60, 150, 190, 70_000, 140_000, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        try_with(&changed);
    }
    for len in [0, 20, 100, 200, 250, 65_536, whole.len() / 2, whole.len() - 1] {
        try_with(&whole[..len]);
    }
    // At the end of a chunk: no byte of what is left was changed.
    let header = whole.windows(5).position(|bytes| bytes == b"\n--- ").unwrap();
    let first = header + 1 + 4 + 43 + 1 + 16;
    let told = try_with(&whole[..first + 2 * 65_552]);
    assert!(told.contains("cut off"), "{told}");
    // Two chunks in each other's place.
    let mut swapped = whole.clone();
    swapped[first..first + 2 * 65_552].rotate_left(65_552);
    try_with(&swapped);
    try_with(&[whole.as_slice(), b"x"].concat());
    fs::write(world.path("keys.age"), &whole).unwrap();
    world.restore("to.yml", &[]).is_good();
}

#[test]
fn another_identity_and_another_passphrase_open_nothing() {
    let mut world = World::with_keys(2);
    world.backup("from.yml", &[]).is_good();
    age::identity(&world.path("other.txt"));
    let ran = world.run(&["restore", "keys.age", "--config", "to.yml", "-i", "other.txt"]);
    ran.fails("keys.age: it was sealed for none of these identities");

    world.secrets.push("correct horse".to_owned());
    let put = |name: &str, text: &str| fs::write(world.path(name), text).unwrap();
    put("right.txt", "correct horse\n");
    put("wrong.txt", "correct house\n");
    put("empty.txt", "\n");
    let args = ["--config", "from.yml", "-o", "pass.age", "--passphrase-file"];
    world.run(&[&["backup"], &args[..], &["empty.txt"]].concat()).fails("the passphrase is empty");
    let made = world.run(&[&["backup"], &args[..], &["right.txt"]].concat());
    assert_eq!(made.status, 0, "{made:#?}");
    let open = |file: &str, how: &[&str]| {
        world.run(&[&["restore", file, "--config", "to.yml"], how].concat())
    };
    let wrong = open("pass.age", &["--passphrase-file", "wrong.txt"]);
    wrong.fails("pass.age: the passphrase is wrong");
    open("pass.age", &["-i", "identity.txt"]).fails("sealed with a passphrase");
    open("keys.age", &["--passphrase-file", "right.txt"]).fails("sealed for recipients");
    assert!(!world.path("to").exists());
    let right = open("pass.age", &["--passphrase-file", "right.txt"]);
    assert_eq!(right.status, 0, "{right:#?}");
    assert_eq!(world.keys("to"), world.keys("from"));
}

#[test]
fn a_file_of_recipients_seals_for_each_of_them() {
    let world = World::with_keys(2);
    let other = age::identity(&world.path("other.txt"));
    let text = format!("# both\n{}\n\n{other}\n", world.recipient);
    fs::write(world.path("recipients.txt"), text).unwrap();
    let args = ["backup", "--config", "from.yml", "-o", "keys.age", "-R", "recipients.txt"];
    world.run(&args).is_good();
    for (identity, folder) in [("identity.txt", "one"), ("other.txt", "two")] {
        world.keystore(folder, &format!("fs: {{ path: {folder} }}"));
        let config = format!("{folder}.yml");
        world.run(&["restore", "keys.age", "--config", &config, "-i", identity]).is_good();
        assert_eq!(world.keys(folder), world.keys("from"));
    }
    fs::write(world.path("recipients.txt"), "age1x\n").unwrap();
    world.run(&[&args[..], &["-f"]].concat()).fails("recipients.txt: line 1: ");
}
