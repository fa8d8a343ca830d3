//! The servers that are compared, as processes of their own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_testkit::Process;
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::cpu::{self, LOAD, SERVERS};
use crate::setup::{self, Setup};
use crate::{bare, other};

/// A server under measurement. It ends with this value.
pub(crate) struct Subject {
    /// [`BARE`], [`OURS`] or `other`.
    pub(crate) name: &'static str,
    /// `127.0.0.1:<port>`
    pub(crate) address: String,
    pub(crate) pid: u32,
    /// When its process was started, and how long after that it said where it listens.
    pub(crate) start: Option<(Instant, Duration)>,
    /// What it writes to standard output: the audit log of ours.
    pub(crate) stdout: Option<PathBuf>,
    #[expect(dead_code, reason = "it ends the process when dropped")]
    process: Option<Process>,
}

impl Subject {
    /// How many lines it has written to standard output.
    pub(crate) fn lines(&self) -> u64 {
        self.stdout.as_deref().map_or(0, lines_of)
    }
}

/// How many lines a file has.
pub(crate) fn lines_of(path: &Path) -> u64 {
    let mut file = BufReader::new(File::open(path).unwrap());
    let mut lines = 0;
    loop {
        let text = file.fill_buf().unwrap();
        if text.is_empty() {
            return lines;
        }
        lines += count_lines(text);
        let read = text.len();
        file.consume(read);
    }
}

/// The name of the bare server.
pub(crate) const BARE: &str = "bare";

/// The name of ours.
pub(crate) const OURS: &str = "kes";

/// The name of another server, which runs already.
const OTHER: &str = "other";

/// All of them, and what a client needs.
pub(crate) struct Servers {
    /// What ours was started with.
    pub(crate) setup: Setup,
    /// The bare server, ours, and perhaps another one, in this order.
    pub(crate) subjects: Vec<Subject>,
    client: ClientConfig,
    folder: tempfile::TempDir,
}

impl Servers {
    /// Starts the bare server and ours, on the servers' core. The server that the environment
    /// names (see [`other`](crate::other)) is beside them if `setup` is the plain one.
    pub(crate) fn start(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(files) = other::files() {
            setup::copy_credentials(&files, folder.path());
        }
        let (client, _) = setup.write(folder.path());
        let mut servers = Self { setup: setup.clone(), subjects: Vec::new(), client, folder };
        servers.subjects = vec![servers.start_bare(), start_ours(servers.folder.path())];
        if *setup == Setup::default() {
            servers.subjects.extend(other());
        }
        servers
    }

    /// Ours.
    pub(crate) fn ours(&self) -> &Subject {
        &self.subjects[1]
    }

    /// Where the servers run: ours has its keys in `keys`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same server in a process that has done nothing yet, with the same configuration and
    /// keys. The other one cannot be started anew: its process stays.
    pub(crate) fn anew(&self, subject: &Subject) -> Subject {
        match subject.name {
            BARE => self.start_bare(),
            OURS => {
                // A key folder is for one server.
                let folder = tempfile::Builder::new().tempdir_in(self.folder()).unwrap().keep();
                setup::copy_credentials(self.folder(), &folder);
                setup::copy_keys(self.folder(), &folder);
                self.setup.write(&folder);
                start_ours(&folder)
            }
            _ => other().unwrap(),
        }
    }

    fn start_bare(&self) -> Subject {
        let mut command = Process::command(&std::env::current_exe().unwrap());
        command.env(bare::ENV, self.folder.path());
        started(BARE, command, self.folder.path())
    }

    /// TLS of a client that offers one protocol (`h2` or `http/1.1`), without resumption.
    pub(crate) fn client(&self, alpn: &str) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Arc::new(config)
    }
}

fn start_ours(folder: &Path) -> Subject {
    let mut command = Process::command(Path::new(env!("CARGO_BIN_EXE_kes")));
    command.args(["server", "--config", "config.yml"]);
    started(OURS, command, folder)
}

/// The server that runs already, if there is one.
fn other() -> Option<Subject> {
    let (address, pid) = other::server()?;
    Some(Subject { name: OTHER, address, pid, start: None, stdout: None, process: None })
}

/// Starts a server and waits until it says where it listens.
fn started(name: &'static str, mut command: Command, folder: &Path) -> Subject {
    let own = tempfile::Builder::new().prefix(name).tempdir_in(folder).unwrap().keep();
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| own.join(name));
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
    let start = Some((begin, begin.elapsed()));
    assert!(cpu::is_pinned(process.id(), SERVERS), "{name} is not on the servers' core");
    let pid = process.id();
    Subject { name, address, pid, start, stdout: Some(stdout), process: Some(process) }
}

/// Line breaks in a text.
pub(crate) fn count_lines(text: &[u8]) -> u64 {
    text.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}
