//! The TLS configuration in use, and which clients it still accepts.
//!
//! A client is accepted in its handshake, and its connection may last for days. Each replacement of
//! the configuration therefore begins a new generation: what was accepted under an older one is
//! decided anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use kes_tls::{Usage, certificate_fault};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier as _;
use tokio::sync::watch;

use super::Loaded;

/// A TLS configuration that can be replaced while it serves.
pub(crate) struct CurrentTls {
    loaded: ArcSwap<Loaded>,
    /// Begins with 1 and counts the replacements.
    generation: AtomicU64,
    replaced: watch::Sender<()>,
}

impl CurrentTls {
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        let (replaced, _) = watch::channel(());
        Self { loaded: ArcSwap::new(loaded), generation: AtomicU64::new(1), replaced }
    }

    /// The configuration for the next connection.
    pub(crate) fn load(&self) -> Guard<Arc<Loaded>> {
        self.loaded.load()
    }

    /// The same, to keep.
    pub(crate) fn load_full(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    /// Replaces the configuration, and wakes all connections.
    pub(crate) fn replace(&self, loaded: Arc<Loaded>) {
        self.loaded.store(loaded);
        // After the store: who reads this generation finds this configuration, or a later one.
        self.generation.fetch_add(1, Ordering::Release);
        self.replaced.send_replace(());
    }

    /// The number of the configuration in use. Connections compare it for each request.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Tells of replacements from now on.
    pub(crate) fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Whether a handshake with these certificates would be accepted now; returns the generation
    /// that this holds for. A client without a certificate is not asked for one again: it has no
    /// identity, and each of its requests is refused unless its API needs none.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<u64, rustls::Error> {
        let generation = self.generation.load(Ordering::Acquire);
        if let Some((leaf, others)) = chain.split_first() {
            self.load().clients.verify_client_cert(leaf, others, UnixTime::now())?;
        }
        Ok(generation)
    }
}

/// Why a certificate is no longer accepted, as a text that follows "it".
pub(crate) fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => certificate_fault(fault, Usage::Client),
        error => format!("is refused: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use kes_config::{ClientAuth, ConfiguredPath, Place};
    use kes_testkit::SelfSigned;

    use super::super::{ServerIdentity, Settings};
    use super::*;

    /// `ca` is the CA that client certificates have to be signed by.
    fn loaded(ca: Option<PathBuf>) -> Arc<Loaded> {
        let own = SelfSigned::new(&["localhost"]);
        let key = kes_tls::parse_private_key(own.key_pem.as_bytes(), None).unwrap();
        let chain = [own.certificate.into()];
        let place = Place { file: None, line: 1, field: "tls.ca".to_owned() };
        let settings = Settings {
            identity: ServerIdentity::Memory(kes_tls::match_key(&chain, &key).unwrap()),
            auth: if ca.is_some() { ClientAuth::Verify } else { ClientAuth::Any },
            ca: ca.map(|ca| ConfiguredPath::new(ca, place)),
            optional: false,
        };
        settings.load().unwrap()
    }

    #[test]
    fn each_replacement_is_a_generation_and_decides_anew() {
        let folder = tempfile::tempdir().unwrap();
        let [client, stranger] = [(); 2].map(|()| SelfSigned::new(&["client"]));
        let (own, other) = (folder.path().join("own.crt"), folder.path().join("other.crt"));
        std::fs::write(&own, &client.certificate_pem).unwrap();
        std::fs::write(&other, &stranger.certificate_pem).unwrap();

        let tls = CurrentTls::new(loaded(None));
        let mut replacements = tls.replacements();
        let chain = [client.certificate.into()];
        assert_eq!(tls.accepts(&chain), Ok(1));
        assert!(!replacements.has_changed().unwrap());
        for (ca, number) in [(Some(own), 2), (None, 3)] {
            tls.replace(loaded(ca));
            assert!(replacements.has_changed().unwrap());
            replacements.mark_unchanged();
            assert_eq!((tls.generation(), tls.accepts(&chain)), (number, Ok(number)));
        }
        tls.replace(loaded(Some(other)));
        let refused = tls.accepts(&chain).unwrap_err();
        // Both have one subject, so that the other one is taken for the issuer.
        assert!(reason(&refused).ends_with("but another key"), "{}", reason(&refused));
        // Who has no certificate has no identity either.
        assert_eq!(tls.accepts(&[]), Ok(4));
    }
}
