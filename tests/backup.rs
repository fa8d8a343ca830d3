//! `kes backup` and `kes restore` (contract `cli.md`, Backup): what is in the file, who opens it, what arrives
//! in a key store, and what a run that was cut off leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kes_testkit::{Process, age};

use crate::harness::program;
use crate::migrate::stored;

/// Two key stores at once.
mod both;

/// The real `age`, both ways.
mod interop;

/// SIGKILL.
mod kills;

/// Each key store to each other one.
mod pairs;

/// Who opens a file, and what becomes of one that was changed.
mod sealed;

/// What is checked of a backup.
mod verify;

/// Folders of keys, each with a configuration file, an identity, and what no output may show.
#[derive(Debug)]
struct World {
    folder: tempfile::TempDir,
    recipient: String,
    secrets: Vec<String>,
    env: Vec<(String, String)>,
}

/// What a run did.
#[derive(Debug)]
struct Ran {
    stdout: String,
    stderr: String,
    status: i32,
}

impl World {
    /// With `from.yml` and `to.yml` for the folders `from`, which exists, and `to`, which does not, and with
    /// an identity in `identity.txt`.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity.txt");
        let recipient = age::identity(&file);
        let text = fs::read_to_string(file).unwrap();
        let secret = text.lines().last().unwrap().to_owned();
        let world = Self { folder, recipient, secrets: vec![secret], env: Vec::new() };
        fs::create_dir(world.path("from")).unwrap();
        for name in ["from", "to"] {
            world.keystore(name, &format!("fs: {{ path: {name} }}"));
        }
        world
    }

    /// With some keys in `from`.
    fn with_keys(count: u32) -> Self {
        let mut world = Self::new();
        for number in 0..count {
            world.put(&format!("from/key-{number:05}"), number);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration file that has a key store alone.
    fn keystore(&self, name: &str, text: &str) {
        fs::write(self.path(&format!("{name}.yml")), format!("keystore: {{ {text} }}\n")).unwrap();
    }

    /// Puts a key into a folder.
    fn put(&mut self, path: &str, seed: u32) {
        let text = stored(seed);
        fs::write(self.path(path), &text).unwrap();
        // The text of the secret key, which is the same in every form of the value.
        self.secrets.push(text.get(8..48).unwrap().to_owned());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Process::command(&program());
        command
            .args(args)
            .current_dir(self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        for secret in &self.secrets {
            assert!(!stdout.contains(secret.as_str()) && !stderr.contains(secret.as_str()));
        }
        Ran { stdout, stderr, status: output.status.code().unwrap_or(-1) }
    }

    /// Backs a key store up to `keys.age` for the identity.
    fn backup(&self, config: &str, more: &[&str]) -> Ran {
        let args = ["backup", "--config", config, "-r", &self.recipient, "-o", "keys.age"];
        self.run(&[&args, more].concat())
    }

    /// Restores `keys.age` by the identity.
    fn restore(&self, config: &str, more: &[&str]) -> Ran {
        let args = ["restore", "keys.age", "--config", config, "-i", "identity.txt"];
        self.run(&[&args, more].concat())
    }

    fn verify(&self, more: &[&str]) -> Ran {
        self.run(&[&["backup", "verify", "keys.age"], more].concat())
    }

    /// The keys of a folder: no keys if there is none.
    fn keys(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return BTreeMap::new() };
        entries
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                // It may be deleted at this moment.
                Some((name, fs::read(entry.path()).ok()?))
            })
            .collect()
    }

    /// The names in the world's own folder that begin so.
    fn names(&self, start: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(start)).collect();
        names.sort();
        names
    }
}

impl Ran {
    /// All is done, and nothing is to be said of it.
    fn is_good(&self) -> &Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:#?}");
        self
    }

    /// It has failed, and says so.
    fn fails(&self, text: &str) {
        assert_eq!(self.status, 1, "{self:#?}");
        let error = self.stderr.lines().last().unwrap_or_default();
        assert!(error.starts_with("Error: ") && error.contains(text), "{text}: {self:#?}");
    }

    fn last(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_backed_up_and_lost_comes_back_byte_for_byte() {
    let mut world = World::with_keys(300);
    // A form that no server writes today, with what JSON escapes.
    let old =
        "  {\"bytes\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\n\t\"algorithm\":\"\"}\n";
    fs::write(world.path("from/old"), old).unwrap();
    world.secrets.push("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned());
    let before = world.keys("from");
    let made = world.backup("from.yml", &[]);
    assert!(made.is_good().stdout.starts_with("301 keys backed up\n"), "{made:#?}");
    for file in ["keys.age", "keys.age.manifest"] {
        assert_eq!(mode(&world.path(file)), 0o600, "{file}");
    }
    let manifest = fs::read_to_string(world.path("keys.age.manifest")).unwrap();
    assert_eq!(manifest.lines().count(), 303);
    for secret in &world.secrets {
        assert!(!manifest.contains(secret.as_str()));
    }
    fs::remove_dir_all(world.path("from")).unwrap();
    let restored = world.restore("from.yml", &[]);
    assert_eq!(restored.is_good().last(), "Restored    301 keys successfully!", "{restored:#?}");
    assert_eq!(world.keys("from"), before);
    // Another run has nothing to do.
    let again = world.restore("from.yml", &[]);
    assert_eq!(again.is_good().last(), "Restore succeeded! No keys restored.", "{again:#?}");
    assert!(again.stdout.contains("   301 keys already there\n"), "{again:#?}");
}

#[test]
fn a_pattern_picks_keys_of_a_backup_and_for_it() {
    let mut world = World::with_keys(20);
    world.put("from/other", 99);
    world.backup("from.yml", &["key-0000?"]).is_good();
    let restored = world.restore("to.yml", &["key-0000[0-4]"]);
    assert_eq!(restored.is_good().last(), "Restored      5 keys successfully!", "{restored:#?}");
    assert_eq!(world.restore("to.yml", &[]).is_good().last(), "Restored      5 keys successfully!");
    assert_eq!(world.keys("to").len(), 10);
}

#[test]
fn a_key_store_keeps_what_it_has_unless_it_is_told_otherwise() {
    let mut world = World::with_keys(3);
    let backed_up = world.keys("from");
    world.backup("from.yml", &[]).is_good();
    fs::create_dir(world.path("to")).unwrap();
    world.put("to/key-00001", 7_001);
    let before = world.keys("to");
    let told = world.restore("to.yml", &["--dry-run"]);
    assert_eq!(told.status, 1, "{told:#?}");
    assert!(told.stdout.contains("copy     key-00000\nfail     key-00001: "), "{told:#?}");
    assert_eq!(world.keys("to"), before);
    let refused = world.restore("to.yml", &[]);
    refused.fails("1 key was not restored (--merge leaves alone what the target has");
    assert!(refused.stderr.contains("'key-00001' was not restored: "), "{refused:#?}");
    assert_eq!(world.keys("to").len(), 3);
    assert_eq!(world.keys("to")["key-00001"], before["key-00001"]);
    let kept = world.restore("to.yml", &["--merge"]);
    assert_eq!(kept.status, 0, "{kept:#?}");
    assert_eq!(world.keys("to")["key-00001"], before["key-00001"]);
    world.restore("to.yml", &["--force"]).is_good();
    assert_eq!(world.keys("to"), backed_up);
    let both = world.restore("to.yml", &["--force", "--merge"]);
    both.fails("--merge and --force are both specified");
}

#[test]
fn what_is_no_key_is_named_and_left_out() {
    let world = World::with_keys(2);
    fs::write(world.path("from/note.txt"), "x").unwrap();
    fs::write(world.path("from/bad"), "hunter2-hunter2").unwrap();
    let strict = world.backup("from.yml", &["--strict"]);
    strict.fails("no backup was written");
    assert_eq!(world.names("keys"), [""; 0]);
    assert_eq!(world.names(".keys"), [""; 0]);
    let made = world.backup("from.yml", &[]);
    assert_eq!(made.status, 0, "{made:#?}");
    for text in [
        "Warning: 'note.txt' is not in the backup: has a name that no key can have",
        "Warning: 'bad' is not in the backup: is not a stored key: ",
    ] {
        assert!(made.stderr.contains(text), "{text}: {made:#?}");
    }
    assert!(!made.stderr.contains("hunter2") && made.stdout.starts_with("2 keys"), "{made:#?}");
}

#[test]
fn a_backup_is_not_overwritten_and_none_of_nothing_is_made() {
    let world = World::with_keys(2);
    world.backup("from.yml", &[]).is_good();
    let read = |name: &str| fs::read(world.path(name)).unwrap();
    let before = (read("keys.age"), read("keys.age.manifest"));
    world.backup("from.yml", &[]).fails("open keys.age: ");
    fs::rename(world.path("keys.age"), world.path("aside")).unwrap();
    world.backup("from.yml", &[]).fails("open keys.age.manifest: ");
    fs::rename(world.path("aside"), world.path("keys.age")).unwrap();
    // A run that fails leaves the old one.
    world.backup("from.yml", &["-f", "nothing-*"]).fails("no key was found");
    world.backup("to.yml", &["-f"]).fails("to");
    assert_eq!((read("keys.age"), read("keys.age.manifest")), before);
    fs::set_permissions(world.path("keys.age"), PermissionsExt::from_mode(0o644)).unwrap();
    world.backup("from.yml", &["-f"]).is_good();
    assert_ne!(read("keys.age"), before.0);
    assert_eq!(mode(&world.path("keys.age")), 0o600);
    assert_eq!(world.names(".keys"), [""; 0]);
    assert!(!world.path("to").exists());
}

#[test]
fn a_wrong_command_line_is_told_before_anything_is_asked_or_read() {
    let world = World::with_keys(1);
    let r = world.recipient.clone();
    for (args, text) in [
        (vec!["backup", "-o", "x", "-r", &r], "--config"),
        (vec!["backup", "--config", "from.yml", "-r", &r], "--output"),
        (vec!["backup", "--config", "from.yml", "-o", "x"], "nobody could open it"),
        (vec!["backup", "--config", "from.yml", "-o", "x", "-r", &r, "-p"], "are specified"),
        (vec!["backup", "--config", "from.yml", "-o", "x", "-r", "age1x"], "--recipient: "),
        (vec!["backup", "--config", "from.yml", "-o", "x", "-r", &world.secrets[0]], "is secret"),
        (vec!["backup", "--config", "from.yml", "-o", "x", "-p"], "--passphrase-file"),
        (vec!["restore", "--config", "to.yml", "-i", "identity.txt"], "no"),
        (vec!["restore", "keys.age", "-i", "identity.txt"], "--config"),
        (vec!["restore", "keys.age", "--config", "to.yml"], "--identity"),
        (
            vec!["restore", "keys.age", "--config", "to.yml", "-i", "identity.txt", "-p"],
            "specified",
        ),
        (vec!["backup", "verify"], "no backup is named"),
    ] {
        world.run(&args).fails(text);
    }
    assert_eq!(world.names("x"), [""; 0]);
    assert!(!world.path("to").exists());
}
