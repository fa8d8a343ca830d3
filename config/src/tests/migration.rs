use kes_keystore::config::Migration;
use kes_keystore::{Side, Stage, Writes};

use super::*;

fn migration(section: &str) -> Option<Migration> {
    with(&format!("migration: {section}\n")).config.migration
}

#[test]
fn a_stage_is_read_with_the_store_that_keys_move_to() {
    assert!(loaded(HEAD).config.migration.is_none());
    assert!(migration("").is_none());
    let first = Stage { read: Side::Old, write: Writes::Old, compare: false };
    for (more, stage) in [
        ("", first),
        (", read: old, write: old, compare: off", first),
        (", write: both", Stage { write: Writes::Both, ..first }),
        (", write: both, compare: on", Stage { write: Writes::Both, compare: true, ..first }),
        (", read: new, write: new", Stage { read: Side::New, write: Writes::New, ..first }),
    ] {
        let read = migration(&format!("{{to: {{fs: {{path: other}}}}{more}}}")).unwrap();
        assert_eq!(read.stage, stage, "{more}");
        assert!(
            matches!(&read.to, kes_keystore::Config::Fs(fs) if &*fs.path == Path::new("other"))
        );
        assert_eq!(read.place.to_string(), "line 5: migration.to");
    }
    let vault = "{endpoint: 'https://v:8200', approle: {id: i, secret: '${ONES}'}}";
    let read = migration(&format!("{{to: {{vault: {vault}}}}}")).unwrap();
    assert!(matches!(read.to, kes_keystore::Config::Vault(_)));
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (section, told) in [
        ("{read: new}", "migration.to: is required; fs and vault are supported"),
        ("{to: {}}", "migration.to: names no key store"),
        ("{to: {fs: {path: keys}}}", "migration.to: is the key store that 'keystore' names"),
        ("{to: {fs: {}}}", "migration.to.fs.path: is required"),
        ("{to: {fs: {path: a}, vault: {}}}", "migration.to: more than one key store"),
        (
            "{to: {fs: {path: a}}, read: both}",
            "migration.read: 'both' is unknown; use one of old, new",
        ),
        (
            "{to: {fs: {path: a}}, write: x}",
            "migration.write: 'x' is unknown; use one of old, both, new",
        ),
        ("{to: {fs: {path: a}}, compare: x}", "migration.compare: 'x' is neither true nor false"),
        ("to", "migration: expected a map with to, read, write and compare"),
    ] {
        let refused = refused_with(&format!("migration: {section}\n"));
        assert!(refused.starts_with("line 5: migration"), "{section}: {refused}");
        assert!(refused.contains(told), "{section}: {refused}");
    }
    let warned = with("migration: {to: {fs: {path: a}}, target: {}, reed: new}\n");
    assert_eq!(
        warnings(&warned),
        [
            "line 5: migration.reed: unknown field, ignored; is 'read' meant?",
            "line 5: migration.target: unknown field, ignored; is 'to' meant?",
        ]
    );
}

#[test]
fn a_file_for_a_migration_may_have_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yml");
    let text = "keystore: {fs: {path: keys}}\nmigration: {to: {fs: {path: new}}, write: both}\n";
    fs::write(&path, text).unwrap();
    let read = load_keystore(&path, &env).unwrap();
    assert_eq!(read.migration.unwrap().stage.write, Writes::Both);
}

#[test]
fn a_stage_is_told_as_what_has_changed() {
    let of = |section: &str| {
        Settings::of(&with(&format!("migration: {{to: {{fs: {{path: a}}}}{section}}}\n")).config)
    };
    let told = |now: &Settings, before: &Settings| {
        let changes = now.changes_since(before);
        assert!(changes.iter().all(Change::is_of_key_stores));
        changes.iter().map(|change| format!("{} {}", change.field, change.text)).collect::<Vec<_>>()
    };
    let none = Settings::of(&loaded(HEAD).config);
    assert_eq!(
        told(&of(""), &none),
        [
            "migration.compare set to false",
            "migration.read set to old",
            "migration.to.fs.path set to a",
            "migration.write set to old",
        ]
    );
    assert_eq!(told(&of(", write: both"), &of("")), ["migration.write changed from old to both"]);
    assert_eq!(
        told(&of(", compare: on"), &of("")),
        ["migration.compare changed from false to true"]
    );
}
