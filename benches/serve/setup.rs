//! What a server finds when it starts: certificates, configuration and stored keys.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use kes_api::{Identity, Timestamp};
use kes_crypto::Key;
use kes_keystore::Record;
use kes_testkit::SelfSigned;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// What ours is started with. The default is a small server as MinIO has it beside it: one
/// policy, one identity, one key, all else as when nothing is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Policies in all; the client's is one of them, and they are all alike.
    pub(crate) policies: usize,
    /// Identities in all, spread over the policies; the client's is one of them.
    pub(crate) identities: usize,
    /// Stored keys; [`key_name`] names them.
    pub(crate) keys: usize,
    /// Lines that follow in the configuration.
    pub(crate) more: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self { policies: 1, identities: 1, keys: 1, more: String::new() }
    }
}

/// The names of stored keys, from 0: all of one length, so that answers are too.
pub(crate) fn key_name(index: usize) -> String {
    format!("bench-{index:06}")
}

impl Setup {
    /// Fills a folder: `server.key`, `server.crt`, `client.key`, `client.crt`, `config.yml` and
    /// `keys`. Certificates that are there stay.
    ///
    /// What a client needs to be known by the server, and by which identity.
    pub(crate) fn write(&self, folder: &Path) -> (ClientConfig, Identity) {
        let (client, identity) = credentials(folder);
        fs::write(folder.join("config.yml"), self.config(identity)).unwrap();
        fs::write(folder.join("audit.key"), [b'k'; 32]).unwrap();
        store_keys(&folder.join("keys"), self.keys, identity);
        (client, identity)
    }

    fn config(&self, client: Identity) -> String {
        // As an operator of MinIO writes them, and what else the rows call for.
        const ALLOW: &str = "[/v1/key/create/*, /v1/key/describe/*, /v1/key/generate/*, \
            /v1/key/decrypt/*, /v1/key/encrypt/*, /v1/key/delete/*, /v1/key/list/*, /v1/status, \
            /v1/metrics, /v1/log/audit]";
        let others = (1..self.identities).map(|n| format!("{n:064x}"));
        // In the middle, in case a place at either end is better.
        let mut identities: Vec<String> = others.collect();
        identities.insert(identities.len() / 2, client.to_string());
        let mut policies = String::new();
        for (n, identities) in
            identities.chunks(self.identities.div_ceil(self.policies)).enumerate()
        {
            let identities = identities.join(", ");
            writeln!(policies, "  p{n}:\n    allow: {ALLOW}\n    identities: [{identities}]")
                .unwrap();
        }
        format!(
            "address: 127.0.0.1:0\n\
             admin: {{ identity: disabled }}\n\
             tls: {{ key: server.key, cert: server.crt }}\n\
             policy:\n{policies}\
             keystore: {{ fs: {{ path: keys }} }}\n\
             {}\n",
            self.more
        )
    }
}

/// Takes over the server's and the client's key and certificate.
pub(crate) fn copy_credentials(from: &Path, to: &Path) {
    for name in ["server.key", "server.crt", "client.key", "client.crt"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// Takes over the stored keys, without the marker of their folder.
pub(crate) fn copy_keys(from: &Path, to: &Path) {
    let [from, to] = [from, to].map(|folder| folder.join("keys"));
    fs::create_dir_all(&to).unwrap();
    for name in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().file_name()) {
        if !name.as_encoded_bytes().starts_with(b".") {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// Makes what is missing of the server's and the client's key and certificate, and reads it.
fn credentials(folder: &Path) -> (ClientConfig, Identity) {
    if !folder.join("server.crt").exists() {
        SelfSigned::new(&["127.0.0.1"]).write(folder, "server");
    }
    if !folder.join("client.crt").exists() {
        SelfSigned::builder(&[]).ed25519().make().write(folder, "client");
    }
    let certificate = |name| CertificateDer::from_pem_file(folder.join(name)).unwrap();
    let client = certificate("client.crt");
    let identity = Identity::of_certificate(&client).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).unwrap();
    let config = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![client], key)
        .unwrap();
    (config, identity)
}

/// Keys as the folder store keeps them. Written here and not created through the API, which
/// syncs each to the disk.
fn store_keys(folder: &Path, count: usize, creator: Identity) {
    fs::create_dir_all(folder).unwrap();
    for index in 0..count {
        let path = folder.join(key_name(index));
        if !path.exists() {
            let key = Key::generate();
            let record =
                Record { key, created_at: Timestamp::now(), created_by: creator.to_string() };
            private(&path, record.encode().expose().as_bytes());
        }
    }
}

fn private(path: &Path, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(bytes).unwrap();
}
