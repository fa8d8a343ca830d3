use std::os::unix::ffi::OsStrExt;

use super::{World, hidden, stored};

#[test]
fn all_keys_arrive_byte_for_byte() {
    // More than a page of the reference server.
    let world = World::with_keys(1_100);
    let ran = world.run(&[]);
    ran.is_good("Migrated   1100 keys successfully!");
    assert!(ran.stdout.starts_with("Starting key migration:\n\n"), "{ran:#?}");
    assert_eq!(world.keys("to"), world.keys("from"));
    assert_eq!(world.keys("to").len(), 1_100);
    // The source is only read, and the target has its marker and nothing unfinished.
    assert_eq!(hidden(&world.path("from")), [""; 0]);
    assert_eq!(hidden(&world.path("to")), [".kes-folder"]);

    let again = world.run(&[]);
    again.is_good("Migration succeeded! No keys migrated.");
    assert!(again.stdout.contains("  1100 keys already there\n"), "{again:#?}");
}

#[test]
fn a_server_uses_what_has_arrived() {
    use crate::harness::{self, Config, Protocol, Server, Who};
    harness::run(async {
        let world = World::with_keys(2);
        world.run(&[]).is_good("Migrated      2 keys successfully!");
        let server = Server::with(
            &Config::usual()
                .with("keystore", &format!("{{ fs: {{ path: {} }} }}", world.path("to").display())),
        );
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let reply = client.send("PUT", "/v1/key/generate/key-00001", "").await;
        assert_eq!(reply.status, 200);
    });
}

#[test]
fn a_pattern_picks_names() {
    for (pattern, expected) in [
        ("*", &["a", "ab", "b-1", "b-2"][..]),
        ("", &["a", "ab", "b-1", "b-2"]),
        ("a*", &["a", "ab"]),
        ("?", &["a"]),
        ("b-[2-9]", &["b-2"]),
        ("b-[^2]", &["b-1"]),
        ("a\\b", &["ab"]),
        ("ab", &["ab"]),
    ] {
        let mut world = World::new();
        for (seed, name) in (0..).zip(["a", "ab", "b-1", "b-2"]) {
            world.put(&format!("from/{name}"), seed);
        }
        let ran = world.run(&[pattern]);
        assert_eq!(ran.status, 0, "{ran:#?}");
        assert_eq!(world.keys("to").into_keys().collect::<Vec<_>>(), expected, "{pattern}");
    }
    let world = World::with_keys(1);
    world.run(&["no-such-*"]).is_good("Migration succeeded! No keys migrated.");
    world.run(&["key-*", "-q"]).is_good("Migrated      1 key successfully!");
}

/// A world whose target has `b` with another value and `c` with the same.
fn half() -> World {
    let mut world = World::new();
    std::fs::create_dir(world.path("to")).unwrap();
    for (seed, name) in (1..).zip(["a", "b", "c", "d"]) {
        world.put(&format!("from/{name}"), seed);
    }
    world.put("to/b", 99);
    world.put("to/c", 3);
    world
}

#[test]
fn a_name_at_the_target_is_met_as_the_flags_say() {
    let world = half();
    let ran = world.run(&[]);
    assert_eq!(ran.status, 1, "{ran:#?}");
    let named = "Warning: 'b' was not migrated: the target has another value under this name\n";
    assert!(ran.stderr.starts_with(named), "{ran:#?}");
    let hint =
        "1 key was not migrated (--merge leaves alone what the target has, --force replaces it)";
    assert_eq!(ran.errors(), [hint]);
    // The others arrive.
    assert_eq!(ran.last(), "Migrated      2 keys.");
    for line in ["     1 key already there\n", "     1 key failed\n"] {
        assert!(ran.stdout.contains(line), "{ran:#?}");
    }
    assert_eq!(world.keys("to")["b"], stored(99).into_bytes());

    let world = half();
    let ran = world.run(&["--merge"]);
    assert_eq!((ran.status, ran.last()), (0, "Migrated      2 keys successfully!"), "{ran:#?}");
    assert_eq!(ran.stderr, named);
    assert!(ran.stdout.contains("     1 key left alone, "), "{ran:#?}");
    assert_eq!(world.keys("to")["b"], stored(99).into_bytes());

    for flag in ["--force", "-f"] {
        let world = half();
        let ran = world.run(&[flag]);
        ran.is_good("Migrated      3 keys successfully!");
        assert!(ran.stdout.contains("     1 key replaced\n"), "{ran:#?}");
        assert_eq!(world.keys("to"), world.keys("from"));
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    for (flags, line, status) in [
        (&["--dry-run"][..], "fail     b: the target has another value under this name", 1),
        (&["--dry-run", "--merge"], "keep     b: the target has another value under this name", 0),
        (&["--dry-run", "--force"], "replace  b", 0),
    ] {
        let world = half();
        world.write("from/x.y", "no key");
        let before = world.keys("to");
        let ran = world.run(flags);
        assert_eq!(ran.status, status, "{ran:#?}");
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let skip = "skip     x.y: has a name that no key can have";
        let head = [
            "Dry run, nothing is written:",
            "",
            skip,
            "copy     a",
            line,
            "there    c",
            "copy     d",
        ];
        assert_eq!(lines[..7], head, "{ran:#?}");
        assert_eq!(
            ran.last(),
            if flags.contains(&"--force") {
                "Would migrate      3 keys."
            } else {
                "Would migrate      2 keys."
            }
        );
        assert_eq!(world.keys("to"), before);
        assert_eq!(hidden(&world.path("to")), [""; 0]);
    }
    // The folder is not made.
    let world = World::with_keys(1);
    let ran = world.run(&["--dry-run"]);
    assert_eq!((ran.status, ran.last()), (0, "Would migrate      1 key."));
    assert_eq!(ran.stderr, "Note: the folder of the target does not exist, and would be made\n");
    assert!(!world.path("to").exists());
    let quiet = world.run(&["--dry-run", "--quiet"]);
    assert_eq!(quiet.stdout, "Would migrate      1 key.\n");
}

#[test]
fn what_is_no_key_is_named_and_skipped() {
    let mut world = World::with_keys(2);
    world.write("from/notes.txt", "hello");
    world.write("from/empty", "");
    world.write("from/text", "no stored key");
    std::fs::write(world.path("from/binary"), [0xff, 0xfe, 0]).unwrap();
    std::fs::write(world.path("from/huge"), vec![b'a'; 70_000]).unwrap();
    std::fs::write(world.path("from/\u{1b}[2Ja\nb"), "x").unwrap();
    let not_text = std::ffi::OsStr::from_bytes(b"\xff.key");
    std::fs::write(world.path("from").join(not_text), "x").unwrap();
    std::fs::create_dir(world.path("from/sub")).unwrap();
    world.put("from/sub/below", 7);
    std::os::unix::fs::symlink("away", world.path("from/link")).unwrap();
    // Of a server that was killed.
    world.write("from/.new-0123", "x");
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.last()), (0, "Migrated      2 keys successfully!"), "{ran:#?}");
    assert!(ran.stdout.contains("     9 keys skipped, no stored key\n"), "{ran:#?}");
    let expected = "\
Warning: '\\u{1b}[2Ja\\nb' was not migrated: has a name that no key can have
Warning: 'link' was not migrated: is neither a file nor a link to one
Warning: 'notes.txt' was not migrated: has a name that no key can have
Warning: 'sub' was not migrated: is neither a file nor a link to one
Warning: '\u{fffd}.key' was not migrated: has a name that no key can have
Warning: 'binary' was not migrated: is not a stored key: it is not text
Warning: 'empty' was not migrated: is not a stored key: it is empty
Warning: 'huge' was not migrated: is not a stored key: its file is too big for a stored key
Warning: 'text' was not migrated: is not a stored key: it is neither base64 nor JSON
";
    assert_eq!(ran.stderr, expected);
    assert_eq!(world.keys("to").len(), 2);
    assert_eq!(hidden(&world.path("from")), [".new-0123"]);

    let strict = world.run(&["--strict"]);
    assert_eq!(
        (strict.status, strict.errors()),
        (1, vec!["9 keys were not migrated"]),
        "{strict:#?}"
    );
    // Names that nobody has asked for are not told.
    world.run(&["key-*", "--strict"]).is_good("Migration succeeded! No keys migrated.");
}

#[test]
fn values_of_the_reference_server_stay_as_they_are() {
    let mut world = World::new();
    // JSON of the oldest servers, and base64 with a line break, as editors leave it.
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    world.secrets.push(key.to_owned());
    world.write("from/old", &format!("{{\"bytes\":\"{key}\",\"algorithm\":\"AES256\"}}"));
    world.write("from/edited", &format!("{}\n", stored(1)));
    world.run(&[]).is_good("Migrated      2 keys successfully!");
    assert_eq!(world.keys("to"), world.keys("from"));
}

#[test]
fn a_key_that_fails_is_named_and_the_rest_goes_on() {
    let world = World::with_keys(5);
    std::fs::create_dir(world.path("to")).unwrap();
    // A folder has the name.
    std::fs::create_dir(world.path("to/key-00002")).unwrap();
    let ran = world.run(&[]);
    assert_eq!((ran.status, ran.last()), (1, "Migrated      4 keys."), "{ran:#?}");
    assert!(ran.stderr.starts_with("Warning: 'key-00002' was not migrated: "), "{ran:#?}");
    assert!(ran.stderr.contains("target"), "{ran:#?}");
    assert_eq!(ran.errors(), ["1 key was not migrated"]);
}

/// What the target has leads to nothing once the source is removed.
#[test]
fn a_link_to_the_source_is_no_copy() {
    let world = World::with_keys(3);
    std::fs::create_dir(world.path("to")).unwrap();
    let (link, copy) = (world.path("to/key-00001"), world.path("to/key-00002"));
    std::os::unix::fs::symlink("../from/key-00001", &link).unwrap();
    // A file that is in both folders stays in one of them.
    std::fs::hard_link(world.path("from/key-00002"), copy).unwrap();
    let reason = "the target has a link to the source's own file under this name; remove the link \
                  there";
    for more in [&["--merge"][..], &["--force"], &[]] {
        let dry = world.run(&[more, &["--dry-run"]].concat());
        assert!(dry.stdout.contains(&format!("fail     key-00001: {reason}\n")), "{dry:#?}");
        assert!(dry.stdout.contains("there    key-00002\n"), "{dry:#?}");
        let ran = world.run(more);
        let warning = format!("Warning: 'key-00001' was not migrated: {reason}\n");
        assert!(ran.stderr.starts_with(&warning), "{more:?} {ran:#?}");
        assert_eq!((ran.status, ran.errors()), (1, vec!["1 key was not migrated"]), "{ran:#?}");
        assert!(link.is_symlink());
    }
    std::fs::remove_file(&link).unwrap();
    world.run(&[]).is_good("Migrated      1 key successfully!");
    // A link to a file elsewhere, as a volume of secrets has it, is as good as a file.
    std::fs::rename(&link, world.path("to/.key")).unwrap();
    std::os::unix::fs::symlink(".key", &link).unwrap();
    world.run(&[]).is_good("Migration succeeded! No keys migrated.");
}
