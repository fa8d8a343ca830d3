//! `kes check`: what an operator reads before the server is started, and what it leaves behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Credentials, program};

mod beside;
mod exposure;
mod files;
mod guide;
mod rehearse;

mod rights;
mod transport;
mod trouble;
mod world;

/// All that happens in a check is to end within this time; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(32);

/// A folder with a configuration and what it names.
#[derive(Debug)]
struct Place {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// What no output may show.
    secrets: Vec<String>,
}

/// What a check did.
#[derive(Debug)]
struct Ran {
    lines: Vec<String>,
    stderr: String,
    status: i32,
    took: Duration,
}

impl Place {
    /// A folder with `server.key` and `server.crt`, and a configuration of these sections.
    fn new(sections: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = Credentials::new(&["127.0.0.1"]);
        let secret = tls.key_pem.lines().nth(1).unwrap().to_owned();
        private(&folder.path().join("server.key"), &tls.key_pem);
        std::fs::write(folder.path().join("server.crt"), &tls.certificate_pem).unwrap();
        let place = Self { folder, env: Vec::new(), secrets: vec![secret] };
        place.write(sections);
        place
    }

    /// Replaces the configuration.
    fn write(&self, sections: &str) {
        private(&self.path().join("config.yml"), sections);
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(args)
            .current_dir(self.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs `kes check --config config.yml`.
    fn check(&self) -> Ran {
        self.check_with(&[])
    }

    fn check_with(&self, more: &[&str]) -> Ran {
        self.run(&[&["check", "--config", "config.yml"], more].concat())
    }

    /// Runs `kes rehearse --config config.yml`.
    fn rehearse(&self) -> Ran {
        self.run(&["rehearse", "--config", "config.yml"])
    }

    fn run(&self, args: &[&str]) -> Ran {
        let start = Instant::now();
        let output = self.command(args).output().unwrap();
        let took = start.elapsed();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        for secret in &self.secrets {
            assert!(!format!("{stdout}{stderr}").contains(secret.as_str()), "{stdout}{stderr}");
        }
        let ran = Ran {
            lines: stdout.lines().map(str::to_owned).collect(),
            stderr,
            status: output.status.code().unwrap(),
            took,
        };
        assert!(ran.took < LIMIT, "{ran:#?}");
        let is_told = ran.lines.iter().all(|line| {
            ["ok       ", "warning  ", "FAILED   "].iter().any(|word| line.starts_with(word))
        });
        assert!(is_told, "{ran:#?}");
        ran
    }
}

/// Writes a file that its owner alone can read.
fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

impl Ran {
    fn of(&self, word: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::trim).collect()
    }

    fn warnings(&self) -> Vec<&str> {
        self.of("warning")
    }

    fn failures(&self) -> Vec<&str> {
        self.of("FAILED")
    }

    /// Everything is as it has to be.
    fn is_good(&self) {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:#?}");
        assert_eq!((self.warnings(), self.failures()), (vec![], vec![]), "{self:#?}");
    }

    /// These warnings are given, in this order, and no others: each has all the parts.
    fn warns(&self, expected: &[&[&str]]) {
        let warnings = self.warnings();
        assert_eq!(warnings.len(), expected.len(), "{self:#?}");
        for (line, parts) in warnings.iter().zip(expected) {
            for part in *parts {
                assert!(line.contains(part), "'{part}' is not in '{line}': {self:#?}");
            }
        }
    }

    /// This line tells that something is good.
    fn tells(&self, text: &str) {
        assert!(self.of("ok").iter().any(|line| line.contains(text)), "'{text}': {self:#?}");
    }

    /// These things fail, in this order, and nothing else: each line has all the parts.
    fn fails(&self, expected: &[&[&str]]) {
        assert_eq!(self.status, 1, "{self:#?}");
        let plural = if expected.len() == 1 { "check" } else { "checks" };
        assert_eq!(
            self.stderr,
            format!("Error: {} {plural} failed\n", expected.len()),
            "{self:#?}"
        );
        let failures = self.failures();
        assert_eq!(failures.len(), expected.len(), "{self:#?}");
        for (line, parts) in failures.iter().zip(expected) {
            for part in *parts {
                assert!(line.contains(part), "'{part}' is not in '{line}': {self:#?}");
            }
        }
    }
}
