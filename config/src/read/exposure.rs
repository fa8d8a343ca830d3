//! What a file opens to people who were hardly meant: the server works with it, and a warning says
//! who gets what.

use std::net::IpAddr;

use kes_api::Identity;
use kes_api::route::Operation;
use kes_keystore::config::Proxy;
use url::{Host, Url};

use crate::value::Text;

/// Identities whose private keys or API keys are published, with where that is.
const PUBLISHED: [(&str, &str); 2] = [
    (
        "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22",
        "the API key of MinIO's public test server play.min.io",
    ),
    (
        "339e2ff917630507b6a423b5ce084e285d1fa65d93b3e27a6195d3bbebc9ae23",
        "the API key of nothing but zeros",
    ),
];

/// Warns of an identity that anybody can have.
pub(super) fn warn_of_published(identity: Identity, text: &Text<'_>) {
    if let Some((_, holder)) = PUBLISHED.iter().find(|(known, _)| known.parse() == Ok(identity)) {
        text.warn(format!(
            "anybody can have this identity: it is that of {holder}, which is published; make \
             another one with `kes identity new`"
        ));
    }
}

/// What clients without a certificate may do if an operation skips authentication; `None` if that
/// harms nobody. Probes and scrapers use the harmless ones.
pub(super) const fn of_skip_auth(operation: Operation) -> Option<&'static str> {
    Some(match operation {
        Operation::Version
        | Operation::Ready
        | Operation::Status
        | Operation::Metrics
        | Operation::ListApis
        | Operation::SelfDescribe => return None,
        Operation::CreateKey => "create keys",
        Operation::ImportKey => "import keys, whose bytes it then knows",
        Operation::DescribeKey => "see whether a key exists and who created it",
        Operation::DeleteKey => "delete every key, and with it all that it encrypted",
        Operation::ListKeys => "list all keys",
        Operation::GenerateKey => "generate data keys with every key",
        Operation::EncryptKey => "encrypt with every key",
        Operation::DecryptKey | Operation::BulkDecrypt => "decrypt with every key",
        Operation::Hmac => "compute HMACs with every key",
        Operation::DescribePolicy | Operation::ReadPolicy | Operation::ListPolicies => {
            "see which policies there are and what they allow"
        }
        Operation::DescribeIdentity | Operation::ListIdentities => {
            "see which identities there are and their policies"
        }
        Operation::ErrorLog | Operation::AuditLog => "follow the log, with all names of keys in it",
        Operation::Refusals => "see which identities were refused what",
    })
}

/// Warns of endpoints of Vault to which keys, the secret ID and tokens are sent unencrypted over a
/// network.
pub(super) fn warn_of_plain_http(text: &Text<'_>, endpoints: &[Url], proxies: &[Proxy]) {
    let is_own = &|address| text.value.is_own_address(address);
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.scheme() == "http") {
        let origin = endpoint.origin().ascii_serialization();
        let is_proxied = proxies.iter().filter(|proxy| proxy.origin == origin).any(|proxy| {
            Url::parse(proxy.url.expose()).is_ok_and(|proxy| !is_this_machine(&proxy, is_own))
        });
        let reached = match (is_this_machine(endpoint, is_own), is_proxied) {
            (true, false) => continue,
            (true, true) => "through a proxy on another machine",
            (false, _) => "on another machine",
        };
        let shown = match text.variable() {
            Some(name) => format!("an endpoint in ${{{name}}}"),
            None => origin,
        };
        text.warn(format!(
            "{shown} is {reached}, and http:// sends keys and credentials over the network \
             unencrypted; write https://, or 127.0.0.1 if Vault is on this machine"
        ));
    }
}

/// Warns of a collector of traces to which spans are sent unencrypted over a network.
pub(super) fn warn_of_plain_traces(text: &Text<'_>, endpoint: &Url) {
    let is_own = &|address| text.value.is_own_address(address);
    if endpoint.scheme() != "http" || is_this_machine(endpoint, is_own) {
        return;
    }
    let shown = match text.variable() {
        Some(name) => format!("${{{name}}}"),
        None => endpoint.origin().ascii_serialization(),
    };
    text.warn(format!(
        "{shown} is on another machine, and http:// sends spans and headers over the network \
         unencrypted; write https://, or 127.0.0.1 if the collector is on this machine"
    ));
}

/// Whether a URL leads to this machine. The name `localhost` and all names below it do (RFC 6761,
/// 6.3); what another name leads to is decided elsewhere.
fn is_this_machine(url: &Url, is_own: &dyn Fn(IpAddr) -> bool) -> bool {
    let is_local = |address: IpAddr| {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified() || is_own(address)
    };
    match url.host() {
        // Schemes that the crate does not know have no typed addresses.
        Some(Host::Domain(name)) => match name.parse() {
            Ok(address) => is_local(address),
            Err(_) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        },
        Some(Host::Ipv4(address)) => is_local(address.into()),
        Some(Host::Ipv6(address)) => is_local(address.into()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_identities_are_identities() {
        for (known, holder) in PUBLISHED {
            assert!(known.parse::<Identity>().is_ok(), "{holder}");
        }
    }

    #[test]
    fn this_machine_is_loopback_and_its_own_addresses() {
        let is_own = |address: IpAddr| {
            ["10.1.2.3", "2001:db8::7"].map(|own| own.parse()).contains(&Ok(address))
        };
        for (url, expected) in [
            ("http://127.0.0.1:8200", true),
            ("http://127.8.9.1:8200", true),
            ("http://[::1]:8200", true),
            ("http://[::ffff:127.0.0.1]:8200", true),
            ("http://[::ffff:10.1.2.3]:8200", true),
            ("http://0.0.0.0:8200", true),
            ("http://127.1:8200", true),
            ("http://localhost:8200", true),
            ("http://LOCALHOST.:8200", true),
            ("http://vault.localhost:8200", true),
            ("http://10.1.2.3:8200", true),
            ("http://[2001:db8::7]:8200", true),
            ("socks5://127.0.0.1:1080", true),
            ("socks5h://localhost:1080", true),
            ("http://10.1.2.4:8200", false),
            ("http://[2001:db8::8]:8200", false),
            ("http://128.0.0.1:8200", false),
            ("http://localhost.example:8200", false),
            ("http://notlocalhost:8200", false),
            ("http://127.0.0.1.example:8200", false),
            ("http://vault:8200", false),
            ("socks5://10.1.2.4:1080", false),
        ] {
            assert_eq!(is_this_machine(&Url::parse(url).unwrap(), &is_own), expected, "{url}");
        }
    }
}
