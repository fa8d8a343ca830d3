//! The server's certificate comes to its end, or has not begun.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kes_testkit::SelfSigned;
use time::OffsetDateTime;

use crate::harness::{Config, Openssl, Server, Tls, program};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes `server.key` and `server.crt`, valid between two times.
fn write(folder: &Path, from: OffsetDateTime, until: OffsetDateTime) {
    let made = SelfSigned::builder(&["127.0.0.1"]).valid(from.into(), until.into()).make();
    made.write(folder, "server");
}

fn line(server: &Server, text: &str) -> String {
    server.wait_for_stderr(text);
    server.stderr().lines().find(|line| line.contains(text)).unwrap().to_owned()
}

/// The seconds that the metric has.
fn left(server: &Server) -> f64 {
    let made = Openssl::new();
    fs::copy(server.file("admin.crt"), made.path("admin.crt")).unwrap();
    fs::copy(server.file("admin.key"), made.path("admin.key")).unwrap();
    let client = Some(("admin.crt", "admin.key"));
    let extra = ["--insecure", "--header", "accept: text/plain;version=0.0.4"];
    let answer = made.curl(server, "/v1/metrics", client, Tls::V1_3, &extra);
    let mut lines = answer.body.lines();
    let line = lines.find_map(|line| line.strip_prefix("kes_tls_certificate_expiry "));
    line.unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[test]
fn an_expired_certificate_is_an_error_of_the_log_at_the_start() {
    let now = OffsetDateTime::now_utc();
    let until = now - DAY * 2;
    let server = Server::prepared(&Config::usual(), |folder| write(folder, now - DAY * 300, until));
    let expired = line(&server, "tls.cert: server.crt: expired ");
    assert!(expired.contains("level=ERROR"), "{expired}");
    let day = format!("expired {}", until.date());
    assert!(expired.contains(&day) && expired.contains("clients will refuse it"), "{expired}");
    let left = left(&server);
    assert!((-172_900.0..-172_790.0).contains(&left), "{left}");
}

#[test]
fn a_certificate_that_has_not_begun_is_an_error_as_well() {
    let now = OffsetDateTime::now_utc();
    let server =
        Server::prepared(&Config::usual(), |folder| write(folder, now + DAY, now + DAY * 90));
    let early = line(&server, "tls.cert: server.crt: not valid before ");
    assert!(early.contains("level=ERROR") && early.contains("clients will refuse it"), "{early}");
}

#[test]
fn a_certificate_that_ends_while_it_serves_is_told_before_and_at_its_end() {
    let now = OffsetDateTime::now_utc();
    let server = Server::prepared(&Config::usual(), |folder| {
        write(folder, now - DAY, now + Duration::from_secs(6));
    });
    let soon = line(&server, "tls.cert: server.crt: expires in 0 minutes, ");
    assert!(soon.contains("level=WARN") && soon.contains("renew it"), "{soon}");
    let over = line(&server, "tls.cert: server.crt: expired ");
    assert!(over.contains("level=ERROR"), "{over}");
    assert!(left(&server) < 0.0);
}

#[test]
fn reloads_and_new_files_tell_of_the_certificate() {
    let now = OffsetDateTime::now_utc();
    let server = Server::start();
    assert!(!server.stderr().contains("tls.cert"), "{}", server.stderr());
    assert!(left(&server) > 1e9);
    // By its file alone.
    write(server.folder(), now - DAY * 10, now + DAY * 20);
    let soon = line(&server, "tls.cert: server.crt: expires in 19 days, ");
    assert!(soon.contains("level=WARN"), "{soon}");
    // By a reload, each time.
    fs::create_dir(server.file("new")).unwrap();
    write(&server.file("new"), now - DAY * 10, now - DAY);
    let config = Config::usual().with("tls", "{ key: new/server.key, cert: new/server.crt }");
    for count in 1..=2 {
        server.reload_and_wait(&config);
        kes_testkit::wait::eventually(Duration::from_secs(20), "each reload tells it", || {
            server.stderr().matches("tls.cert: new/server.crt: expired ").count() == count
        });
    }
    assert!(left(&server) < 0.0);
}

#[test]
fn a_certificate_of_the_chain_is_told_by_its_number() {
    let made = Openssl::new();
    made.key("ca", "P-256");
    made.certificate("ca", "-addext keyUsage=keyCertSign");
    let between = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n";
    made.issue("ca", "between", -1, between);
    made.issue("between", "leaf", 90, "subjectAltName=IP:127.0.0.1\n");
    let server = Server::prepared(&Config::usual(), |folder| {
        let chain = made.read("leaf.crt") + &made.read("between.crt");
        fs::write(folder.join("server.crt"), chain).unwrap();
        fs::copy(made.path("leaf.key"), folder.join("server.key")).unwrap();
    });
    line(&server, "tls.cert: server.crt: certificate number 2: expired ");
    assert!(left(&server) < 0.0, "the first to end counts");
}

#[test]
fn a_check_warns_from_thirty_days_on() {
    let now = OffsetDateTime::now_utc();
    for (until, word) in [
        (now + Duration::from_secs(2 * 60 * 60), "warning"),
        (now + DAY * 29, "warning"),
        (now + DAY * 32, "ok"),
        (now - DAY, "FAILED"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, now - DAY, until);
        let config = "admin: { identity: disabled }\ntls: { key: server.key, cert: server.crt }\n\
                      keystore: { fs: { path: keys } }\n";
        fs::write(path.join("config.yml"), config).unwrap();
        fs::create_dir(path.join("keys")).unwrap();
        let output = std::process::Command::new(program())
            .args(["check", "--config", "config.yml"])
            .current_dir(path)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let day = until.date().to_string();
        let line =
            told.lines().find(|line| line.contains(&day)).unwrap_or_else(|| panic!("{told}"));
        assert!(line.starts_with(word), "{line}");
    }
}
