//! The TLS proxies that forward the certificates of their clients (contract `config.md`, TLS).

use std::sync::Arc;

use http::HeaderName;
use kes_api::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::by_caller::ByCaller;
use crate::transport::Class;

/// How many requests of one identity proxies may have forwarded at a time: as many as one HTTP/2
/// connection of its own may have. A proxy's connection may have four times as many.
const OF_IDENTITY: usize = 256;

/// The same for all strangers behind proxies together: as many as one connection of a stranger.
const OF_STRANGERS: usize = 100;

/// Which clients are TLS proxies, and the header in which they forward certificates.
pub(crate) struct Proxies {
    identities: Box<[Identity]>,
    header: HeaderName,
}

impl Proxies {
    /// No client is a proxy.
    pub(crate) fn none() -> Self {
        let header = HeaderName::from_static("x-tls-client-cert");
        Self { identities: Box::default(), header }
    }

    /// Those of a configuration.
    pub(crate) fn of_config(proxy: &kes_config::Proxy) -> Self {
        // The configuration accepts valid names alone.
        let header = HeaderName::from_bytes(proxy.cert_header.as_bytes());
        let none = Self::none();
        let mut identities = proxy.identities.clone();
        identities.sort_unstable();
        Self { identities: identities.into(), header: header.unwrap_or(none.header) }
    }

    /// Whether an identity is that of a proxy.
    pub(crate) fn contain(&self, identity: &Identity) -> bool {
        self.identities.binary_search(identity).is_ok()
    }

    /// The header in which a client forwards the certificates of its own clients, if it is a proxy.
    pub(crate) fn header_of(&self, identity: Option<&Identity>) -> Option<HeaderName> {
        // Without proxies this is all that a request costs.
        if self.identities.is_empty() {
            return None;
        }
        self.contain(identity?).then(|| self.header.clone())
    }
}

/// The requests that proxies have forwarded and that are not answered: those of one client leave
/// room for others on a connection that they share.
pub(crate) struct ForwardedRequests(ByCaller<Arc<Semaphore>>);

impl ForwardedRequests {
    pub(crate) fn new() -> Self {
        let [admin, strangers] = [OF_IDENTITY, OF_STRANGERS].map(Semaphore::new).map(Arc::new);
        Self(ByCaller::new(admin, strangers))
    }

    /// The place of one more request; `None` if its client has as many as it may.
    pub(super) fn enter(
        &self,
        class: Class,
        identity: Option<Identity>,
    ) -> Option<OwnedSemaphorePermit> {
        let places = self.0.of(class, identity, || Arc::new(Semaphore::new(OF_IDENTITY)));
        places.try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_alone_forwards_certificates_in_the_header_of_the_configuration() {
        let [first, second, other] =
            ["first", "second", "other"].map(|key| Identity::of_public_key(key.as_bytes()));
        let cert_header = "X-Client".to_owned();
        for identities in [vec![first, second], vec![second, first]] {
            let config = kes_config::Proxy { identities, cert_header: cert_header.clone() };
            let proxies = Proxies::of_config(&config);
            for proxy in [first, second] {
                assert!(proxies.contain(&proxy));
                assert_eq!(proxies.header_of(Some(&proxy)).unwrap(), "x-client");
            }
            assert!(!proxies.contain(&other));
            assert_eq!(proxies.header_of(Some(&other)), None);
            assert_eq!(proxies.header_of(None), None, "a client without a certificate");
        }
        assert!(!Proxies::none().contain(&first));
        assert_eq!(Proxies::none().header_of(Some(&first)), None);
    }

    #[test]
    fn one_client_leaves_room_for_the_others() {
        let requests = ForwardedRequests::new();
        let fill = |class, byte: u8| -> Vec<_> {
            let identity = Some(Identity::of_public_key(&[byte]));
            std::iter::from_fn(|| requests.enter(class, identity)).collect()
        };
        let held = [fill(Class::Known, 1), fill(Class::Stranger, 2), fill(Class::Known, 3)];
        assert_eq!(held.each_ref().map(Vec::len), [OF_IDENTITY, OF_STRANGERS, OF_IDENTITY]);
        assert!(fill(Class::Stranger, 4).is_empty(), "strangers have one budget");
        assert_eq!(fill(Class::Admin, 0).len(), OF_IDENTITY);
        drop(held);
        assert_eq!(fill(Class::Known, 1).len(), OF_IDENTITY);
    }
}
