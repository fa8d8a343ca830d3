//! Load balancers that pass TLS through and tell the address of their client in a header of the
//! PROXY protocol (contract `config.md`, PROXY protocol).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use kes_testkit::{Haproxy, Nginx, wait};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::docs;
use crate::harness::{
    self, Client, Config, Exposition, Protocol, Reply, Server, Who, tls_config, tls_over,
};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where load balancers and others connect from. All of 127.0.0.0/8 is this machine.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Addresses that a header may name: nobody has them (RFC 5737).
const CLIENT: &str = "203.0.113.9";

fn config() -> Config {
    Config::usual()
        .with("log", "{ audit: debug, error: debug }")
        .with("proxy_protocol", "{ from: [127.0.0.2, 192.0.2.0/24] }")
}

fn v1(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.2 56324 7373\r\n").into_bytes()
}

fn v2(command: u8, client: &str) -> Vec<u8> {
    let client: Ipv4Addr = client.parse().unwrap();
    let start = [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, 0x11, 0, 12][..]].concat();
    [&start, &client.octets()[..], &[192, 0, 2, 2, 0xdc, 4, 28, 205]].concat()
}

/// Connects from an address and sends a header.
async fn connect(server: &Server, from: Ipv4Addr, header: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(server.address.parse().unwrap()).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

/// The same, and does the TLS handshake as somebody.
async fn client(
    server: &Server,
    from: Ipv4Addr,
    header: &[u8],
    protocol: Protocol,
) -> Result<Client, String> {
    let tls = tls_config(&server.tls.certificate, server.credentials(Who::Minio), protocol);
    let stream = connect(server, from, header).await;
    let tls = tls_over(stream, tls).await.map_err(|error| error.to_string())?;
    Client::over(tls, protocol, &server.address).await
}

async fn get(client: &mut Client, path: &str) -> Reply {
    client.send("GET", path, "").await
}

/// Waits for the audit line of a path, and gives the address in it.
fn audited(server: &Server, path: &str) -> String {
    let field = format!("req.path={path} ");
    wait::eventually(PATIENCE, "the request is audited", || server.stdout().contains(&field));
    let log = server.stdout();
    let line = log.lines().find(|line| line.contains(&field)).unwrap();
    let (_, rest) = line.split_once("req.ip=").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

async fn errors(server: &Server) -> f64 {
    let mut admin = client(server, BALANCER, &v1(CLIENT), Protocol::H1).await.unwrap();
    Exposition::of(&mut admin).await.value("kes_tls_proxy_header_errors")
}

#[test]
fn the_address_of_a_header_is_that_of_the_log() {
    harness::run(async {
        let server = Server::with(&config());
        let ipv6 = b"PROXY TCP6 2001:db8::9 2001:db8::2 56324 7373\r\n".to_vec();
        let mapped = b"PROXY TCP6 ::ffff:203.0.113.8 ::ffff:192.0.2.2 56324 7373\r\n".to_vec();
        for (number, (header, told)) in [
            (v1(CLIENT), CLIENT),
            (v2(1, CLIENT), CLIENT),
            (ipv6, "2001:db8::9"),
            (mapped, "203.0.113.8"),
            // The balancer speaks for itself, or does not know.
            (v2(0, CLIENT), "127.0.0.2"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.2"),
        ]
        .into_iter()
        .enumerate()
        {
            for protocol in [Protocol::H1, Protocol::H2] {
                let mut client = client(&server, BALANCER, &header, protocol).await.unwrap();
                let path = format!("/v1/key/list/{number}{protocol:?}");
                assert_eq!(get(&mut client, &path).await.status, 200);
                assert_eq!(audited(&server, &path), told, "{}", header.escape_ascii());
            }
        }
        // Piece by piece, and with the first bytes of TLS behind it.
        for header in [v1(CLIENT), v2(1, CLIENT)] {
            let mut stream = connect(&server, BALANCER, b"").await;
            stream.set_nodelay(true).unwrap();
            for byte in header {
                stream.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            let who = server.credentials(Who::Minio);
            let tls = tls_config(&server.tls.certificate, who, Protocol::H1);
            let tls = tls_over(stream, tls).await.unwrap();
            let mut client = Client::over(tls, Protocol::H1, &server.address).await.unwrap();
            assert_eq!(get(&mut client, "/v1/status").await.status, 200);
        }
        // A handshake that fails is that of the client.
        let mut stream = connect(&server, BALANCER, &v1("203.0.113.7")).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        server.wait_for_stderr("TLS handshake with 203.0.113.7 failed");
        assert_eq!(errors(&server).await, 0.0);
    });
}

#[test]
fn a_load_balancer_that_sends_no_header_is_refused() {
    harness::run(async {
        let server = Server::with(&config());
        let begin = "connection from 127.0.0.2 refused: ";
        for (bytes, told, count) in [
            (&b""[..], "the connection does not begin with a PROXY protocol header", 1.0),
            (b"PROXY TCP4 1 2 3 4\r\n", "its PROXY protocol header has an invalid address", 2.0),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
                "its PROXY protocol header is longer than 4112 bytes",
                3.0,
            ),
        ] {
            // Without a header the first bytes are those of TLS.
            assert!(client(&server, BALANCER, bytes, Protocol::H1).await.is_err(), "{told}");
            server.wait_for_stderr(&format!("{begin}{told}; connections of addresses that"));
            assert_eq!(errors(&server).await, count);
        }
        // A header that does not come to its end holds nothing for longer than a handshake may.
        let mut silent = connect(&server, BALANCER, b"PROXY TCP4 ").await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await.unwrap();
        assert_eq!(rest, b"");
        server.wait_for_stderr(&format!("{begin}no PROXY protocol header within 5 s"));
        // A check whether the port is open is none of them.
        drop(connect(&server, BALANCER, b"").await);
        assert_eq!(errors(&server).await, 4.0);
        assert_eq!(server.stderr().matches(begin).count(), 4, "{}", server.stderr());
    });
}

/// Whatever it is, also a second one behind that of a load balancer.
#[test]
fn a_forged_header_changes_no_address() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = [config(), Config::usual().with("log", "{ audit: debug, error: debug }")]
        .map(|config| Server::with(&config));
    let address = (0_u8..=255).prop_map(|last| format!("203.0.113.{last}"));
    let header = (address, any::<bool>(), 0_u8..2).prop_map(|(client, binary, command)| {
        if binary { v2(command, &client) } else { v1(&client) }
    });
    let header = (header, prop::option::of((any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(mut header, change)| {
            // One that is damaged as well.
            if let Some((at, byte)) = change {
                let at = at.index(header.len());
                header[at] = byte;
            }
            header
        },
    );
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    runner
        .run(&header, |header| {
            runtime.block_on(async {
                for server in &servers {
                    for protocol in [Protocol::H1, Protocol::H2] {
                        let forged = client(server, OTHER, &header, protocol).await;
                        prop_assert!(forged.is_err(), "{}", header.escape_ascii());
                    }
                }
                let twice = [v1("127.0.0.2"), header].concat();
                let forged = client(&servers[0], BALANCER, &twice, Protocol::H1).await;
                prop_assert!(forged.is_err());
                Ok(())
            })
        })
        .unwrap();
    runtime.block_on(async {
        for server in &servers {
            // Without a header, others are served as ever.
            let mut client = client(server, OTHER, b"", Protocol::H2).await.unwrap();
            assert_eq!(get(&mut client, "/v1/key/list/own").await.status, 200);
            assert_eq!(audited(server, "/v1/key/list/own"), "127.0.0.3");
            server.wait_for_stderr("TLS handshake with 127.0.0.3 failed");
            for log in [server.stdout(), server.stderr()] {
                assert!(!log.contains("203.0.113."), "{log}");
            }
        }
    });
}

#[test]
fn a_reload_says_who_is_a_load_balancer() {
    harness::run(async {
        let server = Server::with(&config());
        let mut standing = client(&server, BALANCER, &v1(CLIENT), Protocol::H2).await.unwrap();
        server.reload_and_wait(&config().with("proxy_protocol", "{ from: [127.0.0.3] }"));
        server.wait_for_stderr("reload: proxy_protocol.from 1 added (127.0.0.3), 2 removed");
        assert!(client(&server, BALANCER, &v1(CLIENT), Protocol::H1).await.is_err());
        assert!(client(&server, OTHER, &v1(CLIENT), Protocol::H1).await.is_ok());
        // What stands keeps its address.
        assert_eq!(get(&mut standing, "/v1/key/list/standing").await.status, 200);
        assert_eq!(audited(&server, "/v1/key/list/standing"), CLIENT);
    });
}

/// With the configurations of the documentation.
#[test]
fn clients_of_load_balancers_are_named_by_their_own_addresses() {
    harness::run(async {
        // They connect from 127.0.0.1.
        let config = config().with("proxy_protocol", "{ from: [127.0.0.1] }");
        for version in ["send-proxy-v2 ", "send-proxy "] {
            let server = Server::with(&config);
            let haproxy = Haproxy::with(|address| {
                let printed = docs::balancer("haproxy");
                let text = here(printed, "bind :7373", &format!("bind {address}"), &server);
                assert!(text.contains("send-proxy-v2 "));
                text.replace("send-proxy-v2 ", version)
            });
            // Each health check is a connection of its own.
            wait::eventually(PATIENCE, "the servers are up", || {
                haproxy.servers().iter().all(|server| server.is_up)
            });
            assert_named(&server, haproxy.address()).await;
            assert!(haproxy.servers().iter().all(|server| server.is_up), "{version}");
        }
        let server = Server::with(&config);
        let nginx = Nginx::with_stream(|address| {
            let printed = docs::balancer("nginx");
            here(printed, "listen 7373", &format!("listen {address}"), &server)
        });
        assert_named(&server, nginx.address()).await;
    });
}

/// A configuration of the documentation, with other addresses.
fn here(mut text: String, listens: &str, with: &str, server: &Server) -> String {
    let servers = ["10.0.0.1:7373", "10.0.0.2:7373"].map(|printed| (printed, &*server.address));
    for (printed, here) in [(listens, with)].into_iter().chain(servers) {
        assert!(text.contains(printed), "'{printed}' stands in the documentation");
        text = text.replace(printed, here);
    }
    text
}

/// Asserts that clients of a load balancer keep identity and address, and that it causes no fault.
async fn assert_named(server: &Server, balancer: SocketAddr) {
    for (last, protocol) in [(40, Protocol::H1), (41, Protocol::H2)] {
        let from = Ipv4Addr::new(127, 0, 0, last);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let tls = tls_config(&server.tls.certificate, server.credentials(Who::Minio), protocol);
        let tls = tls_over(socket.connect(balancer).await.unwrap(), tls).await.unwrap();
        let mut client = Client::over(tls, protocol, &server.address).await.unwrap();
        let own = get(&mut client, "/v1/identity/self/describe").await.json();
        assert_eq!(own["identity"], server.minio.identity, "that of its own certificate");
        let path = format!("/v1/key/list/of-{last}");
        assert_eq!(get(&mut client, &path).await.status, 200);
        assert_eq!(audited(server, &path), from.to_string());
    }
    for fault in ["refused", "handshake"] {
        assert!(!server.stderr().contains(fault), "{}", server.stderr());
    }
}
