use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::{Port, wait};

/// It listens within milliseconds; a machine that is busy with a build may need far more.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// A program with a folder and a port of its own. It goes with its owner.
#[derive(Debug)]
pub(crate) struct Listening {
    process: Process,
    folder: TempDir,
    port: Port,
}

impl Listening {
    /// Starts what `command` makes for a folder and an address, and waits until it listens there.
    /// `has_bound` says whether it has bound its port: another program may have the port.
    pub(crate) fn start(
        name: &str,
        command: impl Fn(&Path, SocketAddr) -> Command,
        has_bound: impl Fn(&Path) -> bool,
    ) -> Self {
        Self::start_on(name, Port::free, command, has_bound)
    }

    /// The same on a port that is taken so.
    pub(crate) fn start_on(
        name: &str,
        port: impl Fn() -> Port,
        command: impl Fn(&Path, SocketAddr) -> Command,
        has_bound: impl Fn(&Path) -> bool,
    ) -> Self {
        let mut said = String::new();
        // A port that was free may be taken before it is bound.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let port = port();
            let mut command = command(folder.path(), port.address());
            let log = File::create(folder.path().join("log")).expect("the log can be made");
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file can be opened twice"))
                .stderr(log);
            let mut process = Process::start(command);
            let mut is_running = true;
            wait::eventually(START_LIMIT, &format!("{name} listens"), || {
                is_running = process.is_running();
                has_bound(folder.path()) && TcpStream::connect(port.address()).is_ok()
                    || !is_running
            });
            let started = Self { process, folder, port };
            if is_running {
                return started;
            }
            said = started.log();
        }
        panic!("{name} does not start: {said}")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("it has a log")
    }
}
