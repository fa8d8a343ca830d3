use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use super::{PATIENCE, assert_ends};
use crate::harness::{self, Config, Protocol, Server, Successors, Who};

/// A service manager that reads what services tell it (sd_notify(3)).
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    /// The usual server of this manager.
    fn config(&self) -> Config {
        let path = self.folder.path().join("notify");
        Config::usual().env("NOTIFY_SOCKET", path.to_str().unwrap())
    }

    /// The next message, a line for each of its assignments.
    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 8192];
        let len = loop {
            match self.socket.recv(&mut buffer) {
                // A signal, which another test may have caused.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("the server tells something in time"),
            }
        };
        let text = str::from_utf8(&buffer[..len]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message with an assignment. Those before it have none that is to come later.
    fn next_with(&self, wanted: &str) -> Vec<String> {
        loop {
            let message = self.next();
            if message.iter().any(|line| line == wanted) {
                return message;
            }
            let is_quiet = |line: &String| line.starts_with("STATUS=") || line == "WATCHDOG=1";
            assert!(message.iter().all(is_quiet), "{message:?} before {wanted}");
        }
    }

    /// Waits until the status is such a one.
    fn status(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let message = self.next();
            assert!(message.iter().all(|line| line.starts_with("STATUS=")), "{message:?}: {what}");
            if is_wanted(status(&message)) {
                return status(&message).to_owned();
            }
        }
    }
}

fn status(message: &[String]) -> &str {
    let mut lines = message.iter().filter_map(|line| line.strip_prefix("STATUS="));
    lines.next().unwrap_or_else(|| panic!("{message:?} has a status"))
}

/// Microseconds of the clock that systemd compares.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000
}

/// Sends SIGHUP; the begin of the reload is told with its time, and its end with this status.
fn reload(manager: &Manager, server: &Server, config: &Config) -> String {
    let before = now();
    server.reload(config);
    let message = manager.next_with("RELOADING=1");
    let times = message.iter().filter_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    let times: Vec<u64> = times.map(|time| time.parse().unwrap()).collect();
    assert!(times.len() == 1 && times[0] >= before && times[0] <= now(), "{message:?}");
    let message = manager.next_with("READY=1");
    status(&message).to_owned()
}

#[test]
fn a_service_manager_is_told_of_the_start_of_reloads_and_of_the_end() {
    let manager = Manager::new();
    let mut server = Server::with(&manager.config());
    let message = manager.next();
    assert!(status(&message).starts_with("starting"), "{message:?}");
    let message = manager.next_with("READY=1");
    let told = status(&message).to_owned();
    let begin = "key store reachable; 1 policy; 2 identities; certificate valid until ";
    assert!(told.starts_with(begin) && told.ends_with(" UTC"), "{told}");
    harness::run(async {
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
    });

    // A broken file: the server is ready again, and the status says why it is not the new one.
    let broken = manager.config().with("cache", "{ expiry: { any: soon } }");
    let line = broken.text().lines().position(|line| line.starts_with("cache")).unwrap() + 1;
    let told = reload(&manager, &server, &broken);
    assert!(told.starts_with("last reload failed at 2"), "{told}");
    let place = format!("config.yml:{line}: cache.expiry.any");
    assert!(told.contains(&place) && told.contains("; key store reachable"), "{told}");
    let told = reload(&manager, &server, &manager.config().with("policy", "{}"));
    assert!(told.starts_with("key store reachable; 0 policies; 1 identity; "), "{told}");

    // A certificate file that cannot be used.
    let certificate = fs::read(server.file("server.crt")).unwrap();
    fs::write(server.file("server.crt"), "none").unwrap();
    manager.status("the certificate cannot be read", |status| {
        status.starts_with("the certificate files could not be read again at 2")
            && status.contains("tls.cert")
    });
    fs::write(server.file("server.crt"), certificate).unwrap();
    manager.status("it can be read", |status| status.starts_with("key store reachable"));

    // An outage.
    fs::rename(server.file("keys"), server.file("moved")).unwrap();
    let told = manager.status("the key store is away", |status| status.contains(" since 2"));
    assert!(told.starts_with("key store ") && told.contains("'keys' is not available"), "{told}");
    fs::rename(server.file("moved"), server.file("keys")).unwrap();
    manager.status("it is back", |status| status.starts_with("key store reachable"));

    server.signal(Signal::TERM);
    let message = manager.next_with("STOPPING=1");
    assert!(status(&message).starts_with("stopping: "), "{message:?}");
    assert_ends(&mut server);
}

#[test]
fn a_start_that_fails_is_told_with_its_reason() {
    let manager = Manager::new();
    let refused = Server::refused(&manager.config().with("cache", "{ expiry: none }"), |_| {});
    assert_eq!(refused.status, Some(1), "{}", refused.stderr);
    assert!(status(&manager.next()).starts_with("starting"));
    let message = manager.next();
    let told = status(&message);
    assert!(told.starts_with("did not start: ") && told.contains("cache.expiry"), "{told}");
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 10]).is_err(), "it was never ready");
}

/// Heartbeats are for the process that the manager watches, and for no other.
#[test]
fn heartbeats_are_sent_where_they_are_expected() {
    let manager = Manager::new();
    let limit = Duration::from_millis(300).as_micros().to_string();
    let watched = manager.config().env("WATCHDOG_USEC", &limit);
    let server = Server::with(&watched);
    manager.next_with("READY=1");
    for _ in 0..5 {
        manager.next_with("WATCHDOG=1");
    }
    drop(server);

    let manager = Manager::new();
    let watched = manager.config().env("WATCHDOG_USEC", &limit).env("WATCHDOG_PID", "1");
    let mut server = Server::with(&watched);
    manager.next_with("READY=1");
    reload(&manager, &server, &watched);
    server.signal(Signal::TERM);
    loop {
        let message = manager.next();
        assert!(!message.iter().any(|line| line == "WATCHDOG=1"), "{message:?}");
        if message.iter().any(|line| line == "STOPPING=1") {
            break;
        }
    }
    assert_ends(&mut server);
}

/// The manager is told which process is that of the service, and only then by that one that it is
/// ready. It is the one that is watched from then on.
#[test]
fn a_service_manager_is_told_of_the_process_that_takes_over() {
    let manager = Manager::new();
    let watched = manager.config().env("WATCHDOG_USEC", "600000").under(&[
        "/bin/sh",
        "-c",
        "export WATCHDOG_PID=$$; exec \"$0\" \"$@\"",
    ]);
    let mut server = Server::with(&watched);
    manager.next_with("READY=1");
    manager.next_with("WATCHDOG=1");
    let mut successors = Successors::of(&server);
    let new = harness::run(successors.hand_over(&server));
    manager.next_with(&format!("MAINPID={new}"));
    let message = manager.next_with("READY=1");
    assert!(status(&message).starts_with("key store reachable"), "{message:?}");
    assert_ends(&mut server);
    for _ in 0..5 {
        manager.next_with("WATCHDOG=1");
    }
}

/// As under the unit of MinIO's guide, whose type is `simple`, and where nobody reads.
#[test]
fn without_a_service_manager_a_server_is_the_same() {
    for config in [Config::usual(), Config::usual().env("NOTIFY_SOCKET", "/nowhere/notify")] {
        let mut server = Server::with(&config.env("WATCHDOG_USEC", "1000"));
        server.reload_and_wait(&Config::usual());
        assert!(!server.stderr().contains("notify"), "{}", server.stderr());
        server.signal(Signal::TERM);
        assert_ends(&mut server);
    }
}
