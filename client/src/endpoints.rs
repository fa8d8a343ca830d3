//! The servers of a deployment, and which one is asked next.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Uri;
use http::uri::PathAndQuery;
use url::{Host, Url};

/// Servers of one deployment, any of which may answer a request. The one that answered last is
/// asked first.
#[derive(Debug)]
pub struct Endpoints {
    list: Vec<Endpoint>,
    current: AtomicUsize,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://host:port`, and a path where one is given; without `/` at the end.
    base: String,
    /// `host:port`
    name: String,
    /// Whether the text had no port, so the port of https is used.
    is_port_implied: bool,
}

/// A text that is not a server address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid server '{text}': {reason}")]
pub struct InvalidEndpoint {
    /// The text, without anything that could be a password.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The port of a URL without one. As in the reference, `https://` is put before a bare host.
const HTTPS_PORT: u16 = 443;

/// The default port of a key server.
const USUAL_PORT: u16 = 7373;

impl Endpoints {
    /// The servers, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.list.iter()
    }

    /// Each server once, starting with the current one, with its index for [`Endpoints::prefer`].
    pub(crate) fn attempts(&self) -> impl ExactSizeIterator<Item = (usize, &Endpoint)> {
        let current = self.current.load(Ordering::Relaxed);
        (0..self.list.len()).map(move |offset| {
            let index = (current + offset) % self.list.len();
            (index, &self.list[index])
        })
    }

    /// Makes a server the first one to be asked from now on.
    pub(crate) fn prefer(&self, index: usize) {
        self.current.store(index, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// The URL of an API; `path` starts with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The URI of what a request is for: a path, or `*`, which stands for the server as a whole
    /// (RFC 9110, section 7.1) and follows no address.
    pub(crate) fn uri(&self, target: &str) -> Result<Uri, http::Error> {
        if target != "*" {
            return Ok(self.url(target).parse()?);
        }
        let mut parts = self.url("/").parse::<Uri>()?.into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("*"));
        Ok(Uri::from_parts(parts)?)
    }

    /// The path of its address, if that has one.
    pub(crate) fn path(&self) -> Option<&str> {
        let (_, place) = self.base.split_once("://")?;
        place.find('/').and_then(|start| place.get(start..))
    }

    /// A hint for the case that nothing answers and the text had no port: people expect the default
    /// port of a key server then.
    pub(crate) fn port_hint(&self) -> Option<String> {
        let host = self.name.strip_suffix(":443").filter(|_| self.is_port_implied)?;
        Some(format!("no port was given; a key server usually has {host}:{USUAL_PORT}"))
    }
}

/// `host:port`
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl FromStr for Endpoints {
    type Err = InvalidEndpoint;

    /// Parses one server, or several separated by commas.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        // First of all: a comma in a password would make a server of each half of it.
        if let Some((_, rest)) = text.rsplit_once('@') {
            return Err(InvalidEndpoint { text: shown(rest), reason: CREDENTIALS });
        }
        let list = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() {
            return Err(InvalidEndpoint { text: text.to_owned(), reason: "it names no host" });
        }
        Ok(Self { list, current: AtomicUsize::new(0) })
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Parses `host`, `host:port` or a URL. `https://` is added if it is missing, so the port of a
    /// bare host is that of https.
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason| InvalidEndpoint { text: shown(text), reason };
        let full = match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => text.to_owned(),
            Some(_) => return Err(invalid("only https is spoken")),
            None => format!("https://{text}"),
        };
        if let Some(reason) = fault(text) {
            return Err(invalid(reason));
        }
        let url = Url::parse(&full).map_err(|_| invalid("it is not a host, host:port or URL"))?;
        if text.contains('@') {
            return Err(invalid(CREDENTIALS));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it must not contain a query or fragment"));
        }
        let host = url.host().ok_or_else(|| invalid("it names no host"))?;
        if matches!(host, Host::Domain(name) if name.is_empty()) {
            return Err(invalid("it names no host"));
        }
        let port = url.port().unwrap_or(HTTPS_PORT);
        let name = format!("{host}:{port}");
        let base = format!("https://{name}{}", url.path().trim_end_matches('/'));
        let is_port_implied = url.port().is_none() && !names_port(&full);
        Ok(Self { base, name, is_port_implied })
    }
}

const CREDENTIALS: &str = "it must not contain a user or password";

/// A text without anything that could be a password: what stands before an `@`, in the place of a
/// port, or in a query.
fn shown(text: &str) -> String {
    let text = text.rsplit('@').next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], "…"),
        None => (rest, ""),
    };
    // An IPv6 address has more of them.
    let is_port =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.]/".contains(&byte));
    match rest.split_once(':') {
        Some((host, port)) if !is_port(port.split('/').next().unwrap_or_default()) => {
            format!("{scheme}{host}:…")
        }
        _ => format!("{scheme}{rest}{query}"),
    }
}

/// Whether the text of a URL has a port. The parser drops the default port of the scheme.
fn names_port(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Finds parts of a URL that a server address must not have.
fn fault(text: &str) -> Option<&'static str> {
    if text.starts_with(['"', '\'']) {
        return Some("it has quotes around it");
    }
    let (_, place) = text.split_once("://").unwrap_or_default();
    let place = if place.is_empty() { text } else { place };
    if place.trim_end_matches('/').parse::<Ipv6Addr>().is_ok() {
        return Some("IPv6 needs brackets, as in [::1]:7373");
    }
    // The client appends the paths of the API.
    let path = place.split_once('/').unwrap_or_default().1;
    if path == "v1" || path.starts_with("v1/") {
        return Some("give host and port only, without the path of an API");
    }
    if text.contains('{') {
        return Some(
            "write out each server, with commas between: '{1...4}' is understood by MinIO alone",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bases(text: &str) -> Vec<String> {
        let endpoints: Endpoints = text.parse().unwrap();
        endpoints.iter().map(|endpoint| endpoint.base.clone()).collect()
    }

    #[test]
    fn a_request_for_a_server_as_a_whole_is_for_no_path() {
        for text in ["kes.example:7373", "https://kes.example:7373/behind/a/proxy"] {
            let endpoints: Endpoints = text.parse().unwrap();
            let uri = endpoints.iter().next().unwrap().uri("*").unwrap();
            assert_eq!(uri.authority().unwrap(), "kes.example:7373");
            assert_eq!(uri.path_and_query().unwrap(), "*");
        }
    }

    #[test]
    fn servers_as_operators_write_them() {
        for (text, expected) in [
            ("127.0.0.1:7373", "https://127.0.0.1:7373"),
            ("https://kes.example:7373", "https://kes.example:7373"),
            ("https://kes.example:7373/", "https://kes.example:7373"),
            ("kes.example", "https://kes.example:443"),
            ("KES.example", "https://kes.example:443"),
            ("https://kes.example", "https://kes.example:443"),
            ("HTTPS://kes.example", "https://kes.example:443"),
            ("kes.example:443", "https://kes.example:443"),
            ("https://kes.example:443", "https://kes.example:443"),
            ("[::1]:7373", "https://[::1]:7373"),
            ("[::1]", "https://[::1]:443"),
            ("[::443]", "https://[::443]:443"),
            ("127.0.0.1", "https://127.0.0.1:443"),
            ("https://kes.example:7373//", "https://kes.example:7373"),
            ("https://proxy/kes/", "https://proxy:443/kes"),
        ] {
            assert_eq!(bases(text), [expected], "{text}");
        }
        let several = bases("a:1, https://b:2 ,,c,");
        assert_eq!(several, ["https://a:1", "https://b:2", "https://c:443"]);
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for (text, reason) in [
            ("", "names no host"),
            (" , ", "names no host"),
            ("http://a:7373", "only https"),
            ("::1", "IPv6 needs brackets, as in [::1]:7373"),
            ("https://::1:7373/", "IPv6 needs brackets"),
            ("https://a:7373/v1", "give host and port only"),
            ("a:7373/v1/status", "give host and port only"),
            ("unix:///socket", "only https"),
            ("https://", "not a host"),
            ("https://u:secret@a:7373", "user or password"),
            ("u:secret@a:7373", "user or password"),
            ("https://u:se,secret@a:7373", "user or password"),
            ("https://u:secret,@a:7373", "user or password"),
            ("https://u:,secret,x@a:7373,b:1", "user or password"),
            ("a:1,https://u:s@secret,@b", "user or password"),
            ("https://u:secret", "not a host, host:port or URL"),
            ("https://a:7373?token=secret", "query"),
            ("https://a:7373#secret", "query"),
            ("a:port", "not a host, host:port or URL"),
            ("a b", "not a host, host:port or URL"),
            ("\"a:7373\"", "quotes around it"),
            ("https://kes{1...4}.example:7373", "write out each server"),
            ("a:7373?x", "query"),
        ] {
            let error = text.parse::<Endpoints>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_shown_of_a_text_tells_which_server_is_meant() {
        for (text, expected) in [
            ("a:port", "a:…"),
            ("https://user:pa", "https://user:…"),
            ("user:pass@host:7373", "host:7373"),
            ("https://::1:7373/", "https://::1:7373/"),
            ("https://[::1]:7373/v1", "https://[::1]:7373/v1"),
            ("http://kes.example:7373", "http://kes.example:7373"),
            ("a:7373/v1/status?x=y", "a:7373/v1/status…"),
            ("a b", "a b"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn a_port_that_was_not_given_is_told() {
        for (text, hint) in [
            ("kes.example", Some("kes.example:7373")),
            ("https://kes.example/", Some("kes.example:7373")),
            ("[::1]", Some("[::1]:7373")),
            ("kes.example:443", None),
            ("https://kes.example:443/", None),
            ("kes.example:7373", None),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let told = endpoint.port_hint();
            assert_eq!(told.is_some(), hint.is_some(), "{text}: {told:?}");
            assert!(hint.is_none_or(|hint| told.unwrap().ends_with(hint)), "{text}");
        }
    }

    #[test]
    fn the_server_that_answered_is_asked_first() {
        let endpoints: Endpoints = "a:1,b:2,c:3".parse().unwrap();
        let order = || endpoints.attempts().map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!(order(), [0, 1, 2]);
        endpoints.prefer(2);
        assert_eq!(order(), [2, 0, 1]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"(https://)?[a-z0-9.:/@\[\]?#,\PC]{0,30}") {
            if let Ok(endpoints) = text.parse::<Endpoints>() {
                for endpoint in endpoints.iter() {
                    prop_assert!(Url::parse(&endpoint.url("/version")).is_ok());
                }
            }
        }
    }
}
