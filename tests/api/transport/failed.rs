//! Handshakes that fail: what the client is told, and what the log tells.

use std::process::Command;
use std::time::Duration;

use kes_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{self, Config, Openssl, Protocol, Server, Tls, Who};

const PATIENCE: Duration = Duration::from_secs(20);

const MESSAGE: &str = "Client sent an HTTP request to an HTTPS server.";

/// The lines of the error log that hold a text.
fn lines(server: &Server, text: &str) -> Vec<String> {
    server.stderr().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// Waits for such a line, which has to have level, address and reason.
fn wait_for_line(server: &Server, text: &str) -> String {
    server.wait_for_stderr(text);
    let line = lines(server, text).remove(0);
    for part in ["level=WARN", "TLS handshake with 127.0.0.1 failed: ", "req.ip=127.0.0.1"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    line
}

async fn send(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(&server.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    let _ = read.expect("the server ends the connection");
    answer
}

#[test]
fn plain_http_is_answered_in_plain_http() {
    let server = Server::start();
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "20", "--write-out", " %{http_code}"])
            .args(args)
            .arg(format!("http://{}/v1/ready", server.address))
            .output()
            .expect("the tests need curl");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let expected = (Some(0), format!("{MESSAGE}\n 400"));
    for args in [
        &[][..],
        &["--http1.0"],
        &["--request", "POST", "--data", "{}"],
        &["--request", "PUT", "--data", &"x".repeat(100_000)],
        &["--request", "DELETE"],
    ] {
        assert_eq!(curl(args), expected, "{args:?}");
    }
    let (status, head) = curl(&["--head"]);
    assert!(status == Some(0) && head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(!head.contains(MESSAGE), "an answer to HEAD has no body: {head}");
    wait_for_line(&server, "the client sent an HTTP request to an HTTPS server");
}

#[test]
fn plain_http_that_comes_byte_by_byte_is_known_as_well() {
    harness::run(async {
        let server = Server::start();
        let mut socket = TcpStream::connect(&server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        for byte in b"GET /v1/ready HTTP/1.1\r\nhost: kes\r\n\r\n" {
            socket.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{MESSAGE}\n")), "{answer}");
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build names what it serves")]
fn each_kind_of_failure_is_a_line_with_its_reason() {
    harness::run(async {
        let server = Server::start();
        // No TLS.
        send(&server, b"SSH-2.0-OpenSSH_9.6\r\n").await;
        wait_for_line(&server, "what the client sent is not TLS");
        // A client that does not trust the server.
        let made = Openssl::new();
        made.leaf("a", "P-256");
        for tls in Tls::ALL {
            let client = Some(("a.crt", "a.key"));
            let answer = made.curl(&server, "/version", client, tls, &["--cacert", "a.crt"]);
            assert_eq!(answer.status, 0);
        }
        wait_for_line(&server, "the client does not accept the server's certificate");
        // A client without a certificate.
        for tls in Tls::ALL {
            assert_eq!(made.curl(&server, "/version", None, tls, &[]).status, 0);
        }
        wait_for_line(&server, "the client sent no certificate");
        // Old TLS, and a cipher that is not served.
        let old = "-tls1_1 -cipher ALL@SECLEVEL=0 -cert a.crt -key a.key";
        made.s_client(&server, "/version", old);
        wait_for_line(&server, "the client offers neither TLS 1.2 nor TLS 1.3");
        let cbc = "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256 -cert a.crt -key a.key";
        made.s_client(&server, "/version", cbc);
        wait_for_line(&server, "the client offers no cipher suite that is served");
        made.s_client(&server, "/version", "-tls1_3 -curves P-521 -cert a.crt -key a.key");
        wait_for_line(&server, "the client offers no key exchange that is served");
        made.s_client(&server, "/version", "-alpn spdy/3 -cert a.crt -key a.key");
        wait_for_line(&server, "the client offers neither HTTP/2 nor HTTP/1.1");
        // One that says nothing.
        let silent = TcpStream::connect(&server.address).await.unwrap();
        wait_for_line(&server, "it was not finished within 5 s");
        drop(silent);
    });
}

/// From an address that is no load balancer's.
#[test]
fn a_header_of_the_proxy_protocol_is_told_from_other_bytes() {
    harness::run(async {
        let server = Server::start();
        send(&server, b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n").await;
        wait_for_line(&server, "failed: the client sent a PROXY protocol header, which is read");
    });
}

#[test]
fn who_only_goes_away_is_not_told() {
    harness::run(async {
        let server = Server::start();
        for _ in 0..20 {
            // As a load balancer checks the port.
            drop(TcpStream::connect(&server.address).await.unwrap());
            let reset = TcpStream::connect(&server.address).await.unwrap();
            reset.set_zero_linger().unwrap();
            drop(reset);
            // In the middle of a client hello.
            let mut hello = TcpStream::connect(&server.address).await.unwrap();
            hello.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        }
        // What comes after them is told after them.
        send(&server, b"SSH-2.0-OpenSSH_9.6\r\n").await;
        wait_for_line(&server, "not TLS");
        assert_eq!(lines(&server, "handshake").len(), 1, "{}", server.stderr());
        let metrics = harness::Exposition::from(&server).await;
        assert_eq!(metrics.value("kes_tls_handshake_errors"), 1.0);
    });
}

#[test]
fn many_of_a_kind_become_one_line_with_their_number() {
    harness::run(async {
        let server = Server::start();
        for _ in 0..50 {
            send(&server, b"GET / HTTP/1.1\r\n\r\n").await;
        }
        let told = || {
            // How many failures all lines together tell of.
            let number = |line: &String| match line.split_once(" more time") {
                Some((before, _)) => before.rsplit_once('(').unwrap().1.parse().unwrap(),
                None => 1_u32,
            };
            lines(&server, "HTTP request").iter().map(number).sum::<u32>()
        };
        wait::eventually(PATIENCE, "all are told", || told() == 50);
        let lines = lines(&server, "HTTP request");
        assert!(lines.len() <= 5, "{lines:#?}");
    });
}

#[test]
fn what_was_collected_is_told_when_the_server_stops() {
    harness::run(async {
        let mut server = Server::start();
        for _ in 0..5 {
            send(&server, b"GET / HTTP/1.1\r\n\r\n").await;
        }
        server.signal(rustix::process::Signal::TERM);
        wait::eventually(PATIENCE, "the server ends", || !server.process().is_running());
        let last = lines(&server, "HTTP request").pop().unwrap();
        assert!(last.contains(" more time"), "{last}");
    });
}

#[test]
fn a_refused_certificate_is_told_with_subject_and_identity_and_forges_nothing() {
    let made = Openssl::new();
    made.key("ca", "P-256");
    made.certificate("ca", "-addext keyUsage=keyCertSign");
    let ca = made.read("ca.crt");
    let tls = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt }";
    let server = Server::prepared(&Config::usual().with("tls", tls), |folder| {
        std::fs::write(folder.join("ca.crt"), ca).unwrap();
    });
    made.leaf("stranger", "P-256");
    made.issue("ca", "expired", -1, "basicConstraints=critical,CA:FALSE\n");
    // A subject that would be two lines and a field, and one without an end.
    made.key("forged", "P-256");
    let config = "[req]\nprompt=no\ndistinguished_name=dn\nx509_extensions=e\n\
                  [e]\nbasicConstraints=CA:FALSE\n[dn]\nCN=a\\nlevel=ERROR msg=b\n";
    made.write("forged.cnf", config);
    made.run("req -x509 -config forged.cnf -key forged.key -days 9 -utf8 -out forged.crt");
    made.key("long", "P-256");
    let many: String = (0..100).map(|number| format!("{number}.OU={}\n", "x".repeat(60))).collect();
    made.write("long.cnf", config.replace("CN=a\\nlevel=ERROR msg=b\n", &many));
    made.run("req -x509 -config long.cnf -key long.key -days 9 -out long.crt");

    for tls in Tls::ALL {
        for name in ["stranger", "expired", "forged", "long"] {
            let client = (format!("{name}.crt"), format!("{name}.key"));
            let answer = made.curl(&server, "/version", Some((&client.0, &client.1)), tls, &[]);
            assert_eq!(answer.status, 0, "{name} {tls:?}");
        }
    }
    for (name, reason) in [
        ("stranger", "the client's certificate is not signed by a trusted CA; `tls.ca` names"),
        ("expired", "the client's certificate expired on 20"),
        ("forged", "not signed by a trusted CA"),
        ("long", "not signed by a trusted CA"),
    ] {
        let identity = format!("req.identity={}", made.identity(&format!("{name}.crt")));
        server.wait_for_stderr(&identity);
        let line = lines(&server, &identity).remove(0);
        assert!(line.contains(reason), "{line}");
        assert!(line.len() < 1000, "{} bytes: {line}", line.len());
    }
    let stderr = server.stderr();
    assert!(stderr.contains("tls.subject=\"CN=stranger\""), "{stderr}");
    assert!(stderr.contains(r#"tls.subject="CN=a\nlevel=ERROR msg=b""#), "{stderr}");
    assert!(stderr.lines().all(|line| line.starts_with("time=")), "{stderr}");
    assert!(stderr.lines().all(|line| !line.contains(" level=ERROR ")), "{stderr}");
}

#[test]
fn a_refusal_tells_the_log_that_the_certificate_has_expired() {
    let made = Openssl::new();
    made.key("ca", "P-256");
    made.certificate("ca", "");
    made.issue("ca", "expired", -1, "basicConstraints=critical,CA:FALSE\n");
    let server = Server::start();
    let client = Some(("expired.crt", "expired.key"));
    assert_eq!(made.curl(&server, "/v1/status", client, Tls::V1_3, &[]).status, 403);
    harness::run(async {
        let mut other = server.client(Who::Other, Protocol::H1).await;
        assert_eq!(other.send("GET", "/v1/api", "").await.status, 403);
    });
    let audited = |text: &str| {
        wait::eventually(PATIENCE, text, || server.stdout().contains(text));
        server.stdout().lines().find(|line| line.contains(text)).unwrap().to_owned()
    };
    let line = audited("req.path=/v1/status");
    assert!(line.contains("the client's certificate expired on 20"), "{line}");
    assert!(line.contains(&format!("req.identity={}", made.identity("expired.crt"))), "{line}");
    assert!(!audited("req.path=/v1/api").contains("expired"));
}
