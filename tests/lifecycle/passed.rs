use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use kes_testkit::{Port, wait};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{PATIENCE, assert_ends};
use crate::harness::{self, Client, Config, Protocol, Refused, Server, tls_config, tls_connect};

const GET: &[u8] = b"GET /version HTTP/1.1\r\nhost: kes\r\nconnection: close\r\n\r\n";

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn serves(server: &Server, address: &str) -> bool {
    let (trusted, admin) = (&server.tls.certificate, Some(&server.admin));
    let client = Client::connect(address, trusted, admin, Protocol::H2).await;
    let Ok(mut client) = client else { return false };
    client.send("GET", "/version", "").await.status == 200
}

#[test]
fn passed_sockets_take_the_place_of_the_address() {
    harness::run(async {
        let (first, first_address) = listener();
        let (second, second_address) = listener();
        // The address is that of another program, and is not even tried.
        let (_taken, taken) = listener();
        let config = Config::usual().with("address", &taken);
        let server = Server::with(&config.clone().passing(first).passing(second));
        let told = format!(
            "level=INFO msg=\"listening on https://{first_address} and https://{second_address}, \
             which the service manager has opened; the address {taken} is not used\""
        );
        server.wait_for_stderr(&told);
        assert_eq!(server.address, first_address);
        assert!(server.stdout().contains(&format!("https://{second_address}\n")));
        for address in [&first_address, &second_address] {
            assert!(serves(&server, address).await, "{address}");
        }
        // A reload keeps them, whatever it says of the address.
        let (_free, free) = listener();
        server.reload_and_wait(&Config::usual().with("address", &free));
        for address in [&first_address, &second_address] {
            assert!(serves(&server, address).await, "{address}");
        }
        assert_eq!(server.stderr().matches("listening on").count(), 1, "{}", server.stderr());
    });
}

/// As systemd does it: it holds the socket, and the server comes and goes.
#[test]
fn a_client_that_connects_during_a_restart_waits_for_the_new_server() {
    harness::run(async {
        let (socket, address) = listener();
        let mut server = Server::with(&Config::usual().passing(socket));
        assert!(serves(&server, &address).await);
        for signal in [Signal::TERM, Signal::KILL] {
            server.signal(signal);
            server.wait_for_exit(PATIENCE);
            let mut clients = Vec::new();
            for _ in 0..20 {
                let config = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H1);
                let address = address.clone();
                let connected = std::net::TcpStream::connect(&address);
                assert!(connected.is_ok(), "it is not refused: {connected:?}");
                clients.push(tokio::spawn(async move {
                    let mut stream = tls_connect(&address, config).await.unwrap();
                    stream.write_all(GET).await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    answer
                }));
            }
            server.restart();
            for client in clients {
                let answer = client.await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}: {}", server.stderr());
            }
        }
    });
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    harness::run(async {
        let (socket, address) = listener();
        let server = Server::with(&Config::usual().passing(socket).env("LISTEN_PID", "1"));
        assert_ne!(server.address, address);
        assert!(serves(&server, &server.address).await);
        assert!(!server.stderr().contains("listening on"), "{}", server.stderr());
    });
}

#[test]
fn what_cannot_be_listened_on_is_refused_with_its_name() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (listening, address) = listener();
    let connected = std::net::TcpStream::connect(address).unwrap();
    let (file, _) = (tempfile::tempfile().unwrap(), listening);
    for (config, fault) in [
        (Config::usual().passing(udp), "fd 3 is not a valid tcp socket"),
        (Config::usual().passing(file), "fd 3 is not a socket"),
        (Config::usual().passing(connected), "it does not listen; write Accept=no"),
    ] {
        let config = config.env("LISTEN_FDNAMES", "kes.socket");
        let Refused { status, stderr, .. } = Server::refused(&config, |_| {});
        assert_eq!(status, Some(1), "{stderr}");
        let begin = "Error: file descriptor 3 ('kes.socket') that the service manager passed";
        assert!(stderr.contains(begin) && stderr.contains(fault), "{stderr}");
    }
}

/// The real thing, where it is installed. It opens the port, and starts the server in its own
/// process when the first client connects, which is served. Elsewhere a shell passes the socket.
#[test]
fn the_first_client_of_an_activated_server_is_served() {
    const ACTIVATE: &str = "systemd-socket-activate";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(ACTIVATE).is_file());
    let port = Port::free();
    let address = port.address().to_string();
    let config = if is_there {
        let variables = ["ADMIN", "MINIO", "OTHER"].into_iter().flat_map(|name| ["-E", name]);
        let words: Vec<&str> = [ACTIVATE, "-l", &address].into_iter().chain(variables).collect();
        Config::usual().under(&words)
    } else {
        Config::usual().passing(TcpListener::bind(&address).unwrap())
    };
    let first = std::thread::spawn({
        let address = address.clone();
        move || {
            let mut connected = None;
            wait::eventually(PATIENCE, "the port is open", || {
                connected = std::net::TcpStream::connect(&address).ok();
                connected.is_some()
            });
            connected
        }
    });
    let mut server = Server::with(&config);
    assert_eq!(server.address, address);
    server.wait_for_stderr("which the service manager has opened");
    let first = first.join().unwrap().unwrap();
    harness::run(async {
        assert!(serves(&server, &address).await);
        // The first one was accepted: plain HTTP is answered in plain HTTP.
        use std::io::{Read as _, Write as _};
        let mut first = first;
        first.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        first.write_all(b"GET /version HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        first.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.") && answer.contains("HTTPS"), "{answer}");
    });
    server.signal(Signal::TERM);
    assert_ends(&mut server);
}
