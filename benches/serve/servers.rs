//! The servers that are compared, as processes of their own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_testkit::Process;
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::cpu::{self, LOAD, SERVERS};
use crate::setup::Setup;

/// A server under measurement. It ends with this value.
pub(crate) struct Subject {
    /// `bare`, `kes` or `other`.
    pub(crate) name: &'static str,
    /// `127.0.0.1:<port>`
    pub(crate) address: String,
    pub(crate) pid: u32,
    /// From the start of the process until it said where it listens.
    pub(crate) start: Option<Duration>,
    /// What it writes to standard output: the audit log of ours.
    pub(crate) stdout: Option<PathBuf>,
    _process: Option<Process>,
}

/// All of them, and what a client needs.
pub(crate) struct Servers {
    /// The bare server, ours, and perhaps another one, in this order.
    pub(crate) subjects: Vec<Subject>,
    client: ClientConfig,
    folder: tempfile::TempDir,
}

impl Servers {
    /// Starts the bare server and ours, on the servers' core.
    pub(crate) fn start(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (client, _) = setup.write(folder.path());
        let mut servers = Self { subjects: Vec::new(), client, folder };
        servers.subjects = vec![servers.start_bare(), servers.start_ours()];
        servers
    }

    /// The limit.
    pub(crate) fn bare(&self) -> &Subject {
        &self.subjects[0]
    }

    /// Ours.
    pub(crate) fn ours(&self) -> &Subject {
        &self.subjects[1]
    }

    /// Starts one more bare server.
    pub(crate) fn start_bare(&self) -> Subject {
        let mut command = Process::command(&std::env::current_exe().unwrap());
        command.env(crate::bare::ENV, self.folder.path());
        started("bare", command, self.folder.path())
    }

    /// Starts one more of ours, with the same configuration and the same keys.
    pub(crate) fn start_ours(&self) -> Subject {
        let mut command = Process::command(Path::new(env!("CARGO_BIN_EXE_kes")));
        command.args(["server", "--config", "config.yml"]);
        started("kes", command, self.folder.path())
    }

    /// TLS of a client that offers one protocol (`h2` or `http/1.1`), without resumption.
    pub(crate) fn client(&self, alpn: &str) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

/// Starts a server and waits until it says where it listens.
fn started(name: &'static str, mut command: Command, folder: &Path) -> Subject {
    let own = tempfile::Builder::new().prefix(name).tempdir_in(folder).unwrap().keep();
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| own.join(name));
    // Appended to: the audit log may be emptied while it is written.
    let append = |path| File::options().create(true).append(true).open(path).unwrap();
    command.current_dir(folder).stdin(Stdio::null());
    command.stdout(append(&stdout)).stderr(append(&stderr));

    // It inherits the core, and counts its worker threads by it.
    cpu::pin(SERVERS);
    let begin = Instant::now();
    let mut process = Process::start(command);
    cpu::pin(LOAD);
    let address = loop {
        let printed = std::fs::read_to_string(&stdout).unwrap();
        // Whole lines alone: the address may be half written.
        let whole = printed.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if let Some((_, after)) = whole.split_once("https://") {
            break after.split_ascii_whitespace().next().unwrap().to_owned();
        }
        if !process.is_running() || begin.elapsed() > Duration::from_secs(30) {
            let said = std::fs::read_to_string(&stderr).unwrap();
            panic!("{name} does not start: {printed}{said}");
        }
        // Short beside the milliseconds of a start.
        std::thread::sleep(Duration::from_micros(200));
    };
    let start = Some(begin.elapsed());
    assert!(cpu::is_pinned(process.id(), SERVERS), "{name} is not on the servers' core");
    let pid = process.id();
    Subject { name, address, pid, start, stdout: Some(stdout), _process: Some(process) }
}
