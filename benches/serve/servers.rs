//! The servers that are compared, as processes of their own.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_testkit::{Process, wait};
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A server under measurement.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) pid: u32,
    /// From the start of the process until it said where it listens.
    pub(crate) start: Option<Duration>,
    _process: Option<Process>,
}

/// All of them, and what a client needs.
pub(crate) struct Servers {
    pub(crate) subjects: Vec<Subject>,
    client: ClientConfig,
    _folder: tempfile::TempDir,
}

impl Servers {
    /// Starts the bare server and ours, on the cores that this thread is on.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let server_key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).unwrap().self_signed(&server_key).unwrap();
        std::fs::write(path.join("server.key"), server_key.serialize_pem()).unwrap();
        std::fs::write(path.join("server.crt"), server.pem()).unwrap();

        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let identity = kes_api::Identity::of_certificate(certificate.der()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(kes_tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();

        std::fs::write(path.join("config.yml"), config(&identity.to_string())).unwrap();
        let mut bare = Command::new(std::env::current_exe().unwrap());
        bare.env(crate::bare::ENV, path);
        let mut ours = Process::command(Path::new(env!("CARGO_BIN_EXE_kes")));
        ours.args(["server", "--config", "config.yml"]);
        let mut subjects = vec![started("bare", bare, path), started("kes", ours, path)];
        if let (Ok(address), Ok(pid)) =
            (std::env::var("KES_BENCH_ADDRESS"), std::env::var("KES_BENCH_PID"))
        {
            let pid = pid.parse().expect("KES_BENCH_PID is a process ID");
            subjects.push(Subject { name: "other", address, pid, start: None, _process: None });
        }
        Self { subjects, client, _folder: folder }
    }

    /// TLS of a client that offers one protocol, without resumption.
    pub(crate) fn client(&self, alpn: &str) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}

fn config(identity: &str) -> String {
    let policies: String = (0..1_000)
        .map(|n| {
            format!(
                "  p{n}:\n    allow: [/v1/key/create/*, /v1/key/generate/*, /v1/key/decrypt/*]\n"
            )
        })
        .collect();
    format!(
        "address: 127.0.0.1:0\n\
         admin: {{ identity: disabled }}\n\
         tls: {{ key: server.key, cert: server.crt }}\n\
         policy:\n{policies}  bench:\n    allow: [/v1/key/*, /v1/status]\n    \
         identities: [{identity}]\n\
         keystore: {{ fs: {{ path: keys }} }}\n"
    )
}

fn started(name: &'static str, mut command: Command, folder: &Path) -> Subject {
    let log = folder.join(format!("{name}.log"));
    let output = || File::options().create(true).append(true).open(&log).unwrap();
    command.current_dir(folder).stdin(Stdio::null()).stdout(output()).stderr(output());
    let begin = Instant::now();
    let process = Process::start(command);
    let mut address = None;
    wait::eventually(Duration::from_secs(30), "the server listens", || {
        let printed = std::fs::read_to_string(&log).unwrap();
        address = printed.split_once("https://").and_then(|(_, after)| {
            let (address, _) = after.split_once([' ', '\n'])?;
            Some(address.to_owned())
        });
        address.is_some()
    });
    let start = Some(begin.elapsed());
    Subject { name, address: address.unwrap(), pid: process.id(), start, _process: Some(process) }
}
