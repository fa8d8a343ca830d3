//! A new process takes over (SIGUSR2).

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::{install, wait};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{PATIENCE, assert_ends, with_key};
use crate::harness::{
    self, Client, Config, Exposition, Protocol, Server, Successors, Who, figure, program,
    tls_config, tls_connect, was_not_sent,
};

/// How often a server hands over below load: `KES_HANDOVERS` sets another number.
const HAND_OVERS: u32 = 100;

const GET: &[u8] = b"GET /version HTTP/1.1\r\nhost: kes\r\n\r\n";

/// A server whose program is a file of its own, which a test can replace.
fn replaceable(config: &Config) -> Server {
    let config = config.clone().under(&["/bin/sh", "-c", "exec ./kes \"$@\""]);
    Server::prepared(&config, |folder| install(&program(), &folder.join("kes")))
}

/// Puts another program in the place of the server's, as an upgrade does.
fn replace(server: &Server, text: &str, mode: u32) {
    let new = server.file("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(new, server.file("kes")).unwrap();
}

/// One who makes data keys until it is to stop.
async fn work(work: Arc<Work>, protocol: Protocol, keeps: bool) {
    let mut client = None;
    while !work.is_over.load(Ordering::Relaxed) {
        let connected = match client.take() {
            Some(client) => client,
            None => {
                let Server { address, tls, admin, .. } = &*work.server;
                let connected =
                    Client::connect(address, &tls.certificate, Some(admin), protocol).await;
                work.connections.fetch_add(1, Ordering::Relaxed);
                connected.unwrap_or_else(|error| panic!("a connection is refused: {error}"))
            }
        };
        let mut connected = connected;
        let path = "/v1/key/generate/k";
        match connected.try_send("PUT", path, &[], "{}".into()).await {
            Ok(reply) => {
                assert_eq!(reply.status, 200, "{reply:?}");
                work.requests.fetch_add(1, Ordering::Relaxed);
                if keeps && reply.header("connection") != "close" {
                    client = Some(connected);
                }
            }
            // The client knew that the connection ends before it had sent the request.
            Err(error) if was_not_sent(&error) => {}
            Err(error) => panic!("a request over {protocol:?} is lost: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Work {
    server: Arc<Server>,
    is_over: AtomicBool,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

#[test]
fn no_request_fails_while_a_server_hands_over_again_and_again() {
    let count = std::env::var("KES_HANDOVERS").map_or(HAND_OVERS, |count| count.parse().unwrap());
    harness::run(async {
        let server = Arc::new(Server::start());
        drop(with_key(&server, Protocol::H1).await);
        let load = Arc::new(Work {
            server: Arc::clone(&server),
            is_over: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        });
        let mut workers = JoinSet::new();
        for protocol in [Protocol::H1, Protocol::H2] {
            for keeps in [true, true, false] {
                workers.spawn(work(Arc::clone(&load), protocol, keeps));
            }
        }
        let start = Instant::now();
        let mut successors = Successors::of(&server);
        for _ in 0..count {
            let before = load.requests.load(Ordering::Relaxed);
            successors.hand_over(&server).await;
            wait::eventually_async(PATIENCE, "requests are answered", || async {
                load.requests.load(Ordering::Relaxed) > before + 20
            })
            .await;
        }
        load.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
        figure("hand-overs below load", count);
        figure("seconds of a hand-over", start.elapsed().as_secs_f64() / f64::from(count));
        figure("requests during hand-overs, none failed", load.requests.load(Ordering::Relaxed));
        figure("connections during hand-overs", load.connections.load(Ordering::Relaxed));
        let stderr = server.stderr();
        assert!(!stderr.contains("panicked") && !stderr.contains("in time"), "{stderr}");
    });
}

#[test]
fn what_is_taken_over_is_told_and_the_old_process_ends() {
    harness::run(async {
        let mut server = Server::start();
        let mut client = with_key(&server, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
        let old = server.process().id();
        let mut successors = Successors::of(&server);
        let new = successors.hand_over(&server).await;
        assert_ends(&mut server);
        let stderr = server.stderr();
        for told in [
            format!("handing over to process {new} (version "),
            format!("handed over to process {new}: running requests get up to 10 s"),
            format!("took over from process {old}: 1 socket, 1 key"),
        ] {
            assert!(stderr.contains(&told), "{told}: {stderr}");
        }
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let status = client.send("GET", "/v1/status", "").await.json();
        let told = &status["last_handover"];
        assert_eq!(told["result"], "success", "{status}");
        assert_eq!(told["changes"], format!("took over from process {old}: 1 socket, 1 key"));
        let metrics = Exposition::of(&mut client).await;
        assert_eq!(metrics.value("kes_last_handover_failed"), 0.0);
        assert_eq!(metrics.value("kes_cache_keys"), 1.0);
    });
}

/// One that is idle may have a request under way: it is answered, and the connection ends with it.
#[test]
fn an_idle_connection_gets_its_next_answer_from_the_old_process() {
    harness::run(async {
        let mut server = Server::start();
        let config = || tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H1);
        let mut used = tls_connect(&server.address, config()).await.unwrap();
        used.write_all(GET).await.unwrap();
        let mut answer = [0; 4096];
        let len = used.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..len]).to_lowercase();
        assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"));
        let mut unused = tls_connect(&server.address, config()).await.unwrap();
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
        for stream in [&mut used, &mut unused] {
            // The log tells of the hand-over a moment before each connection knows of it.
            wait::eventually_async(PATIENCE, "an answer tells of the end", async || {
                stream.write_all(GET).await.unwrap();
                let mut answer = [0; 4096];
                let len = stream.read(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer[..len]).to_lowercase();
                assert!(answer.starts_with("http/1.1 200"), "{answer}");
                answer.contains("connection: close\r\n")
            })
            .await;
            assert_eq!(stream.read(&mut [0; 4096]).await.unwrap(), 0, "it has ended");
        }
        drop((used, unused));
        assert_ends(&mut server);
    });
}

async fn fails(server: &Server, reason: &str) -> Value {
    server.signal(Signal::USR2);
    let mut client = server.client(Who::Admin, Protocol::H2).await;
    let told = "hand-over failed; this process goes on: ";
    wait::eventually(PATIENCE, reason, || {
        let stderr = server.stderr();
        stderr.rsplit_once(told).is_some_and(|(_, after)| after.contains(reason))
    });
    assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
    assert_eq!(client.send("PUT", "/v1/key/create/after", "").await.status, 200);
    assert_eq!(client.send("DELETE", "/v1/key/delete/after", "").await.status, 200);
    let metrics = Exposition::of(&mut client).await;
    assert_eq!(metrics.value("kes_last_handover_failed"), 1.0);
    let status = client.send("GET", "/v1/status", "").await.json();
    let last = status["last_handover"].clone();
    assert_eq!(last["result"], "error", "{status}");
    assert!(last["reason"].as_str().unwrap().contains(reason), "{status}");
    last
}

#[test]
fn a_program_that_cannot_take_over_leaves_the_old_server_as_it_is() {
    harness::run(async {
        let server = replaceable(&Config::usual());
        drop(with_key(&server, Protocol::H1).await);
        for (text, mode, reason) in [
            ("#!/bin/sh\nexit 3\n", 0o755, "ended (exit status: 3) before it served"),
            ("#!/bin/sh\nexit 0\n", 0o644, "cannot be started: Permission denied"),
            ("\u{7f}ELF is what it begins with", 0o755, "cannot be started: Exec format error"),
            ("#!/bin/sh\nprintf 'Hello, world' >&0\n", 0o755, "it says something"),
        ] {
            replace(&server, text, mode);
            fails(&server, reason).await;
        }
        // Of another version.
        let hello = r#"{"protocol":9,"version":"v9.9"}"#;
        let script = format!(
            "#!/bin/sh\nprintf '\\000\\000\\000\\{:03o}\\000%s' '{hello}' >&0\nsleep 60\n",
            hello.len()
        );
        replace(&server, &script, 0o755);
        fails(&server, "(version v9.9) hands over by protocol 9, and this one by 2").await;

        // The right one, with a configuration that it cannot use.
        install(&program(), &server.file("kes"));
        let good = std::fs::read_to_string(server.file("config.yml")).unwrap();
        std::fs::write(server.file("config.yml"), good.clone() + "cache: { expiry: { any: x } }\n")
            .unwrap();
        fails(&server, "cache.expiry.any").await;
        std::fs::write(server.file("config.yml"), good).unwrap();
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
    });
}

#[test]
fn a_program_that_hangs_is_ended_and_so_it_is_by_a_stop() {
    harness::run(async {
        let mut server = replaceable(&Config::usual());
        drop(with_key(&server, Protocol::H1).await);
        replace(&server, "#!/bin/sh\necho $$ >hanging\nexec sleep 600\n", 0o755);
        fails(&server, "was not ready to serve within 20 s").await;
        let hanging = || {
            let id = std::fs::read_to_string(server.file("hanging")).unwrap_or_default();
            let id = id.strip_suffix('\n')?.to_owned();
            Path::new("/proc").join(id).exists().then_some(())
        };
        wait::eventually(PATIENCE, "it is ended", || hanging().is_none());
        std::fs::remove_file(server.file("hanging")).unwrap();
        server.signal(Signal::USR2);
        wait::eventually(PATIENCE, "it is started", || hanging().is_some());
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
        server.signal(Signal::TERM);
        wait::eventually(PATIENCE, "it is ended", || hanging().is_none());
        assert_ends(&mut server);
    });
}

#[test]
fn a_configuration_with_another_address_moves_the_server() {
    harness::run(async {
        let mut server =
            Server::with(&Config::usual().with("operations", "{ address: \"unix:operations\" }"));
        let socket = server.file("operations");
        drop(with_key(&server, Protocol::H1).await);
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before = inode(&socket);
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
        assert_ends(&mut server);
        assert_eq!(inode(&socket), before, "the socket of the operations listener stays");
        assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());

        let text = std::fs::read_to_string(server.file("config.yml")).unwrap();
        let text = text
            .replace("127.0.0.1:0", "localhost:0")
            .replace("fs: { path: keys }", "fs: { path: others }");
        std::fs::write(server.file("config.yml"), text).unwrap();
        successors.hand_over(&server).await;
        server.wait_for_stderr(": 1 socket, 0 keys");
        let stdout = server.stdout();
        let (_, last) = stdout.rsplit_once("https://127.0.0.1:").unwrap();
        let port = last.split_whitespace().next().unwrap();
        let address = format!("127.0.0.1:{port}");
        assert_ne!(address, server.address);
        let (trusted, admin) = (&server.tls.certificate, Some(&server.admin));
        let mut client = Client::connect(&address, trusted, admin, Protocol::H2).await.unwrap();
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 404);
        wait::eventually(PATIENCE, "the old address is closed", || {
            std::net::TcpStream::connect(&server.address).is_err()
        });
    });
}

#[test]
fn passed_sockets_stay_with_the_service() {
    harness::run(async {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Server::with(&Config::usual().passing(socket));
        drop(with_key(&server, Protocol::H1).await);
        let mut successors = Successors::of(&server);
        for _ in 0..2 {
            successors.hand_over(&server).await;
            let mut client = server.client(Who::Admin, Protocol::H2).await;
            assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
        }
        assert_ends(&mut server);
        assert_eq!(server.stderr().matches("which the service manager has opened").count(), 3);
    });
}

/// One process writes the audit file after the other, and a change that has to be recorded waits.
#[test]
fn the_audit_file_goes_on_with_the_new_process() {
    harness::run(async {
        let log = "{ audit_required: true, audit_file: { path: audit.jsonl } }";
        let mut server = Server::with(&Config::usual().with("log", log));
        let mut idle = with_key(&server, Protocol::H1).await;
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/create/after", "").await.status, 200);
        assert_ends(&mut server);
        assert!(idle.try_send("GET", "/version", &[], "".into()).await.is_err());
        let text = std::fs::read_to_string(server.file("audit.jsonl")).unwrap();
        for key in [r#""key":"k","status":200"#, r#""key":"after","status":200"#] {
            assert!(text.contains(key), "{text}");
        }
        let verified = server.command(Who::Admin, &["audit", "verify", "audit.jsonl"]).output();
        let verified = verified.unwrap();
        assert!(verified.status.success(), "{verified:?}");
    });
}

/// Each acknowledged change is what the next request finds, whichever process made it.
#[test]
fn changes_of_keys_go_on_while_a_server_hands_over() {
    harness::run(async {
        let server = Arc::new(Server::start());
        drop(with_key(&server, Protocol::H1).await);
        let is_over = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for number in 0..4 {
            let (server, is_over) = (Arc::clone(&server), Arc::clone(&is_over));
            workers.spawn(async move {
                let connect = async || {
                    let protocol = if number % 2 == 0 { Protocol::H1 } else { Protocol::H2 };
                    let Server { address, tls, admin, .. } = &*server;
                    let trusted = &tls.certificate;
                    Client::connect(address, trusted, Some(admin), protocol).await.unwrap()
                };
                // Two connections, which may lead to two processes.
                let mut clients = [connect().await, connect().await];
                let name = format!("changed-{number}");
                let mut rounds = 0;
                let mut at = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for (method, api, body, status) in [
                        ("PUT", "create", "", 200),
                        ("PUT", "create", "", 400),
                        ("PUT", "generate", "{}", 200),
                        ("DELETE", "delete", "", 200),
                        ("PUT", "generate", "{}", 404),
                    ] {
                        let path = format!("/v1/key/{api}/{name}");
                        loop {
                            at ^= 1;
                            let sent = clients[at].try_send(method, &path, &[], body.into()).await;
                            match sent {
                                Ok(reply) => {
                                    let text = format!("{api} in round {rounds}: {reply:?}");
                                    assert_eq!(reply.status, status, "{text}");
                                    break;
                                }
                                Err(error) if was_not_sent(&error) => {
                                    clients[at] = connect().await;
                                }
                                Err(error) => panic!("{api} is lost: {error}"),
                            }
                        }
                    }
                    rounds += 1;
                }
                rounds
            });
        }
        let mut successors = Successors::of(&server);
        for _ in 0..6 {
            successors.hand_over(&server).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        is_over.store(true, Ordering::Relaxed);
        let mut rounds = 0;
        while let Some(ended) = workers.join_next().await {
            rounds += ended.unwrap();
        }
        figure("rounds of changes during 6 hand-overs", rounds);
        assert!(rounds > 20, "{rounds}");
    });
}
