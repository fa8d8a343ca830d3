use super::World;

const WHOLE: &str = "admin: { identity: disabled }\ntls: { key: no.key, cert: no.crt }\n";

#[test]
fn a_file_with_a_key_store_alone_will_do() {
    for (text, is_good) in [
        ("keystore: { fs: { path: from } }\n", true),
        ("version: v1\nkeystore: { fs: { path: from } }\n", true),
        ("x-store: &store { path: from }\nkeystore: { fs: *store }\n", true),
        // A whole one, whose TLS files do not exist.
        (&format!("{WHOLE}keystore: {{ fs: {{ path: from }} }}\n"), true),
        ("tls: { key: no.key, cert: no.crt }\nkeystore: { fs: { path: from } }\n", false),
        (
            &format!("{WHOLE}log: {{ error: ${{UNSET}} }}\nkeystore: {{ fs: {{ path: from }} }}\n"),
            false,
        ),
        ("keystore: { fs: { path: \"${UNSET}\" } }\n", false),
        ("version: v2\nkeystore: { fs: { path: from } }\n", false),
        ("keystore: { aws: { secretsmanager: { endpoint: a, region: b } } }\n", false),
        (WHOLE, false),
        ("version: v1\n", false),
    ] {
        let world = World::with_keys(1);
        world.write("from.yml", text);
        let ran = world.run(&[]);
        if is_good {
            assert_eq!(
                (ran.status, ran.last()),
                (0, "Migrated      1 key successfully!"),
                "{text} {ran:#?}"
            );
        } else {
            assert_eq!(ran.status, 1, "{text} {ran:#?}");
            assert!(ran.stderr.contains("Error: from.yml"), "{text} {ran:#?}");
            assert!(ran.stderr.contains("the section 'keystore' alone will do"), "{ran:#?}");
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn an_unknown_field_is_told_with_its_file() {
    let world = World::with_keys(1);
    world.write("to.yml", "keystore: { fs: { path: to, pth: x } }\n");
    let ran = world.run(&[]);
    assert_eq!(ran.status, 0);
    assert!(ran.stderr.starts_with("Warning: to.yml:1: keystore.fs.pth: "), "{ran:#?}");
}

#[test]
fn help_is_exit_status_2() {
    let world = World::new();
    let ran = world.run_with(&["--help"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (2, ""));
    for word in ["--from", "--to", "--force", "--merge", "--dry-run", "--strict", "--quiet"] {
        assert!(ran.stderr.contains(word), "{ran:#?}");
    }
    assert!(!ran.stderr.contains("--api-key"), "{ran:#?}");
}
