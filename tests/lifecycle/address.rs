//! Where the server listens, and a reload that says otherwise.

use std::net::TcpListener;
use std::time::Duration;

use kes_testkit::wait;

use crate::harness::{self, Client, Config, Openssl, Protocol, Server, Tls, Who};

/// Whether a server takes connections at an address, as its admin.
async fn serves(server: &Server, address: &str) -> bool {
    let (trusted, admin) = (&server.tls.certificate, Some(&server.admin));
    match Client::connect(address, trusted, admin, Protocol::H1).await {
        Ok(mut client) => client.send("GET", "/version", "").await.status == 200,
        Err(_) => false,
    }
}

/// A port that is free now. Somebody else may take it: what is then started tries another.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A configuration that a running server can move to, at a port that was free.
fn elsewhere(host: &str) -> (Config, u16) {
    let port = free_port();
    (Config::usual().with("address", &format!("\"{host}:{port}\"")), port)
}

fn port(server: &Server) -> u16 {
    server.address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[test]
fn all_interfaces_are_those_of_ipv6_as_well_and_the_message_names_them() {
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let made = Openssl::new();
    made.leaf("a", "P-256");
    for address in ["0.0.0.0:0", "\":0\"", "\"[::]:0\""] {
        let server = Server::with(&Config::usual().with("address", address));
        let port = port(&server);
        for (host, listens) in [("127.0.0.1", true), ("[::1]", has_ipv6)] {
            let url = format!("https://{host}:{port}");
            let resolve = ["--insecure", &format!("{url}/version"), "--output", "ready"];
            let client = Some(("a.crt", "a.key"));
            let answer = made.curl(&server, "/version", client, Tls::V1_3, &resolve);
            assert_eq!(answer.error.is_empty(), listens, "{address} {host}: {answer:?}");
            assert_eq!(server.stdout().contains(&url), listens, "{address}: {}", server.stdout());
        }
    }
}

#[test]
fn a_reload_moves_the_server_and_drops_no_connection() {
    harness::run(async {
        let server = Server::start();
        let mut standing = server.client(Who::Admin, Protocol::H2).await;
        let mut old = server.address.clone();
        for _ in 0..3 {
            // Until nobody else has the port.
            let port = loop {
                let (config, port) = elsewhere("127.0.0.1");
                let failures = server.stderr().matches("reload failed").count();
                let moves = server.stderr().matches("listening on https://").count();
                server.reload(&config);
                wait::eventually(Duration::from_secs(30), "a reload", || {
                    server.stderr().matches("reload failed").count() > failures
                        || server.stderr().matches("listening on https://").count() > moves
                });
                if server.stderr().matches("listening on https://").count() > moves {
                    break port;
                }
            };
            let new = format!("127.0.0.1:{port}");
            assert!(serves(&server, &new).await, "{}", server.stderr());
            wait::eventually_async(Duration::from_secs(10), "the old port is closed", || async {
                tokio::net::TcpStream::connect(&old).await.is_err()
            })
            .await;
            assert_eq!(standing.send("GET", "/version", "").await.status, 200);
            old = new;
        }
    });
}

/// The new address overlaps with the old one, which the server itself holds.
#[test]
fn a_reload_may_change_the_interfaces_and_keep_the_port() {
    harness::run(async {
        let server = Server::start();
        let port = port(&server);
        let mut standing = server.client(Who::Admin, Protocol::H2).await;
        for host in ["0.0.0.0", "127.0.0.1", "localhost", ""] {
            let address = format!("\"{host}:{port}\"");
            server.reload_and_wait(&Config::usual().with("address", &address));
            assert!(serves(&server, &server.address).await, "{host}: {}", server.stderr());
        }
        assert_eq!(server.stderr().matches("listening on https://").count(), 4);
        assert_eq!(standing.send("GET", "/version", "").await.status, 200);
    });
}

#[test]
fn an_address_that_is_taken_fails_the_whole_reload() {
    harness::run(async {
        let server = Server::start();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let admin = "{ identity: \"${OTHER}\" }";
        let config = Config::usual().with("address", &address).with("admin", admin);
        let line = config.text().lines().position(|line| line.starts_with("address:")).unwrap() + 1;
        server.reload(&config);
        let told = format!("config.yml:{line}: address: cannot listen on {address}");
        server.wait_for_stderr(&told);
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains(&told)).unwrap();
        assert!(line.contains("reload failed; still using the previous configuration"), "{line}");
        // The admin is who it was.
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(client.send("GET", "/v1/identity/list/", "").await.status, 200);
    });
}

#[test]
fn the_address_of_the_command_line_wins_at_a_reload_as_well() {
    harness::run(async {
        let (elsewhere, port) = elsewhere("127.0.0.1");
        let server = Server::with(&elsewhere.arg("--addr").arg("127.0.0.1:0"));
        assert_ne!(server.address, format!("127.0.0.1:{port}"));
        let (elsewhere, _) = self::elsewhere("127.0.0.1");
        server.reload_and_wait(&elsewhere);
        assert!(!server.stderr().contains("listening on"), "{}", server.stderr());
        assert!(serves(&server, &server.address).await);
    });
}
