//! The proxy of each endpoint: `keystore.vault.proxy`, or `HTTPS_PROXY`, `HTTP_PROXY` and
//! `NO_PROXY` as Go's HTTP client reads them.

use std::net::IpAddr;

use kes_keystore::config::{Proxy, SecretText};
use url::Url;

use super::environment::taken_from;
use crate::bounds::PROXY_SCHEMES;
use crate::value::{AlreadyReported, Value};

/// The proxies of endpoints that have one.
pub(super) fn read(value: &Value<'_>, endpoints: &[Url]) -> Result<Vec<Proxy>, AlreadyReported> {
    let of = |endpoint: &Url, proxy: &Url| Proxy {
        origin: endpoint.origin().ascii_serialization(),
        url: SecretText::new(proxy.to_string()),
    };
    if let Some(text) = value.filled()? {
        if text.as_str() == "none" {
            return Ok(Vec::new());
        }
        let proxy = parse(text.as_str()).map_err(|reason| text.mistake(reason))?;
        return Ok(endpoints.iter().map(|endpoint| of(endpoint, &proxy)).collect());
    }
    let mut proxies = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for endpoint in endpoints {
        let names: &[&'static str] = match endpoint.scheme() {
            "https" => &["HTTPS_PROXY", "https_proxy"],
            // In a CGI program, a request can set HTTP_PROXY with its header `Proxy`.
            _ if value.variable("REQUEST_METHOD").is_some() => continue,
            _ => &["HTTP_PROXY", "http_proxy"],
        };
        let Some((name, text)) = value.first_variable(names) else { continue };
        let excluded = value.first_variable(&["NO_PROXY", "no_proxy"]);
        let excluded = excluded.as_ref().map_or("", |(_, text)| text.as_str());
        if !is_proxied(endpoint, excluded) {
            continue;
        }
        let proxy = parse(&text)
            .map_err(|reason| value.mistake(format!("environment variable {name}: {reason}")))?;
        let origin = endpoint.origin().ascii_serialization();
        let text = format!("{}, for {origin}", taken_from(name, &shown(&proxy)));
        if !told.contains(&text) {
            value.warn(&*text);
            told.push(text);
        }
        proxies.push(of(endpoint, &proxy));
    }
    Ok(proxies)
}

/// The messages do not show the URL: it may contain a password.
fn parse(text: &str) -> Result<Url, &'static str> {
    const EXPECTED: &str = "not the URL of a proxy: write it as http://proxy.example.net:3128";
    // Without a scheme it is an HTTP proxy.
    let url =
        if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.map_err(|_| EXPECTED)?;
    let is_known = PROXY_SCHEMES.contains(&url.scheme());
    if is_known && url.has_host() { Ok(url) } else { Err(EXPECTED) }
}

/// A proxy without user and password.
fn shown(proxy: &Url) -> String {
    let mut shown = proxy.clone();
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string().trim_end_matches('/').to_owned()
}

/// Whether a proxy of the environment is used for an endpoint: not for this machine, and not for
/// hosts in `NO_PROXY`.
fn is_proxied(endpoint: &Url, excluded: &str) -> bool {
    let Some(host) = endpoint.host_str() else { return false };
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let port = endpoint.port_or_known_default();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return false;
    }
    !excluded.split(',').map(str::trim).any(|entry| excludes(entry, &host, address, port))
}

/// Whether an entry of `NO_PROXY` matches a host. An entry is `*`, a network, an address, or a
/// domain with all its subdomains; the last two may have a port.
fn excludes(entry: &str, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
    let entry = entry.to_ascii_lowercase();
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let (Ok(network), Ok(bits)) = (network.parse(), bits.parse()) else { return false };
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (name, wanted) = split_port(&entry);
    if name.is_empty() || wanted.is_some_and(|wanted| Some(wanted) != port) {
        return false;
    }
    if let Ok(listed) = name.parse::<IpAddr>() {
        return address == Some(listed);
    }
    if address.is_some() {
        return false;
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => is_below(host, domain),
        None => host == name || is_below(host, name),
    }
}

/// Splits `host:1` and `[::1]:1`, both also without a port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) => {
                (address, port.strip_prefix(':').and_then(|port| port.parse().ok()))
            }
            None => (rest, None),
        };
    }
    match entry.rsplit_once(':') {
        // With several colons it is an IPv6 address without a port.
        Some((name, port)) if !name.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, length) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    if bits > length {
        return false;
    }
    // A shift by all 128 bits would overflow.
    (address ^ network).checked_shr(length - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (endpoint, excluded, proxied) in [
            ("https://vault.example:8200", "", true),
            ("https://localhost:8200", "", false),
            ("https://127.8.9.1:8200", "", false),
            ("https://[::1]:8200", "", false),
            ("https://vault.example:8200", "*", false),
            ("https://vault.example:8200", "other.example, vault.example", false),
            ("https://VAULT.example:8200", "Vault.Example", false),
            ("https://vault.example:8200", "example", false),
            ("https://vault.example:8200", ".example", false),
            ("https://vault.example:8200", "*.example", false),
            ("https://example:8200", ".example", true),
            ("https://example:8200", "*.example", true),
            ("https://notexample:8200", "example", true),
            ("https://vault.example:8200", "vault.example:8200", false),
            ("https://vault.example:8200", "vault.example:8201", true),
            ("https://vault.example", "vault.example:443", false),
            ("https://10.1.2.3:8200", "10.0.0.0/8", false),
            ("https://11.1.2.3:8200", "10.0.0.0/8", true),
            ("https://11.1.2.3:8200", "0.0.0.0/0", false),
            ("https://11.1.2.3:8200", "::/0", true),
            ("https://11.1.2.3:8200", "11.1.2.3/99", true),
            ("https://10.1.2.3:8200", "10.1.2.3", false),
            ("https://10.1.2.3:8200", "10.1.2.3:8200", false),
            ("https://10.1.2.3:8200", "10.1.2.3:1", true),
            ("https://10.1.2.3:8200", "3", true),
            ("https://[2001:db8::1]:8200", "2001:db8::/32", false),
            ("https://[2001:db8::1]:8200", "2001:db8::1", false),
            ("https://[2001:db8::1]:8200", "[2001:db8::1]:8200", false),
            ("https://vault.example:8200", " , ,", true),
        ] {
            let found = is_proxied(&Url::parse(endpoint).unwrap(), excluded);
            assert_eq!(found, proxied, "{endpoint} beside '{excluded}'");
        }
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let url = parse("user:hunter2@proxy.example:3128").unwrap();
        assert_eq!(shown(&url), "http://proxy.example:3128");
        for bad in ["", "ftp://proxy.example", "http://", "http://a b"] {
            assert!(parse(bad).unwrap_err().contains("proxy"), "{bad}");
        }
    }
}
