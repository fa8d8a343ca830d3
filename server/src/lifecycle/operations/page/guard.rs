//! Who may read the page and the metrics in a browser. Whoever can connect may, and a browser connects for any web site
//! that its user visits. A site cannot read an answer without a header that allows it, which no answer
//! here has. It could read the page if its own name led to this server (DNS rebinding): the browser
//! then takes the two for one site, but tells the name in `Host`. So over plain HTTP over TCP the name
//! has to be an address, `localhost`, or what the configuration says. With TLS the name has to be in the
//! certificate, and no browser connects to a unix socket.

use http::header::{ACCEPT_LANGUAGE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};
use kes_config::{Operations, OperationsAddress};

/// By which names the listener is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Any,
    /// Addresses, `localhost`, and this one.
    AddressesAnd(String),
}

impl Names {
    pub(crate) fn of(configured: &Operations) -> Self {
        match &configured.address {
            OperationsAddress::Tcp(address) if !configured.tls => {
                Self::AddressesAnd(address.host().to_owned())
            }
            OperationsAddress::Tcp(_) | OperationsAddress::Unix(_) => Self::Any,
        }
    }

    fn contain(&self, host: &str) -> bool {
        let Self::AddressesAnd(own) = self else { return true };
        let name = without_port(host);
        let is_local = name.eq_ignore_ascii_case("localhost");
        is_local || is_address(name) || !own.is_empty() && name.eq_ignore_ascii_case(own)
    }
}

/// Why a request under a foreign name is refused.
const FOREIGN: &str = "this name may belong to another web site: ask by the server's address, by the \
                       name in operations.address, or with operations.tls";

/// Refuses a browser that asks for the metrics by a name that may be that of another site. Scrapers and
/// probes ask by whichever name they have. A browser is known by a header that each one sends with every
/// request, and that no script can have left out.
pub(crate) fn check_metrics(names: &Names, headers: &HeaderMap) -> Result<(), &'static str> {
    let is_browser = headers.contains_key(ACCEPT_LANGUAGE);
    if is_browser && !has_own_name(names, headers) { Err(FOREIGN) } else { Ok(()) }
}

/// Whether all of `Host` is a name of the listener; also if there is none.
fn has_own_name(names: &Names, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    hosts.all(|host| names.contain(host.to_str().unwrap_or_default()))
}

/// Refuses a request that another web site has made, with a text that says so. `is_document` is whether
/// it is for the document itself, which other sites may link to.
pub(super) fn check(
    names: &Names,
    headers: &HeaderMap,
    is_document: bool,
) -> Result<(), &'static str> {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let all = |name| headers.get_all(name).iter().map(text);
    if !has_own_name(names, headers) {
        return Err(FOREIGN);
    }
    let host = headers.get(HOST).map(text).unwrap_or_default();
    let is_own = |origin: String| {
        let own = origin.split_once("://").map(|(_, name)| name);
        own.is_some_and(|own| own.eq_ignore_ascii_case(&host))
    };
    let fetch = |name: &str| headers.get(name).map(text);
    let is_link = is_document
        && fetch("sec-fetch-mode").as_deref() == Some("navigate")
        && fetch("sec-fetch-dest").as_deref() == Some("document");
    let is_foreign = match fetch("sec-fetch-site").as_deref() {
        None | Some("same-origin" | "none") => false,
        Some(_) => !is_link,
    };
    if is_foreign || !all(ORIGIN).all(is_own) {
        return Err("another web site has asked for it");
    }
    Ok(())
}

/// The name in `Host`, without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn names() -> Names {
        Names::AddressesAnd("kes1".to_owned())
    }

    #[test]
    fn a_name_that_anybody_can_have_is_refused_over_plain_http() {
        let is_allowed =
            |names: &Names, host: &str| check(names, &headers(&[("host", host)]), true);
        for host in [
            "127.0.0.1",
            "127.0.0.1:7374",
            "10.1.2.3:7374",
            "[::1]:7374",
            "[fe80::1]",
            "localhost:7374",
            "LOCALHOST",
            "kes1:7374",
            "KES1",
        ] {
            assert_eq!(is_allowed(&names(), host), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:7374",
            "kes1.evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.0.0.1:80@evil.example",
            "[evil]",
            "::1",
            "",
            "1234",
        ] {
            assert!(is_allowed(&names(), host).is_err(), "{host}");
            assert_eq!(is_allowed(&Names::Any, host), Ok(()), "{host}");
        }
        let of_all = Names::AddressesAnd(String::new());
        assert!(is_allowed(&of_all, "").is_err(), "an address without a host names none");
        let two = headers(&[("host", "127.0.0.1"), ("host", "evil.example")]);
        assert!(check(&names(), &two, true).is_err());
        // Of no browser.
        assert_eq!(check(&names(), &HeaderMap::new(), true), Ok(()));
    }

    #[test]
    fn a_browser_gets_no_metrics_under_a_name_that_anybody_can_have() {
        let of = |names: &Names, pairs: &[_]| check_metrics(names, &headers(pairs)).is_ok();
        let browser = ("accept-language", "en");
        for (host, is_own) in
            [("127.0.0.1:7374", true), ("localhost", true), ("kes1", true), ("evil.example", false)]
        {
            assert_eq!(of(&names(), &[browser, ("host", host)]), is_own, "{host}");
            // A scraper, and a name that is in a certificate.
            assert!(of(&names(), &[("host", host)]) && of(&Names::Any, &[browser, ("host", host)]));
        }
        // A script can have it empty.
        assert!(!of(&names(), &[("accept-language", ""), ("host", "evil.example")]));
        let two = [browser, ("host", "kes1"), ("host", "evil.example")];
        assert!(!of(&names(), &two));
    }

    #[test]
    fn another_site_may_link_to_the_page_and_read_nothing() {
        let of_site = |site: &str, mode: &str, dest: &str, is_document: bool| {
            let headers = headers(&[
                ("host", "127.0.0.1:7374"),
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ]);
            check(&names(), &headers, is_document).is_ok()
        };
        for site in ["cross-site", "same-site", "new-word"] {
            assert!(of_site(site, "navigate", "document", true), "{site}");
            for (mode, dest, is_document) in [
                ("navigate", "document", false),
                ("navigate", "iframe", true),
                ("no-cors", "image", true),
                ("no-cors", "script", true),
                ("cors", "empty", true),
                ("cors", "empty", false),
            ] {
                assert!(!of_site(site, mode, dest, is_document), "{site} {mode} {dest}");
            }
        }
        for site in ["same-origin", "none"] {
            assert!(of_site(site, "navigate", "document", true));
            assert!(of_site(site, "cors", "empty", false));
        }
    }

    #[test]
    fn an_origin_has_to_be_the_listener_itself() {
        let of = |origin: &str| {
            check(&names(), &headers(&[("host", "127.0.0.1:7374"), ("origin", origin)]), false)
        };
        assert_eq!(of("http://127.0.0.1:7374"), Ok(()));
        for origin in ["http://127.0.0.1:80", "https://evil.example", "null", "http://127.0.0.1"] {
            assert!(of(origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn names_are_checked_where_a_browser_could_be_led_here() {
        let of = |section: &str| {
            let text = format!(
                "{{operations: {section}, admin: {{identity: x}}, tls: {{key: k, cert: c}}, \
                 keystore: {{fs: {{path: p}}}}}}"
            );
            let config = kes_config::parse(&text, &|_: &str| None).unwrap().config;
            Names::of(&config.operations.unwrap())
        };
        assert_eq!(of("{address: 'kes1:7374'}"), names());
        assert_eq!(of("{address: 'kes1:7374', tls: on}"), Names::Any);
        assert_eq!(of("{address: 'unix:/x'}"), Names::Any);
    }
}
