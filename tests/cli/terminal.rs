//! Commands at a terminal.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use kes_testkit::{Port, Process};

use super::live::end;
use super::transcript::{admin_of, kes, start_server};

/// Runs a command at a terminal: what it prints, with the terminal's line ends taken away.
/// `answers` are typed when the text before them is shown.
pub(super) fn at_terminal(
    folder: &Path,
    args: &str,
    variables: &BTreeMap<String, String>,
    answers: &[(&str, &str)],
) -> (String, i32) {
    shell_at_terminal(folder, &line(args), variables, answers)
}

/// The line of shell for a command.
fn line(args: &str) -> String {
    // No shell stays between: it would answer Ctrl-C with a status of its own.
    format!("exec {} {args}", env!("CARGO_BIN_EXE_kes"))
}

/// As [`at_terminal`], for a line of shell.
pub(super) fn shell_at_terminal(
    folder: &Path,
    line: &str,
    variables: &BTreeMap<String, String>,
    answers: &[(&str, &str)],
) -> (String, i32) {
    let mut terminal = Terminal::start(folder, line, variables);
    for (prompt, answer) in answers {
        terminal.wait_for(prompt);
        terminal.type_in(answer);
    }
    terminal.end()
}

/// A terminal with a command.
pub(super) struct Terminal {
    process: Process,
    typed: ChildStdin,
    shown: ChildStdout,
    text: Vec<u8>,
    /// Where what was not waited for yet begins.
    from: usize,
}

impl Terminal {
    fn start(folder: &Path, line: &str, variables: &BTreeMap<String, String>) -> Self {
        let mut command = Process::command(Path::new("script"));
        command
            .args(["--quiet", "--return", "--command", line, "/dev/null"])
            .env_clear()
            .envs(variables)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // script of util-linux makes a terminal.
        let mut process = Process::start(command);
        let (typed, shown) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
        Self { process, typed, shown, text: Vec::new(), from: 0 }
    }

    /// As [`Self::start`], for a command of the program.
    pub(super) fn with(folder: &Path, args: &str, variables: &BTreeMap<String, String>) -> Self {
        Self::start(folder, &line(args), variables)
    }

    /// Waits until a text is shown, behind the one that was waited for before.
    pub(super) fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.text[self.from..]).contains(text) {
            let mut byte = [0];
            let read = self.shown.read(&mut byte).unwrap();
            assert_eq!(read, 1, "{text:?} in {}", String::from_utf8_lossy(&self.text));
            self.text.push(byte[0]);
        }
        self.from = self.text.len();
    }

    pub(super) fn type_in(&mut self, text: &str) {
        self.typed.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end: all that was shown, with the terminal's line ends taken away, and the
    /// exit status.
    pub(super) fn end(mut self) -> (String, i32) {
        self.shown.read_to_end(&mut self.text).unwrap();
        let status = end(&mut self.process).code().unwrap();
        (String::from_utf8(self.text).unwrap().replace('\r', ""), status)
    }
}

#[test]
fn a_person_at_a_terminal_reads_another_form() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &str| {
        let (text, status) = at_terminal(folder.path(), args, &variables, &[]);
        assert_eq!(status, 0, "{args}: {text}");
        text
    };

    assert_eq!(run("key create -k k1"), "");
    assert_eq!(run("key ls -k"), "\x1b[1m\x1b[4mKey\x1b[0m\nk1\n");
    assert_eq!(run("key ls -k --color never"), "Key\nk1\n");
    assert_eq!(run("key ls -k --json"), "[\"k1\"]\n");

    let mut plain = variables.clone();
    plain.insert("NO_COLOR".into(), "1".into());
    let without_color = at_terminal(folder.path(), "key ls -k", &plain, &[]);
    assert_eq!(without_color, ("Key\nk1\n".to_owned(), 0));

    let sealed = run("key encrypt -k k1 hello");
    let ciphertext = sealed.strip_prefix("ciphertext: ").expect(&sealed).trim_end();
    assert_eq!(run(&format!("key decrypt -k k1 {ciphertext}")), "plaintext: aGVsbG8=\n");

    let dek = run("key dek -k k1");
    let lines: Vec<&str> = dek.lines().collect();
    assert_eq!(lines.len(), 2, "{dek}");
    let plaintext = lines[0].strip_prefix("plaintext: ").expect(&dek);
    let ciphertext = lines[1].strip_prefix("ciphertext: ").expect(&dek);
    let opened = run(&format!("key decrypt -k k1 {ciphertext}"));
    assert_eq!(opened, format!("plaintext: {plaintext}\n"));

    let policy = run("policy show -k minio --color never");
    assert!(policy.starts_with("Name        minio\n"), "{policy}");
    assert!(policy.contains("Allow       /v1/key/create/*\n"), "{policy}");
    assert!(policy.contains("Deny        /v1/key/decrypt/secret-*\n"), "{policy}");

    let error = at_terminal(folder.path(), "key info -k nope", &variables, &[]);
    let expected = "\x1b[1m\x1b[31mError:\x1b[0m failed to describe keys: key does not exist\n\
                    No key has the name \"nope\"; 'kes key ls' lists the keys\n";
    assert_eq!(error, (expected.to_owned(), 1));
}

#[test]
fn a_key_is_deleted_at_a_terminal_after_an_answer_alone() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &str, answers: &[(&str, &str)]| {
        at_terminal(folder.path(), args, &variables, answers)
    };
    assert_eq!(run("key create -k k1 k2 k3", &[]), (String::new(), 0));

    // A description is no use of a key.
    assert_eq!(run("key info -k k1", &[]).1, 0);
    // The last one is Ctrl-D.
    for answer in ["n\n", "\n", "\x04"] {
        let (text, status) = run("key rm -k k1 k2", &[("Delete it? [y/N]", answer)]);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("Key        k1\nLast used  not since "), "{text}");
        assert!(text.contains(" UTC, on the server that was asked\n"), "{text}");
        let error = "\n\x1b[1m\x1b[31mError:\x1b[0m key \"k1\" was not removed\n";
        assert!(text.ends_with(error), "{text}");
    }
    assert_eq!(run("key dek -k k1", &[]).1, 0);
    let identity = kes(
        folder.path(),
        &variables,
        ["identity", "of", &variables["KES_API_KEY"]].map(str::to_owned),
    );
    let answers = [("Delete it? [y/N]", "y\n"), ("Delete it? [y/N]", "yes\n")];
    let (text, status) = run("key rm -k k1 k2", &answers);
    assert_eq!(status, 0, "{text}");
    let used = format!(" UTC by {}, on the server that was asked\n", identity.out.trim_end());
    assert!(text.contains(&used), "{text}");

    let (text, status) = run("key rm -k k1", &[]);
    assert!(
        status == 1 && text.contains("failed to remove key \"k1\": key does not exist"),
        "{text}"
    );
    assert_eq!(run("key rm -k --force k3", &[]), (String::new(), 0));
}

/// Each server knows its own uses alone: who asks one of them would delete what another one uses.
#[test]
fn every_server_tells_when_a_key_was_last_used() {
    let (idle, busy) = (start_server(), start_server());
    let folder = tempfile::tempdir().unwrap();
    let mut variables = admin_of(&idle);
    for (server, args) in [(&idle, "create"), (&busy, "create"), (&busy, "dek")] {
        variables.insert("KES_SERVER".to_owned(), server.address.clone());
        let args = ["key", args, "-k", "k"].map(str::to_owned);
        assert_eq!(kes(folder.path(), &variables, args).status, 0);
    }
    let away = Port::free();
    let away = away.address().to_string();
    let names = [&idle.address, &busy.address, &away].map(String::as_str);
    variables.insert("KES_SERVER".to_owned(), names.join(","));
    let answers = [("Delete it? [y/N]", "n\n")];
    let (text, status) = at_terminal(folder.path(), "key rm -k k", &variables, &answers);
    assert_eq!(status, 1, "{text}");
    let rows: Vec<&str> = text.lines().collect();
    assert_eq!(rows[0], "Key        k");
    let row = |number: usize, label: &str, rest: &str| {
        let start = format!("{label:11}{}: {rest}", names[number]);
        assert!(rows[number + 1].starts_with(&start), "{start} in {text}");
    };
    row(0, "Last used", "not since 20");
    row(1, "", "20");
    row(2, "", "not known: cannot reach ");
    assert!(rows[2].contains(" UTC by "), "{text}");

    // A key that no server has is not asked about.
    let (text, status) = at_terminal(folder.path(), "key rm -k none", &variables, &[]);
    assert!(status == 1 && text.contains("failed to remove key \"none\""), "{text}");
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn the_password_of_a_private_key_is_asked_for_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &str, answers: &[(&str, &str)]| {
        let (text, status) = at_terminal(folder.path(), args, &BTreeMap::new(), answers);
        assert!(!text.contains("correct-horse"), "{text}");
        (text, status)
    };

    // Both lines at once: the second is not shown either.
    let (text, status) = run(
        "identity new --key a.key --cert a.crt --encrypt",
        &[("Enter a password", "correct-horse\ncorrect-horse\n")],
    );
    assert_eq!(status, 0, "{text}");
    let pem = std::fs::read_to_string(folder.path().join("a.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
    let api_key = text.split_whitespace().find(|word| word.starts_with("kes:v1:")).expect(&text);

    let (text, status) = run("identity a.key", &[("Enter the password", "correct-horse\n")]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains(api_key), "{text}");

    let (text, status) = run("identity a.key", &[("Enter the password", "wrong\n")]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("the password is wrong"), "{text}");

    let (text, status) = run(
        "identity new --key b.key --encrypt",
        &[("Enter a password", "one\n"), ("Enter it again", "other\n")],
    );
    assert!(status == 1 && text.contains("the two passwords differ"), "{text}");
    assert!(!folder.path().join("b.key").exists());

    // Ctrl-C ends it, and the terminal shows again what is typed. The signal is set back first:
    // whoever runs these tests in the background of a script has it ignored, and so its children.
    let line =
        "env --default-signal=INT sh -c 'trap : INT; $KES identity a.key; echo rc=$?; stty -a'";
    let variables = [
        ("KES".to_owned(), env!("CARGO_BIN_EXE_kes").to_owned()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
    ];
    let answers = [("Enter the password", "\u{3}")];
    let (text, _) = shell_at_terminal(folder.path(), line, &variables.into(), &answers);
    assert!(text.contains("rc=130") && text.contains(" echo "), "{text}");
    assert!(text.contains(" icanon ") && !text.contains("-icanon"), "{text}");
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build makes no backups")]
fn the_passphrase_of_a_backup_is_asked_for_twice_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    std::fs::write(folder.path().join("keys/my-key"), crate::migrate::stored(1)).unwrap();
    for (file, path) in [("from.yml", "keys"), ("to.yml", "new")] {
        let text = format!("keystore: {{ fs: {{ path: {path} }} }}\n");
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let run = |args: &str, answers: &[(&str, &str)]| {
        let (text, status) = at_terminal(folder.path(), args, &BTreeMap::new(), answers);
        assert!(!text.contains("correct-horse"), "{text}");
        (text, status)
    };
    let make = "backup --config from.yml -o keys.age -p";
    let (text, status) =
        run(make, &[("Enter a passphrase for keys.age", "one\n"), ("Enter it again", "other\n")]);
    assert!(status == 1 && text.contains("the two passphrases differ"), "{text}");
    assert!(!folder.path().join("keys.age").exists());
    let answers =
        [("Enter a passphrase for", "correct-horse\n"), ("Enter it again", "correct-horse\n")];
    let (text, status) = run(make, &answers);
    assert!(status == 0 && text.contains("1 key backed up"), "{text}");
    let open = "restore keys.age --config to.yml -p";
    let (text, status) = run(open, &[("Enter the passphrase of keys.age", "wrong\n")]);
    assert!(status == 1 && text.contains("the passphrase is wrong"), "{text}");
    let (text, status) = run(open, &[("Enter the passphrase of keys.age", "correct-horse\n")]);
    assert!(status == 0 && text.contains("Restored      1 key successfully!"), "{text}");
    let stored = |path: &str| std::fs::read(folder.path().join(path)).unwrap();
    assert_eq!(stored("new/my-key"), stored("keys/my-key"));
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn an_encrypted_private_key_without_a_terminal_is_an_error_that_says_so() {
    let server = start_server();
    let folder = tempfile::tempdir().unwrap();
    let answers = [("Enter a password", "pw\n"), ("Enter it again", "pw\n")];
    let made = "identity new --key a.key --cert a.crt --encrypt";
    at_terminal(folder.path(), made, &BTreeMap::new(), &answers);
    let mut variables = admin_of(&server);
    variables.remove("KES_API_KEY");
    variables.insert("KES_CLIENT_KEY".into(), "a.key".into());
    variables.insert("KES_CLIENT_CERT".into(), "a.crt".into());
    let ran = kes(folder.path(), &variables, ["key", "ls", "-k"].map(str::to_owned));
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.err,
        "Error: the private key a.key needs a password, and there is no terminal to ask for it\n"
    );
    // With one, the password opens it, and the server tells what it thinks of the identity.
    let typed = [("Enter the password of a.key", "pw\n")];
    let (text, status) = at_terminal(folder.path(), "key ls -k", &variables, &typed);
    assert!(status == 1 && text.contains("not authorized"), "{text}");
}

/// A migration at a terminal has a bar in place of lines, and nothing of it is left at the end.
#[test]
fn a_migration_shows_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("from")).unwrap();
    for number in 0..2_000 {
        let name = format!("from/key-{number}");
        std::fs::write(path(&name), crate::migrate::stored(number)).unwrap();
    }
    for name in ["from", "to"] {
        let text = format!("keystore: {{ fs: {{ path: {name} }} }}\n");
        std::fs::write(path(&format!("{name}.yml")), text).unwrap();
    }
    let args = "migrate --from from.yml --to to.yml";
    let (text, status) = at_terminal(folder.path(), args, &BTreeMap::new(), &[]);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("Starting key migration:\n\n"), "{text}");
    assert!(text.contains("/2000 keys, ") && text.contains("[==="), "{text}");
    assert!(!text.contains(" keys ..."), "{text}");
    assert!(text.ends_with("\x1b[2KMigrated   2000 keys successfully!\n"), "{text:?}");
    // Without it.
    let again = at_terminal(folder.path(), &format!("{args} -q"), &BTreeMap::new(), &[]);
    let expected = "  2000 keys already there\nMigration succeeded! No keys migrated.\n";
    assert_eq!(again, (expected.to_owned(), 0));
}
