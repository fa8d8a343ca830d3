use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certs::{Authority, Pair};
use crate::plain_http::{self, Answer};
use crate::process::{Process, dying_with_parent};
use crate::{Port, fetch, wait};

mod cluster;
mod set_up;
mod space;

pub use cluster::Cluster;
pub use set_up::SetUp;
pub use space::{KvPolicy, RoleCredentials, Space, minimal_kv_policy, minimal_transit_policy};

/// A cold start takes about 0.4 s; a machine that is busy with a build may need far more.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What the server says when it has all its ports.
const STARTED: &str = "==> OpenBao server started!";

/// A real OpenBao of one node, which can be sealed, killed and started again on the same address. It goes with its owner.
///
/// It listens twice: one listener is for the client under test ([`Bao::url`]), plain or TLS, the
/// other is plain and the kit's own, so that the tests' questions depend on nothing.
#[derive(Debug)]
pub struct Bao {
    process: Process,
    folder: TempDir,
    ports: Ports,
    tls: bool,
    root_token: String,
    unseal_key: String,
}

/// TLS of the listener for the client under test.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Its key and certificate.
    pub pair: Pair,
    /// The CA that clients need a certificate of, if they need one.
    pub clients: Option<PathBuf>,
}

/// The binary of OpenBao, which is its server and its command line.
///
/// # Panics
/// If it cannot be fetched.
pub fn binary() -> PathBuf {
    fetch::bao()
}

#[derive(Clone, Debug)]
enum Storage {
    Durable,
    Memory,
    /// A node of a cluster, with its name and the node that it joins.
    Node {
        id: String,
        leader: Option<SocketAddr>,
    },
}

#[derive(Debug)]
struct Ports {
    client: Port,
    admin: Port,
    /// Where other nodes of the cluster connect to: one for each listener.
    cluster: [Port; 2],
}

impl Bao {
    /// Starts a server that speaks plain HTTP, initialised and unsealed.
    ///
    /// # Panics
    /// If it does not come up within a minute.
    pub fn start() -> Self {
        Self::start_with(&Storage::Durable, None)
    }

    /// As [`Bao::start`], with storage in memory: a write takes no time, and a kill loses all.
    ///
    /// # Panics
    /// If it does not come up within a minute.
    pub fn start_in_memory() -> Self {
        Self::start_with(&Storage::Memory, None)
    }

    /// Starts a server that speaks TLS with a certificate of `authority`; clients need one of
    /// it too if `mutual` is set.
    ///
    /// # Panics
    /// If it does not come up within a minute.
    pub fn start_tls(authority: &Authority, mutual: bool) -> Self {
        let clients = mutual.then(|| authority.certificate().to_path_buf());
        Self::start_with(
            &Storage::Durable,
            Some(&ServerTls { pair: authority.server("bao"), clients }),
        )
    }

    /// Starts a server that was never initialised.
    ///
    /// # Panics
    /// If it does not come up within a minute.
    pub fn start_uninitialised() -> Self {
        Self::start_sealed(&Storage::Memory, None)
    }

    fn start_with(storage: &Storage, tls: Option<&ServerTls>) -> Self {
        let mut bao = Self::start_sealed(storage, tls);
        bao.initialise();
        bao.unseal();
        bao
    }

    fn start_sealed(storage: &Storage, tls: Option<&ServerTls>) -> Self {
        // A port that was free may be taken before the server binds it.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let ports = Ports::free();
            write_config(&folder, &ports, storage, tls);
            let Some(process) = launch(&folder, &ports) else { continue };
            return Self {
                process,
                folder,
                ports,
                tls: tls.is_some(),
                root_token: String::new(),
                unseal_key: String::new(),
            };
        }
        panic!("OpenBao finds no free port");
    }

    /// What the client under test is given: scheme, host and port.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The address behind [`Bao::url`].
    pub fn address(&self) -> SocketAddr {
        self.ports.client.address()
    }

    /// The kit's own plain listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.ports.admin.address()
    }

    /// The token that may do everything.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The process ID, to measure it by.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The root namespace.
    pub fn root(&self) -> Space<'_> {
        Space::new(self, "")
    }

    /// A namespace by its path, without a `/` at either end.
    pub fn namespace(&self, path: &str) -> Space<'_> {
        Space::new(self, path)
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Seals the server.
    ///
    /// # Panics
    /// If it refuses.
    pub fn seal(&self) {
        self.root().must("PUT", "sys/seal", None);
        wait::eventually(START_LIMIT, "OpenBao is sealed", || self.health() == Some(503));
    }

    /// Unseals the server and waits until it is active.
    ///
    /// # Panics
    /// If it does not become active.
    pub fn unseal(&self) {
        self.root().must("PUT", "sys/unseal", Some(&json!({ "key": self.unseal_key })));
        wait::eventually(START_LIMIT, "OpenBao is active", || self.health() == Some(200));
    }

    /// Kills the server with SIGKILL; durable storage stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Bao::kill`], on the same addresses. It is sealed then.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        let start = Instant::now();
        loop {
            if let Some(process) = launch(&self.folder, &self.ports) {
                self.process = process;
                return;
            }
            // A connection of before may hold the port for a moment.
            assert!(start.elapsed() < START_LIMIT, "OpenBao does not start again: {}", self.log());
        }
    }

    /// [`Bao::kill`] if it runs, [`Bao::start_again`] and [`Bao::unseal`].
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
        self.unseal();
    }

    /// Stops the process with SIGSTOP: connections stay open, and nothing answers.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
        wait::eventually(START_LIMIT, "OpenBao is stopped", || self.process.is_stopped());
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Sends a request to the kit's own listener, with the root token unless `token` is given.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn request(
        &self,
        token: Option<&str>,
        namespace: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let token = token.unwrap_or(&self.root_token);
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [("X-Vault-Token", token), ("X-Vault-Namespace", namespace)];
        // An empty header is not the same as none to every server.
        let headers: Vec<_> = headers.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        plain_http::request(
            self.admin_address(),
            method,
            &format!("/v1/{path}"),
            &headers,
            body.as_bytes(),
        )
        .unwrap_or_else(|error| panic!("{method} {path}: {error}; {}", self.log()))
    }

    fn health(&self) -> Option<u16> {
        health(self.admin_address())
    }

    fn initialise(&mut self) {
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let answer = self.root().must("PUT", "sys/init", Some(&shares)).json();
        let text = |value: &Value| value.as_str().expect("OpenBao answers with texts").to_owned();
        self.unseal_key = text(&answer["keys"][0]);
        self.root_token = text(&answer["root_token"]);
    }
}

impl Ports {
    fn free() -> Self {
        Self { client: Port::free(), admin: Port::free(), cluster: [Port::free(), Port::free()] }
    }
}

fn health(server: SocketAddr) -> Option<u16> {
    plain_http::request(server, "GET", "/v1/sys/health", &[], &[]).ok().map(|answer| answer.status)
}

fn write_config(folder: &TempDir, ports: &Ports, storage: &Storage, tls: Option<&ServerTls>) {
    let data = folder.path().join("data");
    fs::create_dir_all(&data).expect("a folder can be made");
    let mut client = json!({
        "address": ports.client.address().to_string(),
        "cluster_address": ports.cluster[0].address().to_string(),
    });
    match tls {
        None => client["tls_disable"] = json!(true),
        Some(tls) => {
            client["tls_cert_file"] = json!(tls.pair.certificate);
            client["tls_key_file"] = json!(tls.pair.key);
            if let Some(clients) = &tls.clients {
                client["tls_client_ca_file"] = json!(clients);
                client["tls_require_and_verify_client_cert"] = json!(true);
            }
        }
    }
    let admin = json!({
        "address": ports.admin.address().to_string(),
        "cluster_address": ports.cluster[1].address().to_string(),
        "tls_disable": true,
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    // A multiplier of 1 makes the one voter its own leader within 0.1 s. One of 3 makes another
    // node of a cluster leader within some seconds, and no node of a cluster gives its leadership
    // up for being kept waiting by a busy machine for less than that.
    let raft = |id: &str, multiplier: u8| json!({ "path": data, "node_id": id, "performance_multiplier": multiplier });
    let storage = match storage {
        Storage::Durable => json!({ "raft": raft("n1", 1) }),
        Storage::Memory => json!({ "inmem": {} }),
        Storage::Node { id, leader } => {
            let mut raft = raft(id, 3);
            if let Some(leader) = leader {
                raft["retry_join"] = json!([{ "leader_api_addr": format!("http://{leader}") }]);
            }
            json!({ "raft": raft })
        }
    };
    let config = json!({
        "storage": storage,
        "listener": [{ "tcp": client }, { "tcp": admin }],
        "api_addr": format!("{scheme}://{}", ports.client.address()),
        "cluster_addr": format!("https://{}", ports.cluster[0].address()),
        "log_level": "info",
    });
    fs::write(folder.path().join("config.json"), config.to_string()).expect("it can be written");
}

/// Starts the server and waits until it answers; nothing if it ended instead, such as when somebody
/// else has one of its ports.
fn launch(folder: &TempDir, ports: &Ports) -> Option<Process> {
    let path = folder.path().join("log");
    let log = File::options().create(true).append(true).open(&path).expect("the log can be opened");
    let before = fs::read_to_string(&path).unwrap_or_default().len();
    let mut command = dying_with_parent(&fetch::bao());
    command
        .arg("server")
        .arg(format!("-config={}", folder.path().join("config.json").display()))
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a file can be opened twice"))
        .stdout(log);
    let mut process = Process::start(command);
    wait::eventually(START_LIMIT, "OpenBao answers", || {
        if !process.is_running() {
            return true;
        }
        // It says so itself: somebody else may answer on a port that it does not get.
        let log = fs::read_to_string(&path).unwrap_or_default();
        let is_started = log.get(before..).is_some_and(|log| log.contains(STARTED));
        is_started && health(ports.admin.address()).is_some()
    });
    process.is_running().then_some(process)
}
