//! A key server for transcripts: the program itself, with keys in a folder.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Process, wait};

/// Who sends requests.
pub(super) struct Client {
    pub(super) api_key: String,
    pub(super) identity: String,
}

/// A running server. Its keys are gone with it.
pub(super) struct Server {
    /// `127.0.0.1:<port>`
    pub(super) address: String,
    pub(super) admin: Client,
    /// Has the policy `minio` of the contract's recorded runs.
    pub(super) minio: Client,
    /// Has no policy.
    pub(super) nobody: Client,
    /// The server's certificate, which is its own CA.
    pub(super) certificate: std::path::PathBuf,
    process: Process,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts a server on a port that the system chooses, and waits until it listens.
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let made = Command::new(env!("CARGO_BIN_EXE_kes"))
            .args(["identity", "new", "--key", "s.key", "--cert", "s.crt", "--ip", "127.0.0.1"])
            .args(["--dns", "localhost"])
            .current_dir(path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let (admin, minio, nobody) = (Client::new(), Client::new(), Client::new());
        std::fs::write(path.join("c.yml"), config(&admin.identity, &minio.identity)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kes"));
        command
            .args(["server", "--config", "c.yml"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(File::create(path.join("out")).unwrap())
            .stderr(File::create(path.join("err")).unwrap());
        let mut process = Process::start(command);
        let mut address = None;
        wait::eventually(Duration::from_secs(30), "the server listens", || {
            assert!(process.is_running(), "the server ended: {}", read(&path.join("err")));
            address = listening(&read(&path.join("out")));
            address.is_some()
        });
        let certificate = path.join("s.crt");
        Self { address: address.unwrap(), admin, minio, nobody, certificate, process, folder }
    }

    /// What it printed so far: standard output and standard error.
    pub(super) fn printed(&self) -> (String, String) {
        (read(&self.folder.path().join("out")), read(&self.folder.path().join("err")))
    }

    /// The running program.
    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Client {
    fn new() -> Self {
        let api_key = output(&["identity"]);
        let identity = output(&["identity", "of", &api_key]);
        Self { api_key, identity }
    }
}

/// The address in a start-up message; it has to be complete, that is, its line must have ended.
fn listening(printed: &str) -> Option<String> {
    let (lines, _) = printed.rsplit_once('\n')?;
    let (_, after) = lines.split_once("https://")?;
    after.split_whitespace().next().map(str::to_owned)
}

fn output(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kes")).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn config(admin: &str, minio: &str) -> String {
    format!(
        "
address: 127.0.0.1:0
admin: {{ identity: {admin} }}
tls: {{ key: s.key, cert: s.crt }}
policy:
  minio:
    allow: [/v1/key/create/*]
    deny: [/v1/key/decrypt/secret-*]
    identities: [{minio}]
keystore: {{ fs: {{ path: keys }} }}
"
    )
}
