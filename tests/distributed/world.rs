//! Three nodes of OpenBao with an engine of each version of KV, and for each engine three servers
//! of ours behind one HAProxy.

use std::sync::Arc;

use kes_testkit::bao::RoleCredentials;
use kes_testkit::{Authority, Cluster, Haproxy, Port, wait};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::LIMIT;
use crate::harness::{Client, Config, Credentials, Protocol, Server, tls_config, tls_connect};

/// Keys that no server has in memory when the load asks for them. So many that it comes back to
/// one only when all have forgotten it: after more than 20 s, and keys live for [`LIFE`].
pub(super) const COLD: usize = 200;

/// How long keys stay in memory.
const LIFE: &str = "3s";

/// A key that is in use.
pub(super) const USED: [&str; 3] = ["used-0", "used-1", "used-2"];

const POLICY: &str = "
  client:
    allow: [/v1/key/create/*, /v1/key/generate/*, /v1/key/decrypt/*]
    identities: [\"${CLIENT}\"]";

/// What the new configuration allows beside that.
const NEW_POLICY: &str = "
  client:
    allow: [/v1/key/create/*, /v1/key/generate/*, /v1/key/decrypt/*, /v1/key/describe/*]
    identities: [\"${CLIENT}\"]";

pub(super) struct World {
    pub(super) cluster: Cluster,
    /// One for each version of KV.
    pub(super) sites: [Site; 2],
}

/// What uses one engine.
pub(super) struct Site {
    /// The version of KV.
    pub(super) version: u8,
    pub(super) servers: Vec<Server>,
    pub(super) haproxy: Haproxy,
    pub(super) client: Arc<Credentials>,
    pub(super) trusted: CertificateDer<'static>,
    /// Theirs, for as long as they may start again.
    _ports: Vec<Port>,
    new: Config,
    new_certificate: CertificateDer<'static>,
}

impl World {
    pub(super) fn new() -> Self {
        let cluster = Cluster::start();
        let space = cluster.nodes()[cluster.wait_for_active()].root();
        let role = space.set_up().kv(engine(1), 1).kv(engine(2), 2).app_role();
        let sites = [1, 2].map(|version| Site::new(&cluster, version, &role));
        Self { cluster, sites }
    }
}

impl Site {
    fn new(cluster: &Cluster, version: u8, role: &RoleCredentials) -> Self {
        let (endpoint, reversed) = endpoints(cluster);
        let authority = Authority::new();
        let client = Arc::new(Credentials::new(&["client"]));
        let config = Config::usual()
            .env("CLIENT", &client.identity)
            .env("ROLE", &role.role_id)
            .env("SECRET", &role.secret_id)
            .with("address", "\"${ADDRESS}\"")
            .with("admin", "{ identity: disabled }")
            .with("policy", POLICY)
            .with("cache", &format!("{{ expiry: {{ any: {LIFE}, unused: {LIFE}, offline: 1m }} }}"))
            .with("keystore", &keystore(&endpoint, version));
        // All that a running server can be told: new files, rights, and ways to Vault.
        let new = config
            .clone()
            .with("tls", "{ key: new.key, cert: new.crt }")
            .with("policy", NEW_POLICY)
            .with("keystore", &keystore(&reversed, version));
        let (old_pair, new_pair) = (authority.server("server"), authority.server("new"));
        let (ports, servers): (Vec<Port>, Vec<Server>) = (0..3)
            .map(|_| {
                Server::on_a_port(&config, |folder| {
                    for (name, pair) in [("server", &old_pair), ("new", &new_pair)] {
                        let file = |kind| folder.join(format!("{name}.{kind}"));
                        std::fs::copy(&pair.key, file("key")).unwrap();
                        std::fs::copy(&pair.certificate, file("crt")).unwrap();
                    }
                })
            })
            .unzip();
        let addresses: Vec<_> = ports.iter().map(Port::address).collect();
        let site = Self {
            version,
            haproxy: Haproxy::start(&addresses),
            servers,
            _ports: ports,
            client,
            trusted: CertificateDer::from_pem_file(authority.certificate()).unwrap(),
            new,
            new_certificate: CertificateDer::from_pem_file(&new_pair.certificate).unwrap(),
        };
        site.wait_for_up([true, true, true]);
        crate::harness::run(site.create_used());
        site.put_cold(cluster);
        site
    }

    async fn create_used(&self) {
        let mut client = self.connect(&self.servers[0].address, Protocol::H2).await.unwrap();
        for name in USED {
            let reply = client.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!((reply.status, reply.body.len()), (200, 0), "{name}");
        }
    }

    /// Puts keys where they stand, past our servers. They hold the same key bytes.
    fn put_cold(&self, cluster: &Cluster) {
        let active = &cluster.nodes()[cluster.wait_for_active()];
        let mut used = active.root().read(&self.path(USED[0])).unwrap();
        let used = if self.version == 1 { used } else { used["data"].take() };
        let stored = used[USED[0]].as_str().unwrap();
        let names: Vec<String> = (0..COLD).map(cold).collect();
        std::thread::scope(|scope| {
            for part in names.chunks(COLD.div_ceil(8)) {
                scope.spawn(move || {
                    let mut space = active.root();
                    for name in part {
                        let fields = json!({ name.as_str(): stored });
                        let body =
                            if self.version == 1 { fields } else { json!({ "data": fields }) };
                        // On a busy machine another node may become the active one meanwhile.
                        wait::eventually(LIMIT, "a key is put", || {
                            let path = self.path(name);
                            let is_put = space.request("POST", &path, Some(&body)).is_success();
                            if !is_put {
                                space = cluster.nodes()[cluster.wait_for_active()].root();
                            }
                            is_put
                        });
                    }
                });
            }
        });
    }

    fn path(&self, name: &str) -> String {
        let engine = engine(self.version);
        if self.version == 1 { format!("{engine}/{name}") } else { format!("{engine}/data/{name}") }
    }

    /// Connects as the client, to HAProxy or to a server itself.
    pub(super) async fn connect(
        &self,
        address: &str,
        protocol: Protocol,
    ) -> Result<Client, String> {
        Client::connect(address, &self.trusted, Some(&self.client), protocol).await
    }

    /// Waits until HAProxy sees the servers so.
    pub(super) fn wait_for_up(&self, expected: [bool; 3]) {
        wait::eventually(LIMIT, "HAProxy knows which servers are there", || {
            self.haproxy.servers().iter().map(|server| server.is_up).eq(expected)
        });
    }

    /// Gives a server the new configuration.
    pub(super) fn configure_anew(&self, number: usize) {
        self.servers[number].reload_and_wait(&self.new);
    }

    /// What the servers complained of.
    pub(super) fn complaints(&self) -> String {
        let logs = self.servers.iter().map(Server::stderr).collect::<Vec<_>>();
        let lines = logs.iter().enumerate().flat_map(|(number, log)| {
            let lines = log.lines().filter(|line| !line.contains(" level=INFO "));
            lines.map(move |line| format!("server {number}: {line}\n"))
        });
        lines.collect()
    }

    /// Each server shows the new certificate and grants the new right.
    pub(super) async fn all_are_configured_anew(&self) {
        for server in &self.servers {
            let config = tls_config(&self.trusted, Some(&self.client), Protocol::H1);
            let tls = tls_connect(&server.address, config).await.unwrap();
            let shown = tls.get_ref().1.peer_certificates().unwrap();
            assert_eq!(shown[0], self.new_certificate);
            let mut client = self.connect(&server.address, Protocol::H1).await.unwrap();
            let path = format!("/v1/key/describe/{}", USED[0]);
            assert_eq!(client.send("GET", &path, "").await.status, 200);
        }
    }
}

/// The name of the next key that no server has in memory.
pub(super) fn cold(number: usize) -> String {
    format!("cold-{:04}", number % COLD)
}

fn engine(version: u8) -> &'static str {
    if version == 1 { "kv-v1" } else { "kv-v2" }
}

fn endpoints(cluster: &Cluster) -> (String, String) {
    let mut urls: Vec<String> = cluster.nodes().iter().map(|node| node.url()).collect();
    let endpoint = urls.join(",");
    urls.reverse();
    (endpoint, urls.join(","))
}

fn keystore(endpoint: &str, version: u8) -> String {
    let engine = engine(version);
    format!(
        r#"
  vault:
    endpoint: "{endpoint}"
    engine: {engine}
    version: v{version}
    approle: {{ id: "${{ROLE}}", secret: "${{SECRET}}" }}
    status: {{ ping: 1s }}"#
    )
}
