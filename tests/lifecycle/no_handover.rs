//! SIGUSR2 for a server that hands nothing over, and SIGHUP while one hands over.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use kes_testkit::{Process, install, wait};
use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use crate::harness::{self, Config, Protocol, Server, Successors, Who, program};

/// The program of a server, which becomes the real one, or ends, once a test says so.
const WAITING: &str = "#!/bin/sh
while ! [ -e go ]; do sleep 0.05; done
if [ -e fail ]; then exit 7; fi
exec ./real \"$@\"
";

/// A server with [`WAITING`] as its successor.
fn server() -> Server {
    let config = Config::usual().under(&["/bin/sh", "-c", "exec ./kes \"$@\""]);
    let server = Server::prepared(&config, |folder| install(&program(), &folder.join("kes")));
    std::fs::rename(server.file("kes"), server.file("real")).unwrap();
    std::fs::write(server.file("kes"), WAITING).unwrap();
    std::fs::set_permissions(server.file("kes"), PermissionsExt::from_mode(0o755)).unwrap();
    server
}

/// A configuration in which the admin alone has rights.
fn without_policies() -> Config {
    Config::usual().with("policy", "{}")
}

/// Sends SIGUSR2, then the new configuration and SIGHUP.
fn reload_during_a_hand_over(server: &Server) {
    server.signal(Signal::USR2);
    server.wait_for_stderr("to hand over to");
    server.reload(&without_policies());
    server.signal(Signal::HUP);
}

#[test]
fn a_reload_during_a_hand_over_that_fails_is_made_after_it() {
    harness::run(async {
        let server = server();
        std::fs::write(server.file("fail"), "").unwrap();
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/v1/status", "").await.status, 200);
        reload_during_a_hand_over(&server);
        std::fs::write(server.file("go"), "").unwrap();
        server.wait_for_stderr("ended (exit status: 7) before it served");
        server.wait_for_stderr("the configuration was read again: 1 policy removed");
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/v1/status", "").await.status, 403);
    });
}

#[test]
fn a_reload_during_a_hand_over_is_made_by_the_new_process() {
    harness::run(async {
        let server = server();
        let mut successors = Successors::of(&server);
        reload_during_a_hand_over(&server);
        std::fs::write(server.file("go"), "").unwrap();
        successors.taken_over(&server, 0).await;
        server.wait_for_stderr("the configuration was read again");
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/v1/status", "").await.status, 403);
    });
}

#[test]
fn a_dev_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| folder.path().join(name));
    let mut command = Process::command(&program());
    command
        .args(["server", "--dev", "--addr", "127.0.0.1:0"])
        .env("XDG_RUNTIME_DIR", folder.path())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(File::create(&stdout).unwrap())
        .stderr(File::create(&stderr).unwrap());
    let mut server = Process::start(command);
    let says = |file, text: &str| std::fs::read_to_string(file).unwrap().contains(text);
    wait::eventually(PATIENCE, "the server listens", || says(&stdout, "https://"));
    server.signal(Signal::USR2);
    wait::eventually(PATIENCE, "the server says why", || {
        says(&stderr, "a dev server has its keys in memory alone, and hands nothing over")
    });
    assert!(server.is_running());
}

/// In a container, whose processes end with the first one.
#[test]
fn process_1_goes_on() {
    harness::run(async {
        let config = Config::usual().under(&[
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ]);
        let mut server = Server::with(&config);
        let id = server.process().id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let child = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        kill_process(child, Signal::USR2).unwrap();
        server.wait_for_stderr("this is process 1 of its container, which ends with it");
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
    });
}
