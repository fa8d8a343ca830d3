//! Files that can hang whoever opens them. (Reads that hang all the same are in the tests of
//! `server/src/lifecycle`.)

use std::fs;
use std::path::Path;

use kes_testkit::wait;
use rustix::process::Signal;

use super::{PATIENCE, assert_ends};
use crate::harness::{self, Config, Protocol, Server, Who};

/// Puts a pipe in the place of a file. Who opens it waits for its other end.
fn replace_by_pipe(file: &Path) {
    fs::remove_file(file).unwrap();
    harness::make_pipe(file);
}

const PIPE: &str = "it is a pipe; put a regular file, or a link to one, in its place";

fn allowing(path: &str) -> Config {
    let policy = format!("{{ p: {{ allow: [{path}], identities: [\"${{OTHER}}\"] }} }}");
    Config::usual().with("policy", &policy)
}

/// A reload fails at once, and the next one reads what is there then.
#[test]
fn a_pipe_in_the_place_of_a_file_stops_no_later_reload() {
    for name in ["config.yml", "server.crt"] {
        harness::run(async {
            let mut server = Server::with(&allowing("/v1/status"));
            let mut other = server.client(Who::Other, Protocol::H2).await;
            let file = server.file(name);
            let before = fs::read(&file).unwrap();
            replace_by_pipe(&file);
            server.signal(Signal::HUP);
            server.wait_for_stderr("reload failed; still using the previous configuration");
            let failed = server.stderr();
            assert!(failed.contains(PIPE) && failed.contains(name), "{failed}");
            assert_eq!(other.send("GET", "/v1/status", "").await.status, 200);

            fs::remove_file(&file).unwrap();
            fs::write(&file, before).unwrap();
            // A right is taken.
            server.reload_and_wait(&allowing("/v1/api"));
            assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
            assert_eq!(other.send("GET", "/v1/api", "").await.status, 200);
            server.signal(Signal::TERM);
            assert_ends(&mut server);
        });
    }
}

/// The files of a key store are read by the key store itself. One thread has to suffice for all else.
#[test]
fn a_pipe_among_the_files_of_the_key_store_is_refused() {
    harness::run(async {
        let mut server = Server::with(&Config::usual().env("TOKIO_WORKER_THREADS", "1"));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        harness::make_pipe(&server.file("ca.pem"));
        let vault = "{ vault: { endpoint: https://127.0.0.1:1, \
                     approle: { id: a, secret: b }, tls: { ca: ca.pem } } }";
        server.reload(&Config::usual().with("keystore", vault));
        server.wait_for_stderr(PIPE);
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
        server.signal(Signal::TERM);
        assert_ends(&mut server);
    });
}

/// Nor is one waited for in a folder of CAs, which is read again whenever it changes.
#[test]
fn a_pipe_in_a_folder_of_cas_stops_no_reload() {
    harness::run(async {
        let config = |path: &str| {
            let tls = "{ key: server.key, cert: server.crt, ca: cas }";
            allowing(path).with("tls", tls)
        };
        let server = Server::prepared(&config("/v1/status"), |folder: &Path| {
            fs::create_dir(folder.join("cas")).unwrap();
            fs::copy(folder.join("admin.crt"), folder.join("cas/a.crt")).unwrap();
        });
        let mut other = server.client(Who::Other, Protocol::H2).await;
        harness::make_pipe(&server.file("cas/pipe"));
        server.reload(&config("/v1/api"));
        wait::eventually(PATIENCE, "a reload ends", || {
            let log = server.stderr();
            log.contains("reload failed") || log.contains("the configuration was read again")
        });
        fs::remove_file(server.file("cas/pipe")).unwrap();
        server.reload_and_wait(&config("/v1/api"));
        assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
    });
}

/// A server that starts says what is wrong, and ends.
#[test]
fn a_server_does_not_start_on_a_pipe_of_a_certificate() {
    let ended = Server::refused(&Config::usual(), |folder| {
        replace_by_pipe(&folder.join("server.crt"));
    });
    assert_ne!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains(PIPE) && ended.stderr.contains("server.crt"), "{}", ended.stderr);
}

/// As in `kes server --config <(envsubst <config.yml)`.
#[test]
fn a_server_starts_with_a_configuration_from_a_pipe_and_reads_no_pipe_again() {
    harness::run(async {
        let config = Config::usual();
        let text = config.text();
        let server = Server::prepared(&config, |folder| {
            let file = folder.join("config.yml");
            replace_by_pipe(&file);
            // Waits for the reader, once.
            std::thread::spawn(move || fs::write(file, text));
        });
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
        server.signal(Signal::HUP);
        server.wait_for_stderr(PIPE);
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
    });
}
