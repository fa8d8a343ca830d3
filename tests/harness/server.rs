use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use kes_testkit::{Port, Process, wait};

use super::config::{Config, Launch, PASS};
use super::memory::{Gate, Memory};
use super::{Client, Credentials, Protocol, Who};

/// A running server in a folder of its own, gone with this value.
#[derive(Debug)]
pub(crate) struct Server {
    /// `127.0.0.1:<port>`
    pub(crate) address: String,
    pub(crate) admin: Credentials,
    pub(crate) minio: Credentials,
    pub(crate) other: Credentials,
    /// The server's own certificate, which is all that its clients trust.
    pub(crate) tls: Credentials,
    process: Process,
    folder: tempfile::TempDir,
    launch: Launch,
}

/// A server that did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its exit status; nothing if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Server {
    /// Starts a server with the usual configuration.
    pub(crate) fn start() -> Self {
        Self::with(&Config::usual())
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn with(config: &Config) -> Self {
        Self::prepared(config, |_| {})
    }

    /// Starts a server after something was put into its folder.
    pub(crate) fn prepared(config: &Config, prepare: impl FnOnce(&Path)) -> Self {
        Self::try_prepared(config, prepare)
            .unwrap_or_else(|error| panic!("the server ended: {error}"))
    }

    /// The same where it may end instead: with what it wrote on standard error.
    fn try_prepared(config: &Config, prepare: impl FnOnce(&Path)) -> Result<Self, String> {
        let Place { folder, tls, clients: [admin, minio, other], launch } = place(config, prepare);
        let (process, address) = start(folder.path(), &launch)?;
        Ok(Self { address, admin, minio, other, tls, process, folder, launch })
    }

    /// Starts a server whose memory can be read from here.
    pub(crate) fn observed(config: &Config) -> (Self, Memory) {
        let gate = Gate::new();
        let (name, value) = gate.env();
        let Place { folder, tls, clients: [admin, minio, other], launch } =
            place(&config.clone().env(name, value), |_| {});
        let mut memory = None;
        let held = |process: &Process| memory = Some(gate.memory_of(process, &program()));
        let (process, address) = start_and(folder.path(), &launch, held)
            .unwrap_or_else(|error| panic!("the server ended: {error}"));
        (Self { address, admin, minio, other, tls, process, folder, launch }, memory.unwrap())
    }

    /// Starts a server on a port that stays its own when it is started again. In its
    /// configurations `${ADDRESS}` stands for its address.
    pub(crate) fn on_a_port(config: &Config, prepare: impl Fn(&Path)) -> (Port, Self) {
        // A port that was free may be taken before the server binds it.
        for _ in 0..5 {
            let port = Port::free();
            let config = config.clone().env("ADDRESS", &port.address().to_string());
            match Self::try_prepared(&config, &prepare) {
                Ok(server) => return (port, server),
                Err(error) if error.contains("in use") => {}
                Err(error) => panic!("the server ended: {error}"),
            }
        }
        panic!("the server finds no free port")
    }

    /// Starts a server that is to end at once, after something was put into its folder.
    pub(crate) fn refused(config: &Config, prepare: impl FnOnce(&Path)) -> Refused {
        let place = place(config, prepare);
        let mut process = Process::start(command(place.folder.path(), &place.launch));
        let mut status = None;
        wait::eventually(Duration::from_secs(60), "a server that cannot start ends", || {
            status = process.exit_status();
            status.is_some()
        });
        let read = |name| std::fs::read_to_string(place.folder.path().join(name)).unwrap();
        Refused { status: status.unwrap().code(), stdout: read("stdout"), stderr: read("stderr") }
    }

    /// A client that speaks a protocol as somebody.
    pub(crate) async fn client(&self, who: Who, protocol: Protocol) -> Client {
        Client::connect(&self.address, &self.tls.certificate, self.credentials(who), protocol)
            .await
            .unwrap_or_else(|error| panic!("{who:?} cannot connect: {error}"))
    }

    /// The credentials of somebody.
    pub(crate) fn credentials(&self, who: Who) -> Option<&Credentials> {
        match who {
            Who::Admin => Some(&self.admin),
            Who::Minio => Some(&self.minio),
            Who::Other => Some(&self.other),
            Who::Nobody => None,
        }
    }

    /// The folder that the server runs in, with `config.yml`, `server.key`, `server.crt` and
    /// `<who>.key`, `<who>.crt`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in that folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The variables that its configuration was started with.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.launch.env
    }

    /// Standard output so far.
    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.file("stdout")).unwrap()
    }

    /// Standard error so far.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.file("stderr")).unwrap()
    }

    /// Waits until standard error holds a text.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        wait::eventually(Duration::from_secs(30), &format!("'{text}' is logged"), || {
            self.stderr().contains(text)
        });
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its ID.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the process has ended, no longer than this.
    pub(crate) fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait::eventually(limit, "the server ends", || {
            status = self.process.exit_status();
            status.is_some()
        });
        status.unwrap()
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// Lets the process open no file and no connection more. Those that are open stay.
    pub(crate) fn allow_no_more_files(&self) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let id = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        // Standard input, output and error.
        let limit = Rlimit { current: Some(3), maximum: Some(3) };
        prlimit(Some(id), Resource::Nofile, limit).unwrap();
    }

    /// Sets how large files the process may make, in bytes; `None` for any size.
    pub(crate) fn limit_file_size(&self, limit: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let id = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: limit.or(maximum), maximum };
        prlimit(Some(id), Resource::Fsize, limit).unwrap();
    }

    /// A command of the program as somebody, in the server's folder, with the server's address.
    pub(crate) fn command(&self, who: Who, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.folder()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().contains("KES_") {
                command.env_remove(name);
            }
        }
        command.env("KES_SERVER", format!("https://{}", self.address));
        if self.credentials(who).is_some() {
            let name = format!("{who:?}").to_lowercase();
            command.env("KES_CLIENT_KEY", format!("{name}.key"));
            command.env("KES_CLIENT_CERT", format!("{name}.crt"));
        }
        command
    }

    /// Replaces the configuration file and sends SIGHUP.
    pub(crate) fn reload(&self, config: &Config) {
        std::fs::write(self.file("config.yml"), config.text()).unwrap();
        self.process.signal(rustix::process::Signal::HUP);
    }

    /// The same, and waits until the new configuration is in force. It must not change the level
    /// of the error log.
    pub(crate) fn reload_and_wait(&self, config: &Config) {
        let reloads = || self.stderr().matches("the configuration was read again").count();
        let before = reloads();
        self.reload(config);
        wait::eventually(Duration::from_secs(30), "the configuration is read again", || {
            reloads() > before
        });
    }

    /// Sets an environment variable for the next start.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.launch.env.retain(|(other, _)| other != name);
        self.launch.env.push((name.to_owned(), value.to_owned()));
    }

    /// Kills the server and starts it again with what is in its folder, on another port.
    pub(crate) fn restart(&mut self) {
        self.process.kill();
        let (process, address) = start(self.folder.path(), &self.launch)
            .unwrap_or_else(|error| panic!("the server ended: {error}"));
        self.process = process;
        self.address = address;
    }
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("KES_SUBJECT").map_or_else(|| env!("CARGO_BIN_EXE_kes").into(), PathBuf::from)
}

/// A folder that is ready for a server.
struct Place {
    folder: tempfile::TempDir,
    tls: Credentials,
    /// Admin, minio, other.
    clients: [Credentials; 3],
    launch: Launch,
}

fn place(config: &Config, prepare: impl FnOnce(&Path)) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let tls = Credentials::new(&["127.0.0.1", "localhost"]);
    // Sorted, as in the recorded runs: the admin's identity comes first in a listing.
    let mut clients = [(); 3].map(|()| Credentials::new(&["client"]));
    clients.sort_by(|a, b| a.identity.cmp(&b.identity));
    std::fs::write(path.join("server.key"), &tls.key_pem).unwrap();
    std::fs::write(path.join("server.crt"), &tls.certificate_pem).unwrap();
    for (name, credentials) in ["admin", "minio", "other"].iter().zip(&clients) {
        std::fs::write(path.join(format!("{name}.key")), &credentials.key_pem).unwrap();
        std::fs::write(path.join(format!("{name}.crt")), &credentials.certificate_pem).unwrap();
    }
    std::fs::write(path.join("config.yml"), config.text()).unwrap();
    prepare(path);

    let mut launch = config.launch.clone();
    for (name, credentials) in ["ADMIN", "MINIO", "OTHER"].iter().zip(&clients) {
        launch.env.push(((*name).to_owned(), credentials.identity.clone()));
    }
    Place { folder, tls, clients, launch }
}

/// Starts a server and waits until it listens. An error is what a server that ended wrote.
fn start(folder: &Path, launch: &Launch) -> Result<(Process, String), String> {
    start_and(folder, launch, |_| {})
}

/// The same, and does something as soon as the process is there.
fn start_and(
    folder: &Path,
    launch: &Launch,
    begun: impl FnOnce(&Process),
) -> Result<(Process, String), String> {
    let before = std::fs::read_to_string(folder.join("stdout")).unwrap_or_default().len();
    let mut process = Process::start(command(folder, launch));
    begun(&process);
    let mut address = None;
    wait::eventually(Duration::from_secs(60), "the server listens", || {
        // Looked at first: what it wrote before its end is all there then.
        let has_ended = !process.is_running();
        let printed = std::fs::read_to_string(folder.join("stdout")).unwrap();
        address = listening(&printed[before..]);
        address.is_some() || has_ended
    });
    match address {
        Some(address) => Ok((process, address)),
        None => Err(std::fs::read_to_string(folder.join("stderr")).unwrap()),
    }
}

fn command(folder: &Path, launch: &Launch) -> Command {
    let output =
        |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
    output("stdout");
    let mut words: Vec<std::ffi::OsString> = Vec::new();
    if !launch.sockets.is_empty() {
        words.extend(["/bin/sh", "-c", PASS, "sh"].map(Into::into));
        words.push(launch.sockets.len().to_string().into());
    }
    words.extend(launch.under.iter().map(Into::into));
    words.push(program().into());
    let mut command = Process::command(Path::new(&words[0]));
    command
        .args(&words[1..])
        .args(["server", "--config", "config.yml"])
        .args(&launch.args)
        // What it leaves when it is killed goes with the folder.
        .env("TMPDIR", folder)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"));
    let passed = |socket: &OwnedFd| Stdio::from(socket.try_clone().unwrap());
    if let Some(first) = launch.sockets.first() {
        command.stdin(passed(first));
    }
    if let Some(second) = launch.sockets.get(1) {
        command.stdout(passed(second));
    }
    command
}

/// The address in a start-up message whose line has ended. A key store may have a URL as well.
fn listening(printed: &str) -> Option<String> {
    let (lines, _) = printed.rsplit_once('\n')?;
    let mut lines = lines.lines().filter(|line| !line.starts_with("Key Store"));
    let (_, after) = lines.find_map(|line| line.split_once("https://"))?;
    after.split_whitespace().next().map(str::to_owned)
}
