//! As whom requests are sent to the servers. A client proves who it is in the TLS handshake, with a
//! private key that the shadow does not have. So each server hears of it in one of two ways, and
//! both servers in the same one:
//!
//! - The shadow has a credential for the client: the client's own, which the operator has, or another
//!   one that the same policy names. Any server takes that.
//! - The shadow is a TLS proxy of both servers (`tls.proxy`), which hear the client's certificate in
//!   a header. The reference reads that section and ignores it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use kes_api::Identity;
use kes_api::identity::NoIdentity;
use kes_client::tls::{self, Trust};
use kes_client::{Endpoint, Error, Relay, certificate_to_pem};
use kes_server::FrontClient;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use crate::sides::Sides;

/// The header in which a proxy forwards the certificate of its client, as the documentation of
/// `tls.proxy` has it.
const CERTIFICATE: HeaderName = HeaderName::from_static("x-tls-client-cert");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose requests are passed on, and as whom.
pub enum Clients {
    /// Everybody's: both servers know this credential as that of a TLS proxy.
    Any(Arc<CertifiedKey>),
    /// Those of these identities, each with the credential that its requests are sent with. There is
    /// at least one.
    Listed(Vec<(Identity, Arc<CertifiedKey>)>),
}

/// The connections to both servers, for each credential.
pub(crate) struct Carriers {
    listed: HashMap<Identity, Arc<Sides<Relay>>>,
    any: Arc<Sides<Relay>>,
    is_proxy: bool,
}

/// How the requests of a client are sent.
#[derive(Clone)]
pub(crate) struct Carried {
    pub(crate) relays: Arc<Sides<Relay>>,
    /// What the servers are told of the client beside the request.
    pub(crate) headers: HeaderMap,
}

/// A client whose requests cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// It has no identity.
    Nobody(NoIdentity),
    /// There is no credential for it.
    Unknown(Identity),
}

impl Carriers {
    pub(crate) fn new(
        servers: &Sides<Endpoint>,
        trust: &Trust,
        clients: Clients,
    ) -> Result<Self, Error> {
        let relays = |credential: Arc<CertifiedKey>| -> Result<_, Error> {
            let config = tls::config(trust, Some(credential))?;
            let relay = |server: &Endpoint| Relay::new(server.clone(), config.clone());
            Ok(Arc::new(Sides { old: relay(&servers.old), new: relay(&servers.new) }))
        };
        let mut listed = HashMap::new();
        match clients {
            Clients::Any(credential) => {
                Ok(Self { listed, any: relays(credential)?, is_proxy: true })
            }
            Clients::Listed(clients) => {
                let mut any = None;
                for (identity, credential) in clients {
                    let relays = relays(credential)?;
                    any.get_or_insert_with(|| Arc::clone(&relays));
                    listed.insert(identity, relays);
                }
                let nobody = || Error::Setup { reason: "no client is listed".to_owned() };
                Ok(Self { listed, any: any.ok_or_else(nobody)?, is_proxy: false })
            }
        }
    }

    /// For what needs no identity.
    pub(crate) fn any(&self) -> &Arc<Sides<Relay>> {
        &self.any
    }

    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        self.is_proxy || self.listed.contains_key(identity)
    }

    /// How the requests of a client are sent; `is_open` if they need no identity.
    pub(crate) fn carry(&self, client: &FrontClient, is_open: bool) -> Result<Carried, Stranger> {
        self.carry_of(client.identity(), client.ip(), client.chain(), is_open)
    }

    fn carry_of(
        &self,
        identity: Result<Identity, NoIdentity>,
        ip: IpAddr,
        chain: &[CertificateDer<'_>],
        is_open: bool,
    ) -> Result<Carried, Stranger> {
        let relays = match identity {
            Ok(_) if self.is_proxy => &self.any,
            Ok(identity) => match self.listed.get(&identity) {
                Some(relays) => relays,
                None if is_open => &self.any,
                None => return Err(Stranger::Unknown(identity)),
            },
            Err(_) if is_open => &self.any,
            Err(reason) => return Err(Stranger::Nobody(reason)),
        };
        let mut headers = HeaderMap::new();
        if self.is_proxy {
            let pem: String = chain.iter().map(certificate_to_pem).collect();
            let escaped = utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string();
            if let Ok(value) = HeaderValue::from_str(&escaped)
                && identity.is_ok()
            {
                headers.insert(CERTIFICATE, value);
            }
            if let Ok(value) = HeaderValue::from_str(&ip.to_string()) {
                headers.insert(FORWARDED_FOR, value);
            }
        }
        Ok(Carried { relays: Arc::clone(relays), headers })
    }
}
