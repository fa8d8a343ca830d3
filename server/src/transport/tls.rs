//! The TLS configuration of a listener, which can be replaced while it serves.

use std::path::PathBuf;
use std::sync::Arc;

use kes_api::Identity;
use kes_config::{ClientAuth, ConfiguredPath, Password};
use kes_tls::{ClientChains, Fault};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use self::sessions::Sessions;
use self::verifier::ClientCertificates;

/// The configuration in use.
pub(crate) mod current;

/// What changed in loaded files.
mod changes;

/// Warnings of certificates that expire.
pub(crate) mod expiry;

/// Sessions of TLS 1.2.
mod sessions;

/// The certificate of a refused client.
pub(crate) mod refused;

/// Verifies clients: possession of the private key always, trust in the certificate where
/// configured.
mod verifier;

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that the configuration names.
    #[error("{}{hint}", path.blame(fault))]
    File {
        /// Which one, and where it is named.
        path: ConfiguredPath,
        /// What is wrong with it. Boxed: it is large, and errors are rare. Not a source, which
        /// would be told a second time.
        fault: Box<kes_tls::Error>,
        /// What to do about it; begins with a semicolon.
        hint: String,
    },
    /// The CAs of the system.
    #[error("tls: {0}")]
    System(kes_tls::Error),
    /// No certificate at all.
    #[error("tls: the server has no certificate")]
    NoCertificate,
    /// The generator of random numbers.
    #[error("tls: no key for session tickets could be made")]
    Tickets,
}

/// A TLS configuration that was loaded from files.
pub(crate) struct Loaded {
    pub(crate) config: Arc<ServerConfig>,
    /// For clients that are asked for no certificate, over HTTP/1.1.
    pub(crate) without_clients: Arc<ServerConfig>,
    /// Decides which client certificates are accepted.
    clients: Arc<ClientCertificates>,
    /// What it was loaded from.
    pub(crate) settings: Settings,
    /// The server's chain.
    chain: Vec<CertificateDer<'static>>,
    /// The server's own certificates.
    pub(crate) certificates: Vec<expiry::Certificate>,
}

impl Loaded {
    /// The identity of the server: that of its certificate.
    pub(crate) fn identity(&self) -> Identity {
        let leaf = self.chain.first().and_then(|leaf| Identity::of_certificate(leaf).ok());
        leaf.unwrap_or_else(|| Identity::of_public_key(&[]))
    }
}

/// The settings that a TLS configuration is loaded from. [`Settings::load`] reads the files each
/// time.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) identity: ServerIdentity,
    pub(crate) auth: ClientAuth,
    /// CAs for client certificates, in addition to the system's.
    pub(crate) ca: Option<ConfiguredPath>,
    /// Whether a client may connect without a certificate, because some API needs none.
    pub(crate) optional: bool,
}

/// The server's private key and certificate.
#[derive(Clone, Debug)]
pub(crate) enum ServerIdentity {
    /// Read from files.
    Files { key: ConfiguredPath, cert: ConfiguredPath, password: Option<Arc<Password>> },
    /// Made for this process.
    Memory(Arc<CertifiedKey>),
}

/// Reads the files that a configuration names for TLS, as a server does when it starts.
///
/// # Errors
/// The same as when the server starts.
pub fn check(tls: kes_config::Tls) -> Result<(), Error> {
    Settings::of_config(tls, false).load().map(drop)
}

impl Settings {
    pub(crate) fn of_config(tls: kes_config::Tls, optional: bool) -> Self {
        let kes_config::Tls { key, cert, password, auth, ca, proxy: _ } = tls;
        let password = password.map(Arc::new);
        Self { identity: ServerIdentity::Files { key, cert, password }, auth, ca, optional }
    }

    /// Reads the files and makes a configuration from them.
    ///
    /// Session storage and ticket keys are new each time, so that no session outlives the trust
    /// it was opened under (contract `config.md`, While it runs).
    #[expect(clippy::expect_used, reason = "the provider has suites for both versions")]
    pub(crate) fn load(&self) -> Result<Arc<Loaded>, Error> {
        let certified = match &self.identity {
            ServerIdentity::Memory(certified) => Arc::clone(certified),
            ServerIdentity::Files { key, cert, password } => {
                load_identity(key, cert, password.as_deref())?
            }
        };

        let (certificates, chain) = (self.certificates(&certified), certified.cert.clone());
        let clients = Arc::new(self.verifier()?);
        let provider = kes_tls::provider();
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let mut without_clients = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        without_clients.alpn_protocols = vec![b"http/1.1".to_vec()];
        let without_clients = Arc::new(without_clients);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_client_cert_verifier(Arc::clone(&clients) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(Sessions::default());
        config.ticketer = Ticketer::new().map_err(|_| Error::Tickets)?;
        // One ticket a handshake: each carries the client's chain, and clients keep one.
        config.send_tls13_tickets = 1;
        let (config, settings) = (Arc::new(config), self.clone());
        Ok(Arc::new(Loaded { config, without_clients, clients, settings, chain, certificates }))
    }

    /// The chain, with the names that the log uses.
    fn certificates(&self, certified: &CertifiedKey) -> Vec<expiry::Certificate> {
        let file = match &self.identity {
            ServerIdentity::Files { cert, .. } => format!("tls.cert: {}", cert.display()),
            ServerIdentity::Memory(_) => "the certificate of the dev server".to_owned(),
        };
        let named = certified.cert.iter().enumerate().filter_map(|(index, certificate)| {
            let name = match index {
                0 => file.clone(),
                _ => format!("{file}: certificate number {}", index + 1),
            };
            let validity = kes_tls::validity(certificate).ok()?;
            Some(expiry::Certificate { name, validity })
        });
        named.collect()
    }

    fn verifier(&self) -> Result<ClientCertificates, Error> {
        let trusted = match self.auth {
            ClientAuth::Any => None,
            ClientAuth::Verify => {
                let chains = ClientChains::load(self.ca.as_deref());
                Some(chains.map_err(|source| match &self.ca {
                    Some(ca) => unusable(ca, source),
                    None => Error::System(source),
                })?)
            }
        };
        Ok(ClientCertificates::new(&kes_tls::provider(), !self.optional, trusted))
    }

    /// The files that the configuration is loaded from.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let ServerIdentity::Files { key, cert, password } = &self.identity {
            files.extend([key.to_path_buf(), cert.to_path_buf()]);
            if let Some(Password::File(path)) = password.as_deref() {
                files.push(path.to_path_buf());
            }
        }
        files.extend(self.ca.as_ref().map(|ca| ca.to_path_buf()));
        files
    }
}

/// Reads the server's certificate chain and its private key, and checks that clients can accept
/// the certificate.
fn load_identity(
    key: &ConfiguredPath,
    cert: &ConfiguredPath,
    password: Option<&Password>,
) -> Result<Arc<CertifiedKey>, Error> {
    let chain = kes_tls::load_certificates(cert).map_err(|source| unusable(cert, source))?;
    let private_key = match password {
        None => kes_tls::load_private_key(key, None),
        Some(Password::Literal(password)) => {
            kes_tls::load_private_key(key, Some(password.expose()))
        }
        Some(Password::File(path)) => {
            let password = kes_tls::load_password(path).map_err(|source| unusable(path, source))?;
            let loaded = kes_tls::load_private_key(key, Some(password.as_str()));
            if let Err(kes_tls::Error::File { fault: Fault::MissingPassword, .. }) = &loaded {
                let fault = Fault::EmptyPassword;
                let empty = kes_tls::Error::File { path: path.to_path_buf(), fault };
                return Err(unusable(path, empty));
            }
            loaded
        }
    };
    let private_key = private_key.map_err(|source| unusable(key, source))?;
    let certified = kes_tls::match_key(&chain, &private_key).map_err(|fault| {
        let [certificate, path] = [cert, key].map(|path| path.display().to_string().into());
        unusable(key, kes_tls::Error::Pair { certificate, key: path, fault })
    })?;
    let leaf = certified.end_entity_cert().map_err(|_| Error::NoCertificate)?;
    kes_tls::check_server_certificate(leaf).map_err(|fault| {
        unusable(cert, kes_tls::Error::File { path: cert.to_path_buf(), fault })
    })?;
    Ok(certified)
}

fn unusable(path: &ConfiguredPath, fault: kes_tls::Error) -> Error {
    let hint = match &fault {
        kes_tls::Error::File { fault, .. } => hint(fault),
        _ => String::new(),
    };
    Error::File { path: path.clone(), fault: Box::new(fault), hint }
}

/// What to do about a fault, where that is not obvious.
fn hint(fault: &Fault) -> String {
    match fault {
        Fault::Read { error } if error.kind() == std::io::ErrorKind::PermissionDenied => {
            format!("; kes runs as {}", crate::observe::process::user())
        }
        Fault::MissingPassword => "; set tls.password".to_owned(),
        Fault::WrongPassword => {
            "; the password is that of tls.password or tls.password_file".to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_a_private_key_is_told() {
        let denied = Fault::Read { error: std::io::ErrorKind::PermissionDenied.into() };
        let hint_of_it = hint(&denied);
        assert!(hint_of_it.starts_with("; kes runs as "), "{hint_of_it}");
        let uid = rustix::process::geteuid().as_raw().to_string();
        assert!(hint_of_it.contains(&format!("uid {uid}")), "{hint_of_it}");
        assert_eq!(hint(&Fault::MissingPassword), "; set tls.password");
        let missing = Fault::Read { error: std::io::ErrorKind::NotFound.into() };
        assert_eq!(hint(&missing), "");
    }
}
