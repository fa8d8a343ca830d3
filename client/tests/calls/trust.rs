use std::time::Duration;

use crate::stub::{Answer, Options, Stub, Then, answer, client, client_of};
use kes_client::tls::{Trust, config, identity_from_files, identity_of};
use kes_client::{ApiKey, Error, SelfSigned, Usage, certificate_to_pem};
use kes_testkit::Openssl;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const VERSION: &str = r#"{"version":"1","commit":"c"}"#;

async fn ask(stub: &Stub, trust: Trust) -> Result<(), String> {
    let client = client(&stub.endpoint(), config(&trust, None).expect("a configuration"));
    match client.version().await {
        Ok(_) => Ok(()),
        Err(error) => {
            assert!(matches!(error, Error::Tls { .. }), "{error:?}");
            Err(error.to_string())
        }
    }
}

fn version(_: &crate::stub::Request) -> Answer {
    Answer(answer("200 OK", "application/json", VERSION), Then::Serve)
}

#[tokio::test]
async fn a_server_is_trusted_by_its_ca_or_not_at_all() {
    let stub = Stub::new(version).await;
    let other = Stub::new(version).await;
    ask(&stub, Trust::Only(stub.ca())).await.unwrap();
    ask(&stub, Trust::SystemAnd(stub.ca())).await.unwrap();
    ask(&stub, Trust::DangerAny).await.unwrap();

    let folder = TempDir::new().unwrap();
    std::fs::copy(stub.ca(), folder.path().join("one.pem")).unwrap();
    std::fs::copy(other.ca(), folder.path().join("two.pem")).unwrap();
    ask(&stub, Trust::Only(folder.path().to_owned())).await.unwrap();

    let key = ApiKey::generate().unwrap();
    let stranger = folder.path().join("stranger.pem");
    std::fs::write(&stranger, certificate_to_pem(&key.certificate().unwrap().0)).unwrap();
    for (ca, reason) in [
        (stranger, "it is not signed by a trusted CA"),
        (other.ca(), "its issuer has the name of a trusted CA, but another key"),
    ] {
        let error = ask(&stub, Trust::Only(ca)).await.unwrap_err();
        let start = format!("the certificate of {} is not trusted: {reason}", stub.endpoint());
        assert!(error.starts_with(&start), "{error}");
        assert!(error.contains("KES_CAPATH") && error.contains("-k"), "{error}");
    }
    assert_eq!(stub.lines().len(), 4, "a request went to a server that is not trusted");

    let error = config(&Trust::Only(folder.path().join("missing")), None).unwrap_err().to_string();
    assert!(error.contains("missing: cannot be read"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_host_is_told() {
    let options = Options { dns: "kes.example", ..Options::default() };
    let stub = Stub::with(options, version).await;
    let error = ask(&stub, Trust::Only(stub.ca())).await.unwrap_err();
    assert!(error.contains("it is for kes.example, not for 127.0.0.1;"), "{error}");
    ask(&stub, Trust::DangerAny).await.unwrap();
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let key = ApiKey::generate().unwrap();
    let identity = identity_of(&key).unwrap();
    let options = Options { client_ca: Some(identity.cert[0].clone()), ..Options::default() };
    let stub = Stub::with(options, version).await;
    let trust = Trust::Only(stub.ca());
    let mine = client(&stub.endpoint(), config(&trust, Some(identity)).unwrap());
    assert_eq!(mine.version().await.unwrap().commit, "c");

    let error = ask(&stub, trust.clone()).await.unwrap_err();
    let expected = format!("{} requires a client certificate", stub.endpoint());
    assert!(error.starts_with(&expected), "{error}");

    let stranger = identity_of(&ApiKey::generate().unwrap()).unwrap();
    let stranger = client(&stub.endpoint(), config(&trust, Some(stranger)).unwrap());
    let error = stranger.version().await.unwrap_err().to_string();
    let expected = format!("{} refuses the client certificate", stub.endpoint());
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn the_certificate_may_come_from_files() {
    let certificate = SelfSigned {
        subject: "me",
        dns: &[],
        ips: &[],
        validity: Duration::from_hours(720),
        usage: Usage::ServerAndClient,
    };
    let (certificate, key) = certificate.generate().unwrap();
    let folder = TempDir::new().unwrap();
    let (crt, pem) = (folder.path().join("my.crt"), folder.path().join("my.key"));
    std::fs::write(&crt, certificate_to_pem(&certificate)).unwrap();
    std::fs::write(&pem, key.to_pem(Some("password")).unwrap().as_bytes()).unwrap();

    let error = identity_from_files(&crt, &pem, None).unwrap_err().to_string();
    assert!(error.contains("my.key: the private key is encrypted, and no password"), "{error}");
    let identity = identity_from_files(&crt, &pem, Some("password")).unwrap();

    let options = Options { client_ca: Some(certificate), ..Options::default() };
    let stub = Stub::with(options, version).await;
    let tls = config(&Trust::Only(stub.ca()), Some(identity)).unwrap();
    client(&stub.endpoint(), tls).version().await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut hello = [0; 16];
        tcp.read_exact(&mut hello).await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let error = client_of(std::slice::from_ref(&endpoint)).version().await.unwrap_err();
    assert_eq!(error.to_string(), format!("{endpoint} does not speak TLS"));
    server.await.unwrap();
}

/// openssl is the judge of what a certificate says.
#[test]
fn certificates_say_what_they_should() {
    let openssl = Openssl::new();
    let show = |name: &str, pem: &str| {
        openssl.write(name, pem);
        let text = openssl.run(&format!("x509 -noout -text -in {name}"));
        // `CN = name` of OpenSSL 1.1.1 and 3.0 is `CN=name` of those before and after.
        String::from_utf8(text).unwrap().replace(" = ", "=")
    };

    let addresses = ["192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let (certificate, _) = kes_client::dev_server(&addresses).unwrap();
    let text = show("dev.crt", &certificate_to_pem(&certificate));
    for expected in [
        "CN=localhost",
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1",
        "IP Address:192.0.2.7",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "prime256v1",
    ] {
        assert!(text.contains(expected), "{expected} is missing: {text}");
    }
    assert!(!text.contains("CA:TRUE"));
    // A server's file is its own CA for who trusts it by name.
    openssl.run("verify -purpose sslserver -CAfile dev.crt dev.crt");

    let key = ApiKey::generate().unwrap();
    let (certificate, _) = key.certificate().unwrap();
    let text = show("key.crt", &certificate_to_pem(&certificate));
    assert!(text.contains(&format!("CN={}", key.identity())), "{text}");
    assert!(text.contains("TLS Web Client Authentication"), "{text}");
    assert!(!text.contains("TLS Web Server Authentication") && !text.contains("CA:TRUE"), "{text}");
    assert!(text.contains("ED25519"), "{text}");
    let (again, _) = key.certificate().unwrap();
    assert_ne!(certificate, again, "the serial number is random");
}

#[test]
fn a_certificate_that_cannot_be_is_refused() {
    let day = Duration::from_hours(24);
    for (dns, validity, text) in [
        ("bücher.example", day, "'bücher.example' is not a DNS name"),
        ("", day, "'' is not a DNS name"),
        ("a b", day, "'a b' is not a DNS name"),
        ("a", Duration::ZERO, "cannot be valid for 0 seconds"),
        ("a", Duration::from_secs(u64::MAX), "cannot be valid for"),
        ("a", 365 * 8000 * day, "cannot be valid for"),
    ] {
        let certificate = SelfSigned {
            subject: "x",
            dns: &[dns.to_owned()],
            ips: &[],
            validity,
            usage: Usage::ServerAndClient,
        };
        let error = certificate.generate().err().unwrap().to_string();
        assert!(error.contains(text), "{error}");
    }
}
