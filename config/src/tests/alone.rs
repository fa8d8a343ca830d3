use super::*;

fn load(text: &str) -> Result<LoadedKeystore, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yml");
    fs::write(&path, text).unwrap();
    load_keystore(&path, &env)
}

#[test]
fn a_key_store_alone_is_read_without_the_rest() {
    for text in [
        "keystore: {fs: {path: keys}}",
        "version: v1\nkeystore: {fs: {path: keys}}",
        "admin:\nkeystore: {fs: {path: keys}}",
        HEAD,
    ] {
        let loaded = load(text).unwrap();
        assert!(matches!(loaded.keystore, kes_keystore::Config::Fs(_)), "{text}");
        assert!(loaded.warnings.is_empty(), "{text}");
    }
    let loaded = load("x-keys: &keys {path: keys}\nkeystore: {fs: *keys}").unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("line 1: x-keys: "), "{warnings:?}");
}

#[test]
fn any_other_section_makes_it_a_whole_configuration() {
    for (text, fault) in [
        ("", "the file is empty"),
        ("version: v1", "keystore: is required"),
        ("version: v2\nkeystore: {fs: {path: keys}}", "the only version is v1"),
        ("keystore: {fs: {path: '${UNSET}'}}", "UNSET"),
        ("log: {error: on}\nkeystore: {fs: {path: keys}}", "tls.key: is required"),
        (&format!("{HEAD}log: {{error: '${{UNSET}}'}}"), "UNSET"),
        ("keystore: {fs: {path: keys}, vault: {}}", "more than one key store"),
        ("[1, 2]", "c.yml"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(fault), "{text}: {error}");
    }
}
