//! `kes migrate` (contract `migrate.md`): what arrives in the target, what is told, and what a run
//! that was cut off leaves behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kes_testkit::Process;

use crate::harness::{BASE64, program};

/// Keys in folders, and what is asked for.
mod folders;

/// Configuration files.
mod files;

/// SIGKILL.
mod kills;

/// Other signals.
mod signals;

/// Outputs that are closed, full or not read.
mod outputs;

/// To Vault and back.
mod vault;

/// Stores that are the same, or are away.
mod stores;

/// Two key stores, each with a configuration file, and what no output may show.
#[derive(Debug)]
struct World {
    folder: tempfile::TempDir,
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
    /// With `from.yml` and `to.yml` for the folders `from`, which exists, and `to`, which does not.
    fn new() -> Self {
        let world =
            Self { folder: tempfile::tempdir().unwrap(), secrets: Vec::new(), env: Vec::new() };
        std::fs::create_dir(world.path("from")).unwrap();
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
        self.write(&format!("{name}.yml"), &format!("keystore: {{ {text} }}\n"));
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    /// Puts a key into a folder.
    fn put(&mut self, path: &str, seed: u32) {
        let text = stored(seed);
        self.write(path, &text);
        // The text of the secret key, which is the same in every form of the value.
        self.secrets.push(text.get(8..48).unwrap().to_owned());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Process::command(&program());
        command
            .arg("migrate")
            .args(args)
            .current_dir(self.folder.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `kes migrate --from from.yml --to to.yml`, with more arguments.
    fn run(&self, more: &[&str]) -> Ran {
        self.run_with(&[&["--from", "from.yml", "--to", "to.yml"], more].concat())
    }

    fn run_with(&self, args: &[&str]) -> Ran {
        self.ran(&self.command(args).output().unwrap())
    }

    fn ran(&self, output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        for secret in &self.secrets {
            assert!(!stdout.contains(secret.as_str()) && !stderr.contains(secret.as_str()));
        }
        Ran { stdout, stderr, status: output.status.code().unwrap_or(-1) }
    }

    /// The files of a folder that have no dot at the beginning, with their contents.
    fn keys(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        contents(&self.path(folder))
    }
}

impl Ran {
    /// The last line on standard output.
    fn last(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    fn errors(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("Error: ")).collect()
    }

    /// All is done, and nothing is to be said of it.
    fn is_good(&self, last: &str) {
        assert_eq!((self.status, self.stderr.as_str(), self.last()), (0, "", last), "{self:#?}");
    }
}

/// What a folder has: no keys if there is none.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            // It may be deleted at this moment.
            Some((name, std::fs::read(entry.path()).ok()?))
        })
        .collect()
}

/// The names of a folder that an operator does not see.
fn hidden(folder: &Path) -> Vec<std::ffi::OsString> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| AsRef::<OsStr>::as_ref(name).as_encoded_bytes().starts_with(b".")).collect()
}

/// A stored key as servers write it.
pub(crate) fn stored(seed: u32) -> String {
    let secret = |first: u8| {
        let mut bytes = vec![0x0a, 0x20];
        bytes.extend((0..8).flat_map(|part: u32| {
            (seed.wrapping_mul(2_654_435_761) ^ part.wrapping_mul(40_503) ^ u32::from(first))
                .to_be_bytes()
        }));
        bytes.extend([0x10, 0x01]);
        bytes
    };
    let mut bytes = Vec::new();
    for (tag, part) in [(0x0a, secret(1)), (0x12, secret(2))] {
        bytes.push(tag);
        bytes.push(u8::try_from(part.len()).unwrap());
        bytes.extend(part);
    }
    // 2024-01-01 in seconds.
    bytes.extend([0x1a, 0x06, 0x08, 0x80, 0xc6, 0xc7, 0xac, 0x06]);
    BASE64.encode_to_string(bytes)
}
