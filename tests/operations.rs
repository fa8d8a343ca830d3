//! The operations listener (contract `config.md`, Operations), asked by curl as a probe would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::Duration;

use kes_testkit::wait;
use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{self, Config, Credentials, Protocol, Server, Who, tls_config, tls_connect};

/// The page.
mod page;

/// The page in a browser.
mod browser;

const PATIENCE: Duration = Duration::from_secs(40);

fn config(section: &str) -> Config {
    Config::usual().with("operations", section)
}

/// Where the server says that it listens.
fn url(server: &Server) -> String {
    let mut url = None;
    wait::eventually(PATIENCE, "the message tells where", || {
        let printed = server.stdout();
        let mut lines = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let line = lines.find_map(|line| line.strip_prefix("Operations "));
        url = line.map(|line| line.trim().to_owned());
        url.is_some()
    });
    url.unwrap()
}

/// The status and body of an answer; 0 if there was none.
fn curl(server: &Server, args: &[&str], url: &str) -> (u16, String) {
    let output = Command::new("curl")
        .current_dir(server.folder())
        .args(["--silent", "--max-time", "30", "--write-out", "\n%{http_code}"])
        .args(args)
        .arg(url)
        .output()
        .expect("the tests need curl");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (body, status) = printed.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn get(server: &Server, path: &str) -> (u16, String) {
    curl(server, &[], &format!("{}{path}", url(server)))
}

fn ok() -> (u16, String) {
    (200, "ok\n".to_owned())
}

#[test]
fn health_and_metrics_are_told_and_nothing_else() {
    let server = Server::with(&config("{ address: '127.0.0.1:0' }"));
    for path in ["/live", "/ready", "/startup", "/ready?keystore=false", "/live?x"] {
        assert_eq!(get(&server, path), ok(), "{path}");
        let head = curl(&server, &["--head"], &format!("{}{path}", url(&server)));
        assert!(head.0 == 200 && head.1.contains("content-length: 3"), "{head:?}");
    }
    let (status, before) = get(&server, "/metrics");
    assert_eq!(status, 200);
    // All of them, for a client that names no format.
    for name in ["kes_api_response_time_bucket{api=\"/v1/ready\"", "kes_system_up_time "] {
        assert!(before.contains(name), "{name}: {before}");
    }
    let paths = [
        "/",
        "/live/",
        "//live",
        "/Live",
        "/version",
        "/v1/status",
        "/v1/key/list/*",
        "/v1/metrics",
    ];
    for path in paths {
        assert_eq!(get(&server, path), (404, "not found\n".to_owned()), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "KES"] {
        for path in ["/live", "/ready", "/metrics"] {
            let url = format!("{}{path}", url(&server));
            assert_eq!(curl(&server, &["--request", method], &url).0, 404, "{method} {path}");
        }
    }
    // The metrics of the API count nothing of it.
    let (_, after) = get(&server, "/metrics");
    let counted = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let of_requests = |line: &&str| {
            line.starts_with("kes_http")
                || line.starts_with("kes_api")
                || line.starts_with("kes_tls_conn")
        };
        lines.filter(of_requests).map(str::to_owned).collect()
    };
    assert_eq!(counted(&before), counted(&after));
    assert!(!server.stderr().contains("level=ERROR"), "{}", server.stderr());
}

#[test]
fn a_server_listens_for_probes_only_if_it_is_configured() {
    for section in ["", "~"] {
        let server = Server::with(&config(section));
        assert!(!server.stdout().contains("Operations"), "{}", server.stdout());
    }
}

#[test]
fn readiness_is_that_of_the_key_store_unless_it_is_left_out() {
    let server = Server::with(&config("{ address: '127.0.0.1:0' }"));
    assert_eq!(get(&server, "/ready"), ok());
    std::fs::rename(server.file("keys"), server.file("moved")).unwrap();
    wait::eventually(PATIENCE, "it is not ready", || {
        get(&server, "/ready") == (503, "the key store is not available\n".to_owned())
    });
    for path in ["/ready?keystore=false", "/ready?x=y&keystore=false", "/live", "/startup"] {
        assert_eq!(get(&server, path), ok(), "{path}");
    }
    assert_eq!(get(&server, "/ready?keystore=true").0, 503);
    std::fs::rename(server.file("moved"), server.file("keys")).unwrap();
    wait::eventually(PATIENCE, "it is ready", || get(&server, "/ready") == ok());
}

#[test]
fn tls_has_the_servers_certificate_and_asks_for_none() {
    let server = Server::with(&config("{ address: '127.0.0.1:0', tls: on }"));
    let url = url(&server);
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let live = format!("{url}/live");
    let trusting = ["--cacert", "server.crt"];
    assert_eq!(curl(&server, &trusting, &live), ok());
    assert_eq!(curl(&server, &[], &live).0, 0, "another certificate is not trusted");
    assert_eq!(curl(&server, &[], &live.replace("https", "http")).0, 0, "it speaks TLS alone");
    // A new certificate is served as soon as the API has it.
    let new = Credentials::new(&["127.0.0.1"]);
    std::fs::write(server.file("new.crt"), &new.certificate_pem).unwrap();
    assert_eq!(curl(&server, &["--cacert", "new.crt"], &live).0, 0);
    std::fs::write(server.file("server.key"), &new.key_pem).unwrap();
    std::fs::write(server.file("server.crt"), &new.certificate_pem).unwrap();
    wait::eventually(PATIENCE, "the new certificate is served", || {
        curl(&server, &["--cacert", "new.crt"], &live) == ok()
    });
}

#[test]
fn a_unix_socket_goes_with_the_server_and_replaces_one_that_was_left_behind() {
    let unix = config("{ address: 'unix:ops.sock' }");
    let mut server = Server::with(&unix);
    assert_eq!(url(&server), "unix:ops.sock");
    let ask = |server: &Server| curl(server, &["--unix-socket", "ops.sock"], "http://kes/ready");
    assert_eq!(ask(&server), ok());
    server.signal(Signal::KILL);
    server.wait_for_exit(PATIENCE);
    assert!(server.file("ops.sock").exists(), "a killed server leaves it behind");
    server.restart();
    assert_eq!(ask(&server), ok());
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit(PATIENCE).code(), Some(0), "{}", server.stderr());
    assert!(!server.file("ops.sock").exists());

    // What is not a socket that was left behind stays.
    let refused = Server::refused(&unix, |folder| {
        std::fs::write(folder.join("ops.sock"), "data").unwrap();
    });
    let told = "operations.address: cannot listen on unix:ops.sock: ";
    assert!(refused.status == Some(1) && refused.stderr.contains(told), "{}", refused.stderr);
    let mut other = None;
    let refused = Server::refused(&unix, |folder| {
        other = Some(UnixListener::bind(folder.join("ops.sock")).unwrap());
    });
    assert!(refused.stderr.contains("another program listens there"), "{}", refused.stderr);
}

#[test]
fn a_reload_starts_moves_and_stops_it() {
    let server = Server::start();
    let told = |server: &Server| -> Vec<String> {
        let begin = "operations: listening on ";
        let stderr = server.stderr();
        let lines = stderr.lines().filter_map(|line| line.split_once(begin));
        lines.map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect()
    };
    let live = |url: &str| curl(&server, &[], &format!("{url}/live"));
    server.reload_and_wait(&config("{ address: '127.0.0.1:0' }"));
    let first = told(&server)[0].clone();
    assert_eq!(live(&first), ok());
    // The same address: nothing is bound anew.
    server.reload_and_wait(&config("{ address: '127.0.0.1:0' }"));
    assert_eq!((told(&server).len(), live(&first)), (1, ok()));
    server.reload_and_wait(&config("{ address: '127.0.0.1:0', tls: on }"));
    let second = told(&server)[1].clone();
    assert_eq!(second, first.replace("http", "https"), "the same socket");
    assert_eq!(curl(&server, &["--cacert", "server.crt"], &format!("{second}/live")), ok());
    server.reload_and_wait(&config("{ address: 'unix:ops.sock' }"));
    assert_eq!(curl(&server, &["--unix-socket", "ops.sock"], "http://kes/live"), ok());
    wait::eventually(PATIENCE, "the old one is closed", || live(&first).0 == 0);
    // One that cannot be bound changes nothing.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{{ address: '{}' }}", taken.local_addr().unwrap());
    server.reload(&config(&taken).with("policy", "{}"));
    server.wait_for_stderr("operations.address: cannot listen on 127.0.0.1:");
    assert_eq!(curl(&server, &["--unix-socket", "ops.sock"], "http://kes/live"), ok());
    assert!(server.stderr().contains("reload failed; still using"), "{}", server.stderr());
    server.reload_and_wait(&Config::usual());
    wait::eventually(PATIENCE, "it is stopped", || !server.file("ops.sock").exists());
}

/// Clients that hold connections, and those that send too much, keep no probe away.
#[test]
fn no_client_keeps_a_probe_away() {
    let server = Server::with(&config("{ address: '127.0.0.1:0' }"));
    let address = url(&server).replace("http://", "");
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(&address).unwrap();
        // One that was displaced already may be reset.
        let _ = stream.write_all(b"GET /live HTTP/1.1\r\nhost: k");
        held.push(stream);
        assert_eq!(get(&server, "/live"), ok());
    }
    // A head that never ends ends the connection.
    let last = held.last_mut().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = last.read(&mut [0; 100]);
    assert!(matches!(ended, Ok(0)) || ended.is_err_and(|error| !is_timeout(&error)), "it stays");

    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\n").unwrap();
    let line = format!("x: {}\r\n", "y".repeat(4000));
    // Until it is refused: in the end a write fails.
    let sent = (0..10_000).take_while(|_| stream.write_all(line.as_bytes()).is_ok()).count();
    assert!(sent < 10_000, "40 MB of a head were taken");
    // One connection, one request: the second is not answered.
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET /live HTTP/1.1\r\nhost: k\r\n\r\n";
    stream.write_all(&[request.as_slice(), request].concat()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(get(&server, "/live"), ok());
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn a_server_that_ends_its_requests_is_alive_and_not_ready() {
    harness::run(async {
        let mut server = Server::with(&config("{ address: '127.0.0.1:0' }"));
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        drop(admin);
        let tls = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H1);
        let mut stream = tls_connect(&server.address, tls).await.unwrap();
        let head = "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 20\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        wait::eventually(PATIENCE, "the request is under way", || {
            get(&server, "/metrics").1.contains("kes_http_request_active 1")
        });
        server.signal(Signal::TERM);
        wait::eventually(PATIENCE, "it is not ready", || {
            get(&server, "/ready?keystore=false") == (503, "the server is stopping\n".to_owned())
        });
        assert_eq!(get(&server, "/live"), ok());
        stream.write_all(br#"{"plaintext":"aGk="}"#).await.unwrap();
        assert_eq!(server.wait_for_exit(PATIENCE).code(), Some(0), "{}", server.stderr());
    });
}
