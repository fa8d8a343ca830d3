//! Requests through a TLS proxy (contract `config.md`, TLS): their client is whose certificate the
//! proxy forwards in a header, and not the proxy.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode;
use rustls::pki_types::CertificateDer;

use super::peer::Peer;
use super::tls::current::reason;

/// The header with the addresses that a request has come from. Each proxy adds that of its client
/// at the end.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request that a proxy forwards. `accepts` decides whether a handshake with its
/// certificates would be accepted. A client without a valid certificate has no identity.
pub(super) fn client(
    proxy: &Peer,
    headers: &HeaderMap,
    header: &HeaderName,
    accepts: impl FnOnce(&[CertificateDer<'_>]) -> Result<u64, rustls::Error>,
) -> Arc<Peer> {
    let chain = certificates(headers, header).and_then(|chain| match accepts(&chain) {
        Ok(_) => Ok(chain),
        Err(error) => Err(format!(
            "the certificate that the TLS proxy forwarded in the header '{header}' {}",
            reason(&error)
        )),
    });
    let ip = address(headers);
    let address = ip.map_or(proxy.address, |ip| SocketAddr::new(ip, 0));
    Arc::new(proxy.forwarding(address, chain))
}

/// The certificates of a header: the URL-escaped text of a PEM file. A client may have sent such a
/// header itself, and a proxy that adds its own would forward both: then neither counts.
fn certificates(
    headers: &HeaderMap,
    header: &HeaderName,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut values = headers.get_all(header).iter();
    let value = values.next().map(http::HeaderValue::as_bytes).unwrap_or_default();
    if values.next().is_some() {
        return Err(format!("the TLS proxy forwarded several headers '{header}'"));
    }
    if value.is_empty() {
        return Err(format!("the TLS proxy forwarded no certificate in the header '{header}'"));
    }
    let pem: Vec<u8> = percent_decode(value).collect();
    kes_tls::parse_certificates(&pem).map_err(|_| {
        format!("what the TLS proxy forwarded in the header '{header}' is no URL-escaped PEM of a certificate")
    })
}

/// The address that the proxy added: the last one. Those before it are the client's own words.
fn address(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back()?;
    let text = last.to_str().ok()?.rsplit(',').next()?.trim();
    let with_port = || SocketAddr::from_str(text).ok().map(|address| address.ip());
    IpAddr::from_str(text).ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use kes_api::Identity;
    use kes_api::identity::NoIdentity;
    use kes_testkit::SelfSigned;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const HEADER: HeaderName = HeaderName::from_static("x-tls-client-cert");

    fn escaped(pem: &str) -> String {
        utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
    }

    fn of(headers: &[(HeaderName, &str)]) -> Arc<Peer> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let proxy = Peer::unconnected(Ok(Identity::of_public_key(b"proxy")));
        client(&proxy, &map, &HEADER, |_| Ok(1))
    }

    #[test]
    fn the_identity_is_that_of_the_forwarded_certificate() {
        let SelfSigned { certificate_pem: pem, certificate, .. } = SelfSigned::new(&["client"]);
        let identity = Identity::of_certificate(&certificate).unwrap();
        // Some proxies escape what has to be escaped and no more.
        let sparing = pem.replace('\n', "%0A").replace(' ', "%20");
        for value in [escaped(&pem), sparing] {
            let peer = of(&[(HEADER, &value)]);
            assert_eq!(peer.identity, Ok(identity), "{value}");
            assert!(peer.is_forwarded() && peer.remark().is_none());
        }
    }

    #[test]
    fn without_one_valid_certificate_there_is_no_identity() {
        let pem = escaped(&SelfSigned::new(&["client"]).certificate_pem);
        let cut = pem.get(..pem.len() / 2).unwrap();
        for (values, remark) in [
            (vec![], "forwarded no certificate"),
            (vec![""], "forwarded no certificate"),
            (vec!["x"], "is no URL-escaped PEM"),
            (vec![cut], "is no URL-escaped PEM"),
            (vec![&pem, &pem], "forwarded several headers"),
        ] {
            let headers: Vec<_> = values.iter().map(|value| (HEADER, *value)).collect();
            let peer = of(&headers);
            assert_eq!(peer.identity, Err(NoIdentity::Missing), "{values:?}");
            assert!(peer.remark().unwrap().contains(remark), "{:?}", peer.remark());
        }
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(&pem).unwrap());
        let proxy = Peer::unconnected(Ok(Identity::of_public_key(b"proxy")));
        let expired = rustls::CertificateError::Expired.into();
        let peer = client(&proxy, &headers, &HEADER, |_| Err(expired));
        assert_eq!(peer.identity, Err(NoIdentity::Missing));
        assert!(peer.remark().unwrap().contains("has expired"), "{:?}", peer.remark());
    }

    #[test]
    fn the_address_is_the_one_that_the_proxy_added() {
        for (values, ip) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.7", "192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1:4321"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:4321"], "2001:db8::1"),
            (&["unknown"], "127.0.0.1"),
            (&[], "127.0.0.1"),
        ] {
            let headers: Vec<_> = values.iter().map(|value| (X_FORWARDED_FOR, *value)).collect();
            assert_eq!(of(&headers).address.ip().to_string(), ip, "{values:?}");
        }
    }
}
