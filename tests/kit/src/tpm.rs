use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Port;
use crate::listening::Listening;
use crate::package::Package;

const SWTPM: Package =
    Package { name: "swtpm", program: None, folder: "usr/bin", with: &[], env: "SWTPM_BIN" };

const CREDENTIALS: Package = Package {
    name: "systemd",
    program: Some("systemd-creds"),
    folder: "usr/bin",
    with: &[],
    env: "SYSTEMD_CREDS_BIN",
};

/// Depends on all libraries for a TPM, whatever the names of their packages. systemd opens them while
/// it runs.
const LIBRARIES: Package = Package {
    name: "libtss2-dev",
    program: None,
    folder: "usr/lib",
    with: &[],
    env: "SYSTEMD_CREDS_BIN",
};

/// From this version on `systemd-creds` asks a service for whoever is not root.
const ASKS: u32 = 256;

/// A TPM made of software, with a state of its own. It has power only while it is used, so that
/// each use is one after a restart of the machine.
#[derive(Debug)]
pub struct Tpm {
    state: TempDir,
}

impl Tpm {
    /// A new one, which no other is like.
    ///
    /// # Panics
    /// If there is no room for its state.
    #[expect(clippy::new_without_default, reason = "no two of them are equal")]
    pub fn new() -> Self {
        Self { state: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    /// Seals a credential with this TPM, with `systemd-creds encrypt`: what
    /// `LoadCredentialEncrypted=` takes.
    ///
    /// # Panics
    /// If that fails, or a program is not on this machine and cannot be fetched.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Vec<u8> {
        let sealed = self.run(&["encrypt", "--with-key=tpm2"], name, secret);
        sealed.unwrap_or_else(|error| panic!("the TPM seals nothing: {error}"))
    }

    /// Opens a credential with this TPM, with `systemd-creds decrypt`, as systemd does before it
    /// starts a service.
    ///
    /// # Errors
    /// What that says if it refuses.
    ///
    /// # Panics
    /// If a program is not on this machine and cannot be fetched.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        self.run(&["decrypt"], name, sealed)
    }

    fn run(&self, verb: &[&str], name: &str, input: &[u8]) -> Result<Vec<u8>, String> {
        let mut command = credentials();
        let power = self.power();
        command
            .args(verb)
            .arg(format!("--tpm2-device=swtpm:host=127.0.0.1,port={}", power.address().port()))
            .arg(format!("--name={name}"))
            .args(["-", "-"])
            .env("LC_ALL", "C")
            .env_remove("SYSTEMD_LOG_LEVEL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let text = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut stdin = child.stdin.take().expect("it is a pipe");
        // One that ends without reading says why.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().expect("a child can be waited for");
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!("{text}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts it. The library that systemd reaches it with gives its commands to a port, and what
    /// stands for its other wires to the following one.
    fn power(&self) -> Listening {
        let program = SWTPM.program();
        let command = |folder: &Path, address: std::net::SocketAddr| {
            let channel = |port| format!("type=tcp,bindaddr=127.0.0.1,port={port}");
            let mut command = program.command();
            command
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .args(["--server", &channel(address.port())])
                .args(["--ctrl", &channel(address.port() + 1)])
                .arg("--tpmstate")
                .arg(format!("dir={}", self.state.path().display()))
                .arg("--pid")
                .arg(format!("file={}", folder.join("pid").display()));
            command
        };
        // Its file of process IDs is there once it has both ports.
        let has_bound = |folder: &Path| folder.join("pid").exists();
        Listening::start_on("swtpm", Port::with_next, command, has_bound)
    }
}

/// A command for `systemd-creds`.
fn credentials() -> Command {
    let program = CREDENTIALS.program().with(LIBRARIES.libraries("libtss2-"));
    let command = program.command();
    if rustix::process::geteuid().is_root() || version(program.command()) < ASKS {
        return command;
    }
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut as_root = Command::new("unshare");
    as_root.args(["--user", "--map-root-user"]).arg(command.get_program());
    as_root.args(command.get_args()).envs(variables);
    as_root
}

/// Of `systemd 252 (252.38-1)` that is 252.
fn version(mut command: Command) -> u32 {
    let output = command.arg("--version").output().expect("systemd-creds tells its version");
    let text = String::from_utf8_lossy(&output.stdout);
    let digits = text.split_whitespace().nth(1).unwrap_or_default();
    let digits = digits.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("systemd-creds tells no version: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tpm_has_sealed_no_other_opens() {
        let tpm = Tpm::new();
        let sealed = tpm.seal("name", b"a secret");
        assert_eq!(tpm.open("name", &sealed).as_deref(), Ok(&b"a secret"[..]));
        let refused = Tpm::new().open("name", &sealed).unwrap_err();
        assert!(refused.contains("integrity check failed"), "{refused}");
        let refused = tpm.open("other", &sealed).unwrap_err();
        assert!(refused.contains("does not match"), "{refused}");
    }
}
