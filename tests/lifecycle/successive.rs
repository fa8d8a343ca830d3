//! Hand-overs that follow each other, and what another server may do meanwhile.

use rustix::process::{Pid, Signal, kill_process};

use super::{assert_ends, with_key};
use crate::harness::{self, Protocol, Server, Successors, Who};

/// The process that has handed over to the second one may still delete keys, of which it tells that one
/// alone: a third one would go on with them.
#[test]
fn a_key_that_the_first_of_three_processes_deletes_is_gone_in_the_third() {
    harness::run(async {
        let server = Server::start();
        let mut old = with_key(&server, Protocol::H1).await;
        let mut successors = Successors::of(&server);
        let second = successors.hand_over(&server).await;
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);

        let before = server.stderr().len();
        let second = Pid::from_raw(second.try_into().unwrap()).unwrap();
        kill_process(second, Signal::USR2).unwrap();
        server.wait_for_stderr("has not ended its requests: the next hand-over begins after that");
        assert_eq!(old.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
        successors.taken_over(&server, before).await;
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 404);
    });
}

/// Neither while both processes have it nor later.
#[test]
fn a_folder_of_keys_stays_locked() {
    let mut server = Server::start();
    let old = server.process_id();
    let is_refused = |server: &Server| {
        let mut other = server.command(Who::Admin, &["server", "--config", "config.yml"]);
        let output = other.env("ADMIN", "disabled").env("MINIO", "0".repeat(64)).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("another server, or `kes migrate`, is using it"), "{said}");
        said
    };
    assert!(is_refused(&server).contains(&format!("(process {old})")));
    let mut successors = Successors::of(&server);
    // A connection that says nothing keeps the old process for some seconds.
    let idle = harness::run(async {
        let idle = with_key(&server, Protocol::H1).await;
        successors.hand_over(&server).await;
        idle
    });
    is_refused(&server);
    drop(idle);
    assert_ends(&mut server);
    let said = is_refused(&server);
    assert!(!said.contains("(process"), "the one that has locked it is gone: {said}");
}

/// A configuration that names the folder of another server hands nothing over.
#[test]
fn a_folder_of_another_server_is_not_taken() {
    harness::run(async {
        let (server, other) = (Server::start(), Server::start());
        let text = std::fs::read_to_string(server.file("config.yml")).unwrap();
        let others = format!("fs: {{ path: \"{}\" }}", other.file("keys").display());
        std::fs::write(server.file("config.yml"), text.replace("fs: { path: keys }", &others))
            .unwrap();
        server.signal(Signal::USR2);
        server.wait_for_stderr("hand-over failed; this process goes on: ");
        let stderr = server.stderr();
        assert!(stderr.contains("another server, or `kes migrate`, is using it"), "{stderr}");
        drop(with_key(&server, Protocol::H2).await);
    });
}
