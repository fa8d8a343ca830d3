//! The page of the operations listener (contract `config.md`, A page).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use kes_testkit::wait;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{PATIENCE, config, curl, get, ok, url};
use crate::harness::{self, Config, Protocol, Server, Who};

pub(super) const PAGE: &str = "{ address: '127.0.0.1:0', page: on }";
pub(super) const DETAILS: &str = "{ address: '127.0.0.1:0', page: on, details: on }";

/// An event stream.
struct Events {
    stream: TcpStream,
    read: String,
}

impl Events {
    /// Begins one, once the server has started: it prints where it listens a moment before.
    fn begin(server: &Server) -> Self {
        wait::eventually(PATIENCE, "it has started", || get(server, "/startup") == ok());
        let address = url(server).replace("http://", "");
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Self { stream, read: String::new() }
    }

    /// The next event: its kind and its figures. `None` at the end.
    fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((kind, rest)) = self
                .read
                .split_once("event: ")
                .map(|(_, rest)| rest)
                .and_then(|rest| rest.split_once("\ndata: "))
                && let Some((data, rest)) = rest.split_once("\n\n")
            {
                let event = (kind.to_owned(), serde_json::from_str(data).unwrap());
                self.read = rest.to_owned();
                return Some(event);
            }
            let mut some = [0; 64 * 1024];
            let count = self.stream.read(&mut some).unwrap_or_default();
            if count == 0 {
                return None;
            }
            // The chunks of the body are told apart by lines that no event has; they stay between.
            let text = String::from_utf8_lossy(&some[..count]).into_owned();
            self.read.push_str(&text);
        }
    }

    /// Waits for an event that is as wanted.
    fn wait_for(&mut self, what: &str, is_wanted: impl Fn(&Value) -> bool) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let (_, event) = self.next().unwrap_or_else(|| panic!("{what}: the stream has ended"));
            if is_wanted(&event) {
                return;
            }
        }
        panic!("{what}");
    }
}

/// The document, once the server has started.
fn document(server: &Server, args: &[&str]) -> (u16, String) {
    wait::eventually(PATIENCE, "it has started", || get(server, "/startup") == ok());
    curl(server, args, &format!("{}/", url(server)))
}

fn number(event: &Value, place: &str) -> u64 {
    let text = event["t"][place][0].as_str().unwrap();
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{place}: {text}"))
}

/// Has requests with names answered and refused.
pub(super) fn use_names(server: &Server) {
    harness::run(async {
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/hidden-key", "").await.status, 200);
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        for path in ["/v1/key/delete/hidden-key", "/v1/key/describe/hidden-other"] {
            let method = if path.contains("delete") { "DELETE" } else { "GET" };
            assert_eq!(minio.send(method, path, "").await.status, 403);
        }
        let mut other = server.client(Who::Other, Protocol::H1).await;
        assert_eq!(other.send("PUT", "/v1/key/create/hidden-third", "").await.status, 403);
    });
}

#[test]
fn there_is_no_page_unless_it_is_configured() {
    let server = Server::with(&config("{ address: '127.0.0.1:0', page: off }"));
    for path in ["/", "/events", "/page.js", "/favicon.ico"] {
        assert_eq!(get(&server, path), (404, "not found\n".to_owned()), "{path}");
    }
    server.reload_and_wait(&config(PAGE));
    wait::eventually(PATIENCE, "it is there", || get(&server, "/").0 == 200);
    assert_eq!(get(&server, "/live"), ok());
    for path in ["/page.js", "/favicon.ico", "/index.html", "//"] {
        assert_eq!(get(&server, path).0, 404, "{path}");
    }
    let mut events = Events::begin(&server);
    assert_eq!(events.next().unwrap().0, "all");
    server.reload_and_wait(&config("{ address: '127.0.0.1:0' }"));
    let begin = Instant::now();
    while events.next().is_some() {
        assert!(begin.elapsed() < PATIENCE, "the stream goes on");
    }
    assert_eq!(get(&server, "/").0, 404);
}

#[test]
fn its_headers_let_it_run_its_own_script_and_nothing_else() {
    let server = Server::with(&config(PAGE));
    let (status, answer) = document(&server, &["--include"]);
    assert_eq!(status, 200);
    let answer = answer.replace("\r\n", "\n");
    let (head, body) = answer.split_once("\n\n").unwrap();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("{name}: {head}")).1.to_owned()
    };
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
    let head = head.to_ascii_lowercase();
    assert!(!head.contains("set-cookie") && !head.contains("access-control"), "{head}");
    let policy = header("content-security-policy");
    let rules: Vec<&str> = policy.split(';').map(str::trim).collect();
    for rule in [
        "default-src 'none'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ] {
        assert!(rules.contains(&rule), "{rule}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for tag in ["style", "script"] {
        let (_, rest) = body.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        let hash = STANDARD.encode_to_string(Sha256::digest(text.as_bytes()));
        let rule = format!("{tag}-src 'sha256-{hash}'");
        assert!(rules.contains(&&*rule), "page.rs has to say {rule}");
    }
    assert!(body.len() < 40_000, "{} bytes", body.len());
    let head_only = document(&server, &["--head"]);
    assert!(head_only.0 == 200 && !head_only.1.contains("<html"), "{head_only:?}");
    let head_only = curl(&server, &["--head"], &format!("{}/events", url(&server)));
    assert!(head_only.0 == 200 && head_only.1.contains("text/event-stream"), "{head_only:?}");
}

#[test]
fn who_has_no_details_is_told_no_name() {
    let config = |section: &str| {
        config(section)
            .with("log", "{ error: debug }")
            .with("keystore", "{ fs: { path: secret-folder } }")
    };
    let server = Server::with(&config(PAGE));
    use_names(&server);
    let mut identities = Vec::new();
    for who in [Who::Admin, Who::Minio, Who::Other] {
        identities.push(server.credentials(who).unwrap().identity.clone());
    }
    let hidden = ["hidden-", "minio", "secret-folder", "server.crt"];
    let names = || identities.iter().map(String::as_str).chain(hidden);
    let told = |server: &Server| {
        let (status, page) = document(server, &[]);
        assert_eq!(status, 200);
        let mut events = Events::begin(server);
        let first = events.next().unwrap().1.to_string();
        let next = events.next().unwrap().1.to_string();
        [page, first, next]
    };
    for text in told(&server) {
        for name in names() {
            assert!(!text.contains(name), "{name}: {text}");
        }
        // What they would show is there.
        for shown in ["/v1/key/delete/", "2 identities", "/v1/key/create"] {
            assert!(text.contains(shown) || text.contains("1 identity"), "{shown}: {text}");
        }
    }
    // The key store goes away: its place is in no cause.
    std::fs::rename(server.file("secret-folder"), server.file("moved")).unwrap();
    wait::eventually(PATIENCE, "the page tells", || {
        document(&server, &[]).1.contains("The key store")
    });
    for text in told(&server) {
        assert!(names().all(|name| !text.contains(name)), "{text}");
    }
    std::fs::rename(server.file("moved"), server.file("secret-folder")).unwrap();

    server.reload_and_wait(&config(DETAILS));
    let line = "policy.minio.allow: /v1/key/delete/hidden-key";
    for text in told(&server) {
        for name in identities[1..].iter().map(String::as_str).chain(hidden).chain([line]) {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}

#[test]
fn figures_move_with_the_requests() {
    harness::run(async {
        let server = Server::with(&config(PAGE));
        let mut events = Events::begin(&server);
        let (kind, first) = events.next().unwrap();
        assert_eq!((kind.as_str(), number(&first, "answered")), ("all", 0));
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        for _ in 0..7 {
            assert_eq!(minio.send("GET", "/v1/status", "").await.status, 200);
        }
        assert_eq!(minio.send("GET", "/v1/api", "").await.status, 403);
        let before = first["n"].as_u64().unwrap();
        events.wait_for("the requests show", |event| {
            // The second of the first event may come once more; the page's script leaves that out.
            assert!(event["n"].as_u64().unwrap() >= before);
            number(event, "answered") == 8 && number(event, "refused-total") == 1
        });
        let page = document(&server, &[]).1;
        assert!(page.contains("<code>/v1/status</code>"), "{page}");
        // A later reader is given what was.
        let (_, whole) = Events::begin(&server).next().unwrap();
        let requests = whole["c"]["requests"]["lines"][0].as_array().unwrap();
        let all: f64 = requests.iter().map(|value| value.as_f64().unwrap()).sum();
        assert!(all > 0.0, "{requests:?}");
        // The requests of the page itself are none of the API.
        assert_eq!(number(&whole, "answered"), 8);
    });
}

#[test]
fn an_outage_of_the_key_store_is_shown_and_remembered() {
    let server = Server::with(&config(PAGE));
    let mut events = Events::begin(&server);
    std::fs::rename(server.file("keys"), server.file("moved")).unwrap();
    let state = |event: &Value| event["t"]["state"].clone();
    events.wait_for("it is away", |event| state(event)[0] == "Key store away");
    std::fs::rename(server.file("moved"), server.file("keys")).unwrap();
    events.wait_for("it is back", |event| state(event)[0] == "Serving");
    let page = document(&server, &[]).1;
    let outage = page.split_once("data-t=\"outage\">20").expect(&page).1;
    let outage = outage.split('<').next().unwrap();
    assert!(outage.contains("UTC, for ") && !outage.contains("goes on"), "{outage}");
}

#[test]
fn other_sites_and_their_names_are_refused() {
    let server = Server::with(&config(PAGE));
    assert_eq!(document(&server, &[]).0, 200);
    let ask = |header: &str, path: &str| {
        curl(&server, &["--header", header], &format!("{}{path}", url(&server))).0
    };
    for header in [
        "host: evil.example",
        "host: localhost.evil.example:7374",
        "sec-fetch-site: cross-site",
        "origin: https://evil.example",
    ] {
        for path in ["/", "/events"] {
            assert_eq!(ask(header, path), 403, "{header} {path}");
        }
        // Probes and scrapers have no browser, and any name.
        for path in ["/live", "/metrics"] {
            assert_eq!(ask(header, path), 200, "{header} {path}");
        }
    }
    for header in ["host: localhost", "host: 10.1.2.3:7374", "sec-fetch-site: none"] {
        assert_eq!(ask(header, "/"), 200, "{header}");
    }
    // A browser that was led here is told no metrics either, whether there is a page or not.
    for section in [PAGE, "{ address: '127.0.0.1:0' }"] {
        server.reload_and_wait(&config(section));
        wait::eventually(PATIENCE, "it listens", || get(&server, "/live") == ok());
        let ask = |host: &str| {
            let args = ["--header", host, "--header", "accept-language: en"];
            curl(&server, &args, &format!("{}/metrics", url(&server)))
        };
        let (status, why) = ask("host: evil.example");
        assert!(status == 403 && why.contains("operations.address"), "{status} {why}");
        assert_eq!(ask("host: localhost").0, 200);
    }
    let tls = Server::with(&config("{ address: '127.0.0.1:0', tls: on, page: on }"));
    let args = ["--cacert", "server.crt", "--header", "host: kes.example"];
    wait::eventually(PATIENCE, "TLS has checked the name", || {
        curl(&tls, &args, &format!("{}/", url(&tls))).0 == 200
    });
}

/// Streams that nobody reads, and more of them than there are places, keep no probe away, and the server
/// stops at once.
#[test]
fn open_pages_hold_up_nothing() {
    let mut server = Server::with(&config(PAGE));
    let mut open: Vec<_> = (0..8).map(|_| Events::begin(&server)).collect();
    for events in &mut open {
        assert_eq!(events.next().unwrap().0, "all");
    }
    let refused = curl(&server, &["--include"], &format!("{}/events", url(&server)));
    assert!(refused.0 == 503 && refused.1.contains("retry-after: 5"), "{refused:?}");
    for _ in 0..20 {
        assert_eq!(get(&server, "/live"), ok());
        assert_eq!(get(&server, "/").0, 200, "the document needs no place");
    }
    // The others get their events.
    open[0].next().unwrap();
    server.signal(Signal::TERM);
    let begin = Instant::now();
    assert_eq!(server.wait_for_exit(PATIENCE).code(), Some(0), "{}", server.stderr());
    assert!(begin.elapsed() < Duration::from_secs(8), "they held it up: {:?}", begin.elapsed());
}

#[test]
fn names_that_clients_choose_are_text() {
    let policy = "
  '<img src=x onerror=alert(1)>':
    allow: [/v1/status]
    identities: [\"${MINIO}\"]";
    let server = Server::with(&Config::usual().with("operations", DETAILS).with("policy", policy));
    use_names(&server);
    let page = document(&server, &[]).1;
    assert!(page.contains("policy.&lt;img src=x onerror=alert(1)&gt;.allow"), "{page}");
    assert!(!page.contains("<img"), "{page}");
}
