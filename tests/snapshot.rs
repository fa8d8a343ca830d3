//! The file of `cache.snapshot` with keys in a folder: what is refused, what changes it, and what
//! `kes check` says of it. `tests/vault/snapshot.rs` has what it is for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use kes_testkit::wait;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{self, Client, Config, Protocol, Refused, Server, Successors, Who, figure};

/// With room for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a server is killed that writes all the time.
const KILLS: usize = 8;

const SECTION: &str = "{ snapshot: { path: keys.snapshot, key: snapshot.key } }";

fn config() -> Config {
    Config::usual().with("cache", SECTION)
}

fn prepare(folder: &Path) {
    let key = folder.join("snapshot.key");
    fs::write(&key, [7; 40]).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn status(server: &Server) -> Value {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    admin.send("GET", "/v1/status", "").await.json()["snapshot"].clone()
}

async fn has_keys(server: &Server, count: u64) {
    let what = format!("{count} keys are in the snapshot");
    wait::eventually_async(LIMIT, &what, async || status(server).await["keys"] == count).await;
}

async fn create(client: &mut Client, key: &str) {
    assert_eq!(client.send("PUT", &format!("/v1/key/create/{key}"), "").await.status, 200);
}

async fn delete(client: &mut Client, key: &str) {
    assert_eq!(client.send("DELETE", &format!("/v1/key/delete/{key}"), "").await.status, 200);
}

/// What has to be done to a file so that the server does not use it, and what it says.
type Harm = (fn(&Server), &'static str);

#[test]
fn what_is_damaged_old_or_another_servers_stops_no_start_and_is_replaced() {
    let harms: [Harm; 6] = [
        (
            |server| {
                let mut bytes = fs::read(server.file("keys.snapshot")).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(server.file("keys.snapshot"), bytes).unwrap();
            },
            "it is damaged, or somebody has changed it",
        ),
        (
            |server| fs::write(server.file("keys.snapshot"), "nothing").unwrap(),
            "it is no snapshot of this version of kes",
        ),
        (
            |server| fs::write(server.file("snapshot.key"), [8; 40]).unwrap(),
            "it is sealed with another key",
        ),
        (
            |server| {
                let config = Config::usual();
                let age = SECTION.replace("key: ", "max_age: 1s, key: ");
                fs::write(server.file("config.yml"), config.with("cache", &age).text()).unwrap();
                std::thread::sleep(Duration::from_secs(2));
            },
            "longer ago than cache.snapshot.max_age",
        ),
        (
            |server| {
                let folder = Config::usual().with("cache", SECTION);
                let folder = folder.with("keystore", "{ fs: { path: other } }");
                fs::write(server.file("config.yml"), folder.text()).unwrap();
            },
            "it has the keys of another key store",
        ),
        (
            |server| {
                fs::remove_file(server.file("keys.snapshot")).unwrap();
                fs::create_dir(server.file("keys.snapshot")).unwrap();
            },
            "it is no regular file",
        ),
    ];
    harness::run(async {
        let mut server = Server::prepared(&config(), prepare);
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        create(&mut admin, "k").await;
        has_keys(&server, 1).await;
        for (number, (harm, told)) in harms.into_iter().enumerate() {
            server.process().kill();
            harm(&server);
            let before = server.stderr().len();
            server.restart();
            let log = server.stderr()[before..].to_owned();
            let line = format!("level=WARN msg=\"snapshot: 'keys.snapshot' is not used: {told}");
            let is_told = log.contains(&line)
                || log.contains("is not used: it was written at ") && log.contains(told);
            assert!(is_told, "{told}: {log}");
            assert_eq!(status(&server).await["failed"], true, "{told}");
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            let name = format!("new-{number}");
            create(&mut admin, &name).await;
            if number < 5 {
                // The next one replaces it, and holds what was read since the start.
                has_keys(&server, 1).await;
                assert_eq!(status(&server).await["failed"], Value::Null, "{told}");
            }
            fs::write(server.file("config.yml"), config().text()).unwrap();
        }
    });
}

#[test]
fn a_reload_switches_it_on_and_off() {
    harness::run(async {
        let server = Server::prepared(&Config::usual(), prepare);
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        create(&mut admin, "k").await;
        assert_eq!(status(&server).await, Value::Null);
        server.reload_and_wait(&config());
        has_keys(&server, 1).await;
        let mode = fs::metadata(server.file("keys.snapshot")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let moved = SECTION.replace("keys.snapshot", "other.snapshot");
        server.reload_and_wait(&Config::usual().with("cache", &moved));
        assert!(!server.file("keys.snapshot").exists());
        has_keys(&server, 1).await;
        assert!(server.file("other.snapshot").exists());

        // Keys of another folder have no place in it.
        fs::create_dir(server.file("other")).unwrap();
        let other = Config::usual().with("cache", &moved);
        server.reload_and_wait(&other.with("keystore", "{ fs: { path: other } }"));
        assert!(!server.file("other.snapshot").exists());

        server.reload_and_wait(&Config::usual());
        assert_eq!(status(&server).await, Value::Null);
        let left = fs::read_dir(server.folder()).unwrap();
        let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|name| name.contains("snapshot")).collect();
        assert_eq!(left, ["snapshot.key"]);
    });
}

#[test]
fn a_server_does_not_start_without_the_key_and_names_the_line() {
    let Refused { status, stderr, .. } = Server::refused(&config(), |_| {});
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains(": cache.snapshot.key: snapshot.key: No such file"), "{stderr}");
    let short = |folder: &Path| fs::write(folder.join("snapshot.key"), "short").unwrap();
    let Refused { stderr, .. } = Server::refused(&config(), short);
    assert!(stderr.contains("cache.snapshot.key: snapshot.key: it has 5 bytes"), "{stderr}");
}

#[test]
fn a_key_from_a_variable_is_as_good_and_told_to_nobody() {
    harness::run(async {
        let text = "{ snapshot: { path: keys.snapshot, key_text: \"${SNAPSHOT_KEY}\" } }";
        let key = "marked".repeat(6);
        let config = Config::usual().with("cache", text).env("SNAPSHOT_KEY", &key);
        let mut server = Server::with(&config);
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        create(&mut admin, "k").await;
        has_keys(&server, 1).await;
        server.restart();
        server.wait_for_stderr("snapshot: 'keys.snapshot' has 1 key for use");
        assert!(!server.stderr().contains("marked") && !server.stdout().contains("marked"));
    });
}

#[test]
fn kes_check_says_whether_it_can_be_kept_and_who_can_read_it() {
    let server = Server::prepared(&config(), prepare);
    let check = || {
        let mut command = server.command(Who::Admin, &["check", "--config", "config.yml"]);
        command.env("ADMIN", &server.admin.identity).env("MINIO", &server.minio.identity);
        let output = command.output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = check();
    assert!(text.contains("cache: the snapshot keys.snapshot can be written"), "{text}");
    let open = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(server.file("snapshot.key"), mode).unwrap();
    };
    open(0o644);
    let text = check();
    let told = "cache.snapshot.key: snapshot.key can be read by everybody";
    assert!(text.contains(told), "{text}");
    open(0o600);
    let other = config().with("cache", &SECTION.replace("keys.snapshot", "none/keys.snapshot"));
    fs::write(server.file("config.yml"), other.text()).unwrap();
    let text = check();
    let told = "cache.snapshot.path: none/keys.snapshot: its folder does not exist";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_successor_goes_on_with_it_and_has_deleted_what_the_other_one_deletes() {
    harness::run(async {
        let server = Server::prepared(&config(), prepare);
        let mut successors = Successors::of(&server);
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        for key in ["k", "l", "m"] {
            create(&mut admin, key).await;
        }
        successors.hand_over(&server).await;
        // The process that has handed over serves a request more of a connection without any.
        delete(&mut admin, "k").await;
        assert_eq!(status(&server).await["keys"], 2, "it is gone before the answer");
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        delete(&mut admin, "l").await;
        assert_eq!(status(&server).await["keys"], 1);
        create(&mut admin, "n").await;
        has_keys(&server, 2).await;
        successors.hand_over(&server).await;
        has_keys(&server, 2).await;
        let log = server.stderr();
        assert!(!log.contains("is not used") && !log.contains("cannot be"), "{log}");
        assert!(log.contains("snapshot: 'keys.snapshot' has 3 keys for use"), "{log}");
    });
}

/// Each delete writes a snapshot: the server is killed within one, sooner or later.
#[test]
fn whenever_the_server_is_killed_the_file_is_whole() {
    harness::run(async {
        let mut server = Server::prepared(&config(), prepare);
        let mut written = 0;
        for round in 0..KILLS {
            let mut clients = JoinSet::new();
            for client in 0..3 {
                let mut admin = server.client(Who::Admin, Protocol::H2).await;
                clients.spawn(async move {
                    let mut deleted = 0;
                    for number in 0.. {
                        let key = format!("k-{round}-{client}-{number}");
                        let mut send = async |method: &str, api: &str| {
                            let path = format!("/v1/key/{api}/{key}");
                            let reply = admin.try_send(method, &path, &[], "".into()).await;
                            reply.is_ok_and(|reply| reply.status == 200)
                        };
                        if !send("PUT", "create").await {
                            return deleted;
                        }
                        // Those that stay are in the file, in which there is less room each time.
                        if number % 4 > 0 && !send("DELETE", "delete").await {
                            return deleted;
                        }
                        deleted += 1;
                    }
                    deleted
                });
            }
            let some = format!("k-{round}-0-{}", 4 + round * 3);
            wait::eventually_async(LIMIT, "keys are changed", async || {
                let mut admin = server.client(Who::Admin, Protocol::H2).await;
                let path = format!("/v1/key/list/{some}*");
                let names = admin.send("GET", &path, "").await.json()["names"].clone();
                !names.as_array().unwrap().is_empty() || server.file("keys.snapshot").exists()
            })
            .await;
            server.process().kill();
            while let Some(deleted) = clients.join_next().await {
                written += deleted.unwrap();
            }
            server.restart();
            let log = server.stderr();
            assert!(!log.contains("is not used"), "{log}");
            let left = fs::read_dir(server.folder()).unwrap();
            let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<_> = names.filter(|name| name.starts_with(".keys")).collect();
            assert!(left.is_empty(), "what was not finished is gone: {left:?}");
        }
        figure("kills", KILLS);
        figure("changes", written);
    });
}
