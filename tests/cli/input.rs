//! Secrets that come from a terminal or from a file.

use std::os::unix::fs::PermissionsExt as _;

use super::terminal::Terminal;
use super::transcript::{admin_of, kes, start_server};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn a_key_that_is_typed_is_not_shown() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::with(folder.path(), "key import -k typed -", &variables);
    terminal.wait_for("Enter the key in base64: ");
    terminal.type_in(&format!("{KEY}\r"));
    let (shown, status) = terminal.end();
    assert_eq!(status, 0, "{shown}");
    assert!(!shown.contains("AAEC"), "{shown}");
    let ran = kes(folder.path(), &variables, ["key", "info", "-k", "typed"].map(str::to_owned));
    assert_eq!(ran.status, 0, "{ran}");
}

#[test]
fn a_secret_in_a_file_that_others_can_read_is_warned_of() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.txt");
    std::fs::write(&path, KEY).unwrap();
    let warning = "Warning: secret.txt can be read by others (mode 0644); `chmod go-rwx \
                   secret.txt` takes that away\n";
    for (mode, args, told) in [
        (0o644, ["key", "import", "-k", "a", "--file", "secret.txt"], warning),
        (0o600, ["key", "import", "-k", "b", "--file", "secret.txt"], ""),
        (0o644, ["key", "encrypt", "-k", "a", "--file", "secret.txt"], warning),
        (0o600, ["key", "encrypt", "-k", "a", "--file", "secret.txt"], ""),
    ] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let ran = kes(folder.path(), &variables, args.map(str::to_owned));
        assert_eq!((ran.status, ran.err.as_str()), (0, told), "{mode:o} {args:?}: {ran}");
    }
}
