//! `kes log` with several servers, filters and colours.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kes_testkit::{Process, wait};
use rustix::process::Signal;

use super::live::end;
use super::terminal::Terminal;
use super::transcript::{admin_of, config, kes, start_server};
use crate::harness::Server;

const LIMIT: Duration = Duration::from_secs(60);

/// A command that writes what it prints into two files.
struct Follower {
    process: Process,
    folder: tempfile::TempDir,
}

impl Follower {
    fn start(args: &[&str], variables: &BTreeMap<String, String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let mut command = Process::command(Path::new(env!("CARGO_BIN_EXE_kes")));
        command.args(args).env_clear().envs(variables).stdin(Stdio::null());
        command.stdout(file("out")).stderr(file("err"));
        Self { process: Process::start(command), folder }
    }

    fn out(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    fn err(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap()
    }
}

/// Ends a loop when it is dropped, also if the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Asks a server for a key that there is not.
fn ask(variables: &BTreeMap<String, String>, key: &str) {
    kes(&std::env::temp_dir(), variables, ["key", "info", "-k", key].map(str::to_owned));
}

#[test]
fn several_servers_are_followed_and_one_that_comes_back_as_well() {
    let config = config().with("address", "\"${ADDRESS}\"");
    let mut servers = [(); 2].map(|()| Server::on_a_port(&config, |_| {}));
    let each = [admin_of(&servers[0].1), admin_of(&servers[1].1)];
    let names = [&servers[0].1, &servers[1].1].map(|server| server.address.clone());
    let mut both = each[0].clone();
    both.insert("KES_SERVER".to_owned(), names.join(","));

    let mut log = Follower::start(&["log", "-k"], &both);
    let is_there = |log: &Follower, server: usize, key: &str| {
        let path = format!("/v1/key/describe/{key}");
        let is_it = |line: &str| line.starts_with(&names[server]) && line.ends_with(&path);
        log.out().lines().any(is_it)
    };
    for server in [0, 1] {
        wait::eventually(LIMIT, "a line has the name of its server", || {
            ask(&each[server], &format!("of-{server}"));
            is_there(&log, server, &format!("of-{server}"))
        });
    }
    assert!(!is_there(&log, 0, "of-1") && !is_there(&log, 1, "of-0"), "{}", log.out());
    assert_eq!(log.err(), "");

    servers[1].1.signal(Signal::KILL);
    let gone = format!("Warning: {} is not followed, and asked again: ", names[1]);
    wait::eventually(LIMIT, "it is told that it is gone", || log.err().contains(&gone));
    wait::eventually(LIMIT, "the other one is followed on", || {
        ask(&each[0], "later");
        is_there(&log, 0, "later")
    });
    servers[1].1.restart();
    let back = format!("Note: {} is followed again", names[1]);
    wait::eventually(LIMIT, "it is followed again", || log.err().contains(&back));
    wait::eventually(LIMIT, "its lines are there", || {
        ask(&each[1], "again");
        is_there(&log, 1, "again")
    });
    assert_eq!(log.err().lines().count(), 2, "{}", log.err());

    // Once none is left, it ends as with one server.
    servers[0].1.signal(Signal::KILL);
    servers[1].1.signal(Signal::KILL);
    assert_eq!(end(&mut log.process).code(), Some(1));
    let error = log.err();
    assert!(
        error.lines().last().unwrap().starts_with("Error: the log stream broke off"),
        "{error}"
    );

    // None is there at first.
    let mut log = Follower::start(&["log", "-k"], &both);
    assert_eq!(end(&mut log.process).code(), Some(1));
    assert!(log.err().contains("Error: failed to follow the audit log: "), "{}", log.err());
}

#[test]
fn a_server_that_stops_ends_the_command_with_success() {
    let server = start_server();
    let variables = admin_of(&server);
    let mut log = Follower::start(&["log", "-k"], &variables);
    wait::eventually(LIMIT, "it is followed", || {
        ask(&variables, "k");
        log.out().contains("/v1/key/describe/k")
    });
    server.signal(Signal::TERM);
    assert_eq!(end(&mut log.process).code(), Some(0), "{}", log.err());
    assert_eq!(log.err(), "");
}

#[test]
fn only_lines_that_are_asked_for_are_printed() {
    let server = start_server();
    let variables = admin_of(&server);
    let key = Follower::start(&["log", "-k", "--key", "a-*", "--status", "404,5xx"], &variables);
    let json = Follower::start(&["log", "-k", "--json", "--key", "b"], &variables);
    let nobody = Follower::start(&["log", "-k", "--identity", "0000"], &variables);
    let later = Follower::start(&["log", "-k", "--since", "2999-01-01T00:00:00Z"], &variables);
    let all = Follower::start(&["log", "-k"], &variables);
    wait::eventually(LIMIT, "all are followed", || {
        ask(&variables, "a-1");
        ask(&variables, "b");
        ask(&variables, "c");
        [(&key, "a-1"), (&json, "b"), (&all, "c")]
            .iter()
            .all(|(log, key)| log.out().contains(&format!("/v1/key/describe/{key}")))
    });
    kes(&std::env::temp_dir(), &variables, ["key", "create", "-k", "a-2"].map(str::to_owned));
    wait::eventually(LIMIT, "the last request is told", || {
        all.out().contains("/v1/key/create/a-2")
    });
    let lines = key.out();
    assert!(lines.lines().all(|line| line.ends_with("/v1/key/describe/a-1")), "{lines}");
    let lines = json.out();
    let is_of_b = |line: &str| line.starts_with('{') && line.contains("\"/v1/key/describe/b\"");
    assert!(lines.lines().all(is_of_b), "{lines}");
    // Who has been followed as long as the others by now.
    assert_eq!((nobody.out(), later.out()), (String::new(), String::new()));
    assert_eq!(nobody.err() + &later.err(), "");

    let past = Follower::start(&["log", "-k", "--since", "1h"], &variables);
    wait::eventually(LIMIT, "it is told that there is no past", || {
        past.err().starts_with("Note: the log begins now; 'kes audit grep --since' finds")
    });
}

#[test]
fn a_terminal_shows_statuses_in_colour() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let mut log = Terminal::with(folder.path(), "log -k --status 404", &variables);
    // The log is followed at some time; each request then has its line.
    let asking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let _ends = Ends(&asking);
        scope.spawn(|| {
            while asking.load(Ordering::Relaxed) {
                ask(&variables, "nope");
            }
        });
        log.wait_for("/v1/key/describe/nope");
    });
    log.type_in("\u{3}");
    let (text, status) = log.end();
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("\u{1b}[2m20"), "{text:?}");
    assert!(text.contains("\u{1b}[33m404\u{1b}[0m"), "{text:?}");
}
