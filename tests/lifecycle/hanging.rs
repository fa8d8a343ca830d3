use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io::Write as _, thread};

use kes_testkit::wait;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, assert_ends};
use crate::harness::{self, Config, Protocol, Server, Who};

/// Puts a pipe in the place of a file. Who reads it hangs, as on a network mount that is away.
fn replace_by_pipe(file: &Path) {
    fs::remove_file(file).unwrap();
    harness::make_pipe(file);
}

/// Waits until somebody reads a pipe, and returns its other end.
fn wait_for_reader(pipe: &Path) -> File {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut writer = None;
    wait::eventually(PATIENCE, "the pipe is read", || {
        writer = File::options().write(true).custom_flags(nonblocking).open(pipe).ok();
        writer.is_some()
    });
    writer.unwrap()
}

/// What is logged of a SIGHUP during a reload.
const ONCE_MORE: &str = "still being read; it will be read once more after that";

#[test]
fn signals_are_answered_while_a_file_of_a_reload_hangs() {
    for name in ["config.yml", "server.crt"] {
        harness::run(async {
            let mut server = Server::start();
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            let file = server.file(name);
            replace_by_pipe(&file);
            server.signal(Signal::HUP);
            let _writer = wait_for_reader(&file);

            server.signal(Signal::HUP);
            server.wait_for_stderr(ONCE_MORE);
            assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200, "{name}");
            server.signal(Signal::TERM);
            assert_ends(&mut server);
            assert!(!server.stderr().contains("read again"), "{}", server.stderr());
        });
    }
}

/// The files of a key store are read by the key store itself. One thread has to suffice for all else.
#[test]
fn signals_are_answered_while_a_file_of_the_key_store_hangs() {
    harness::run(async {
        let mut server = Server::with(&Config::usual().env("TOKIO_WORKER_THREADS", "1"));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let pipe = server.file("ca.pem");
        harness::make_pipe(&pipe);
        let vault = "{ vault: { endpoint: https://127.0.0.1:1, \
                     approle: { id: a, secret: b }, tls: { ca: ca.pem } } }";
        server.reload(&Config::usual().with("keystore", vault));
        let _writer = wait_for_reader(&pipe);
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
        server.signal(Signal::TERM);
        assert_ends(&mut server);
    });
}

/// What changes while a reload reads is not lost.
#[test]
fn a_signal_during_a_reload_is_followed_by_another_reload() {
    harness::run(async {
        let allowing = |path: &str| {
            let policy = format!("{{ p: {{ allow: [{path}], identities: [\"${{OTHER}}\"] }} }}");
            Config::usual().with("policy", &policy)
        };
        let server = Server::with(&allowing("/v1/status"));
        let mut other = server.client(Who::Other, Protocol::H2).await;
        let file = server.file("config.yml");
        replace_by_pipe(&file);
        server.signal(Signal::HUP);
        let mut writer = wait_for_reader(&file);

        fs::write(server.file("new"), allowing("/v1/api").text()).unwrap();
        fs::rename(server.file("new"), &file).unwrap();
        server.signal(Signal::HUP);
        server.wait_for_stderr(ONCE_MORE);
        writer.write_all(allowing("/v1/status").text().as_bytes()).unwrap();
        drop(writer);
        wait::eventually(PATIENCE, "both reloads end", || {
            server.stderr().matches("the configuration was read again").count() == 2
        });
        assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
        assert_eq!(other.send("GET", "/v1/api", "").await.status, 200);
    });
}

#[test]
fn a_server_whose_start_hangs_can_be_stopped() {
    for signal in [Signal::TERM, Signal::INT] {
        let config = Config::usual().under(&["sh", "-c", "echo $$ > pid; exec \"$0\" \"$@\""]);
        let mut stopping = None;
        let ended = Server::refused(&config, |folder| {
            replace_by_pipe(&folder.join("server.crt"));
            let folder = folder.to_owned();
            stopping = Some(thread::spawn(move || stop_when_it_reads(&folder, signal)));
        });
        let _writer = stopping.unwrap().join().unwrap();
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        assert!(!ended.stdout.contains("up and running"), "{}", ended.stdout);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

fn stop_when_it_reads(folder: &Path, signal: Signal) -> File {
    let pipe: PathBuf = folder.join("server.crt");
    let writer = wait_for_reader(&pipe);
    let id = fs::read_to_string(folder.join("pid")).unwrap();
    kill_process(Pid::from_raw(id.trim().parse().unwrap()).unwrap(), signal).unwrap();
    writer
}
