//! What the system grants and asks: locked memory, open files, signals.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use kes_testkit::wait;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::assert_ends;
use crate::harness::{self, Client, Config, Exposition, Protocol, Refused, Server, Who};

const PATIENCE: Duration = Duration::from_secs(30);

/// CAP_IPC_LOCK and CAP_NET_BIND_SERVICE as bits (capabilities(7)).
const IPC_LOCK: u64 = 1 << 14;

/// A field of `/proc/<pid>/status`.
fn status(server: &mut Server, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

/// What the start-up message says of memory; it has to be true.
fn memory(server: &mut Server) -> String {
    let mut text = String::new();
    // The server listens before the last line of the message is there.
    wait::eventually(PATIENCE, "the message tells of memory", || {
        text = server.stdout();
        text.split_inclusive('\n').any(|line| line.starts_with("Memory ") && line.ends_with('\n'))
    });
    let line = text.lines().find_map(|line| line.strip_prefix("Memory ")).unwrap();
    let locked = status(server, "VmLck");
    assert_eq!(line.trim() == "locked", locked != "0 kB", "{line}: VmLck is {locked}");
    line.trim().to_owned()
}

const NOT_LOCKED: &str =
    "not locked: it may be swapped to disk; set LimitMEMLOCK=infinity or grant CAP_IPC_LOCK";

/// Whether this process, and so a child of it, may lock any amount of memory.
fn may_lock() -> bool {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let field = text.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let maps = fs::read_to_string("/proc/self/uid_map").unwrap();
    // In a user namespace the capability is not one of the machine.
    let everybody = maps.split_whitespace().last() == Some("4294967295");
    everybody && u64::from_str_radix(field.trim(), 16).unwrap() & IPC_LOCK != 0
}

/// With a small limit the capability decides, and the message says which it was. Where the tests
/// run without the capability the first server is one without it, as the second.
#[test]
fn under_a_small_limit_memory_is_locked_by_the_capability_alone() {
    let small = ["prlimit", "--memlock=8388608:8388608"];
    let mut server = Server::with(&Config::usual().under(&small));
    let expected = if may_lock() { "locked" } else { NOT_LOCKED };
    assert_eq!(memory(&mut server), expected);
    if may_lock() {
        let without = ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"];
        let config = Config::usual().under(&small).under(&without);
        let mut server = Server::with(&config);
        assert_eq!(memory(&mut server), NOT_LOCKED);
        // The limit is what it was.
        let limits = format!("/proc/{}/limits", server.process().id());
        let limits = fs::read_to_string(limits).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
        assert_eq!(line.matches("8388608").count(), 2, "{line}");
    }
}

/// 64 files: 24 connections, as many files for the key store, and 16 for the server itself.
#[test]
fn the_limit_of_connections_is_told_at_the_start_and_when_it_is_reached() {
    harness::run(async {
        let server = Server::with(&Config::usual().under(&["prlimit", "--nofile=64:64"]));
        server.wait_for_stderr("only 24 connections can be open at once");
        assert!(!server.stderr().contains("in use"), "{}", server.stderr());
        let figures = Exposition::from(&server).await;
        assert_eq!(figures.value("kes_tls_connections_limit"), 24.0);
        drop(figures);
        let mut clients = Vec::new();
        for _ in 0..24 {
            clients.push(server.client(Who::Admin, Protocol::H1).await);
        }
        server.wait_for_stderr("all 24 connections in use");
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains("connections in use")).unwrap();
        assert!(line.contains("level=ERROR") && line.contains("LimitNOFILE"), "{line}");

        // The next one waits, and is served once another has ended.
        let (trusted, admin) = (&server.tls.certificate, Some(&server.admin));
        let waiting = Client::connect(&server.address, trusted, admin, Protocol::H1);
        let mut waiting = std::pin::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await;
        assert!(early.is_err(), "all connections are in use");
        clients.pop();
        let mut client = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
        assert_eq!(server.stderr().matches("connections in use").count(), 1, "it is told once");
    });
}

#[test]
fn the_smallest_number_of_files_serves_and_fewer_are_refused() {
    harness::run(async {
        let server = Server::with(&Config::usual().under(&["prlimit", "--nofile=24:24"]));
        server.wait_for_stderr("only 4 connections can be open at once");
        let mut clients = Vec::new();
        for name in 0..4 {
            let mut client = server.client(Who::Admin, Protocol::H1).await;
            let created = client.send("PUT", &format!("/v1/key/create/k{name}"), "").await;
            assert_eq!(created.status, 200, "{}", server.stderr());
            clients.push(client);
        }
        for files in [5, 8, 16, 23] {
            let limit = format!("--nofile={files}:{files}");
            let config = Config::usual().under(&["prlimit", &limit]);
            let Refused { status, stderr, .. } = Server::refused(&config, |_| {});
            assert_eq!(status, Some(1), "{stderr}");
            let told =
                format!("may open only {files} files, and a server needs at least 24; raise");
            assert!(stderr.contains(&told) && stderr.contains("LimitNOFILE"), "{stderr}");
        }
    });
}

#[test]
fn a_server_with_enough_files_says_nothing_of_them() {
    harness::run(async {
        let server = Server::with(&Config::usual().under(&["prlimit", "--nofile=1024:1024"]));
        let _first = TcpStream::connect(&server.address).await.unwrap();
        assert_eq!(Exposition::from(&server).await.value("kes_tls_connections_limit"), 896.0);
        assert!(!server.stderr().contains("connections"), "{}", server.stderr());
    });
}

/// Requests on one connection need a file each for their keys: the listener meets no error.
#[test]
fn a_key_that_cannot_be_read_for_want_of_files_is_told_with_what_to_raise() {
    harness::run(async {
        let server = Server::start();
        harness::Vectors::read().store(server.folder());
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        server.allow_no_more_files();
        let reply = admin.send("GET", "/v1/key/describe/vec-aes256", "").await;
        assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
        server.wait_for_stderr(
            "cannot open 'keys/vec-aes256': Too many open files (os error 24); raise LimitNOFILE (systemd) \
             or `ulimit -n`\" req.method=GET",
        );
    });
}

#[test]
fn a_folder_of_keys_that_goes_away_is_told_with_its_cause() {
    let server = Server::start();
    fs::rename(server.file("keys"), server.file("moved")).unwrap();
    let gone = "key store: fs: folder 'keys' is not available: No such file or directory";
    server.wait_for_stderr(gone);
    fs::write(server.file("keys"), "no folder").unwrap();
    server.wait_for_stderr("key store: fs: folder 'keys' is not available: it is no folder");
    // So does the line of a request that asks for the store's health.
    harness::run(async {
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("GET", "/v1/ready", "").await.status, 504);
    });
    server.wait_for_stderr(
        "not reachable: key store: fs: folder 'keys' is not available: it is no folder; put the folder back\" req.method=GET",
    );
    fs::remove_file(server.file("keys")).unwrap();
    fs::rename(server.file("moved"), server.file("keys")).unwrap();
    server.wait_for_stderr("key store: fs: folder 'keys' is available again");
    assert_eq!(server.stderr().matches(gone).count(), 1, "{}", server.stderr());
}

/// The configuration comes through a pipe, so that the server starts for as long as the test wants.
#[test]
fn a_reload_signal_during_the_start_does_not_end_the_process() {
    let config = Config::usual();
    let text = config.text();
    let (sender, pipe) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let folder: std::path::PathBuf = pipe.recv().unwrap();
        let file = folder.join("config.yml");
        // Opens for writing as soon as the server opened it for reading.
        let mut opened: Option<File> = None;
        wait::eventually(PATIENCE, "the server reads its configuration", || {
            let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
            opened = OpenOptions::new().write(true).custom_flags(nonblocking).open(&file).ok();
            opened.is_some()
        });
        // The server writes its ID nowhere: it is the process with this folder and this name.
        let id = process_in(&folder);
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, Signal::HUP).unwrap();
        // The reload that follows reads a file.
        fs::write(folder.join("regular"), &text).unwrap();
        fs::rename(folder.join("regular"), &file).unwrap();
        opened.unwrap().write_all(text.as_bytes()).unwrap();
    });
    let server = Server::prepared(&config, |folder| {
        fs::remove_file(folder.join("config.yml")).unwrap();
        harness::make_pipe(&folder.join("config.yml"));
        sender.send(folder.to_owned()).unwrap();
    });
    writer.join().unwrap();
    server.wait_for_stderr("the configuration was read again");
    harness::run(async {
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
    });
}

/// As the reference: its runtime ignores them.
#[test]
fn signals_without_a_meaning_do_not_end_the_server() {
    let others = [
        Signal::USR1,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::POWER,
        Signal::XCPU,
        Signal::XFSZ,
        Signal::PIPE,
    ];
    harness::run(async {
        let mut server = Server::start();
        for signal in others {
            server.signal(signal);
        }
        // It is read after them: a signal that ends a process does so before others are handled.
        server.reload_and_wait(&Config::usual());
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
        server.signal(Signal::TERM);
        assert_ends(&mut server);
    });
}

/// As a disk that is full: the change fails, and lines of the log are missing.
#[test]
fn a_limit_of_file_sizes_does_not_end_the_server() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        server.limit_file_size(Some(1));
        let reply = admin.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!(reply.error(), (502, "failed to create key".to_owned()));
        assert_eq!(admin.send("GET", "/version", "").await.status, 200);
        server.limit_file_size(None);
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        // What is missing is told with the next line.
        server.reload_and_wait(&Config::usual());
        let cause = "File too large (os error 27); the process may write no bigger files \
                     (RLIMIT_FSIZE): raise LimitFSIZE (systemd) or `ulimit -f`";
        server.wait_for_stderr(cause);
        drop(admin);
        let figures = Exposition::from(&server).await;
        assert!(figures.value("kes_log_dropped_lines") > 0.0);
    });
}

/// The process whose working folder is this one.
fn process_in(folder: &Path) -> i32 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|id: &i32| fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == folder))
        .expect("the server runs in its folder")
}
