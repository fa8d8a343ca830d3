use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use kes_testkit::wait;
use rustix::process::Signal;

use super::with_key;
use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who, figure, is_whole};

/// `${OTHER}` may do one thing.
fn allowing(path: &str) -> Config {
    let policy = format!("{{ p: {{ allow: [{path}], identities: [\"${{OTHER}}\"] }} }}");
    Config::usual().with("policy", &policy)
}

async fn status(client: &mut Client, path: &str) -> u16 {
    client.send("GET", path, "").await.status
}

#[test]
fn a_new_policy_counts_on_connections_that_stand() {
    harness::run(async {
        let server = Server::with(&allowing("/v1/status"));
        let mut clients = Vec::new();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Other, protocol).await;
            assert_eq!(status(&mut client, "/v1/status").await, 200);
            assert_eq!(status(&mut client, "/v1/api").await, 403);
            clients.push(client);
        }
        server.reload_and_wait(&allowing("/v1/api"));
        for client in &mut clients {
            assert_eq!(status(client, "/v1/status").await, 403);
            assert_eq!(status(client, "/v1/api").await, 200);
        }
        // The admin is another one.
        server.reload_and_wait(&allowing("'*'").with("admin", "{ identity: \"${MINIO}\" }"));
        let mut former = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(status(&mut former, "/v1/status").await, 403);
        let mut admin = server.client(Who::Minio, Protocol::H2).await;
        let own = admin.send("GET", "/v1/identity/self/describe", "").await.json();
        assert_eq!(own["admin"], true, "{own}");
    });
}

#[test]
fn a_broken_file_changes_nothing_and_its_mistakes_are_logged() {
    harness::run(async {
        let server = Server::with(&allowing("/v1/status"));
        let mut client = server.client(Who::Other, Protocol::H2).await;

        // One section is good and would open something: it is all or nothing.
        let broken = allowing("'*'")
            .with("cache", "{ expiry: { any: soon } }")
            .with("log", "{ error: loud, adit: on }");
        let text = broken.text();
        let line = |field: &str| text.lines().position(|line| line.starts_with(field)).unwrap() + 1;
        server.reload(&broken);
        server.wait_for_stderr("reload failed; still using the previous configuration");
        let stderr = server.stderr();
        let logged = stderr.lines().find(|line| line.contains("reload failed")).unwrap();
        assert!(logged.contains("level=ERROR"), "{logged}");
        for (field, section) in [("cache.expiry.any", "cache"), ("log.error", "log")] {
            let place = format!("config.yml:{}: {field}", line(section));
            assert!(logged.contains(&place), "'{place}' is not in {logged}");
        }
        let warned = stderr.lines().find(|line| line.contains("is 'audit' meant?")).unwrap();
        assert!(warned.contains("level=WARN") && !logged.contains("audit"), "{warned}\n{logged}");
        assert_eq!(status(&mut client, "/v1/status").await, 200);
        assert_eq!(status(&mut client, "/v1/api").await, 403);

        // What is right in the file and not in the world refuses it as well.
        for (section, text, told) in [
            ("tls", "{ key: server.key, cert: nowhere.crt }", "nowhere.crt"),
            ("keystore", "{ fs: { path: server.key/keys } }", "server.key/keys"),
        ] {
            server.reload(&allowing("'*'").with(section, text));
            server.wait_for_stderr(told);
            assert_eq!(status(&mut client, "/v1/status").await, 200);
            assert_eq!(status(&mut client, "/v1/api").await, 403);
        }
        fs::remove_file(server.file("config.yml")).unwrap();
        let errors = server.stderr().matches("reload failed").count();
        assert_eq!(errors, 3, "{}", server.stderr());

        // And a good one afterwards is taken.
        server.reload_and_wait(&allowing("'*'"));
        assert_eq!(status(&mut client, "/v1/api").await, 200);
    });
}

/// A mistyped path opens if there is a folder: the log has to tell that there are no keys in it.
#[test]
fn another_key_store_and_a_new_folder_are_told() {
    let server = Server::start();
    let told = |config: &Config, text: &str| {
        let line = config.text().lines().position(|line| line.starts_with("keystore")).unwrap() + 1;
        server.wait_for_stderr(&format!("config.yml:{line}: keystore.fs.path: {text}"));
    };
    let made = "did not exist and was made; it is empty";
    told(&Config::usual(), &format!("folder 'keys' {made}"));
    server.reload_and_wait(&Config::usual());
    assert!(!server.stderr().contains("key store changed"), "{}", server.stderr());

    let mistyped = Config::usual().with("keystore", "{ fs: { path: kyes } }");
    server.reload(&mistyped);
    told(&mistyped, "cannot open folder 'kyes' as key store: No such file or directory");
    server.wait_for_stderr("reload failed; still using the previous configuration");
    assert!(!server.file("kyes").exists());

    fs::create_dir(server.file("kyes")).unwrap();
    server.reload_and_wait(&mistyped);
    told(&mistyped, "folder 'kyes' has no keys; if keys are expected, ");
    server.wait_for_stderr(
        "level=WARN msg=\"key store changed from filesystem: keys to filesystem: kyes; the keys in \
         memory are dropped\"",
    );
    server.reload_and_wait(&Config::usual());
    server.wait_for_stderr("key store changed from filesystem: kyes to filesystem: keys");
    assert_eq!(server.stderr().matches(made).count(), 1, "{}", server.stderr());
}

#[test]
fn log_levels_change() {
    harness::run(async {
        let config = |audit: &str, error: &str| {
            Config::usual().with("log", &format!("{{ audit: {audit}, error: {error} }}"))
        };
        let server = Server::with(&config("off", "info"));
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/unseen", "").await.status, 200);
        server.reload_and_wait(&config("debug", "debug"));
        assert_eq!(status(&mut admin, "/version").await, 200);
        wait::eventually(Duration::from_secs(10), "the request is audited", || {
            server.stdout().contains("req.path=/version")
        });
        assert!(!server.stdout().contains("unseen"), "{}", server.stdout());
        // At DEBUG the error log tells of clients that went away during the handshake.
        let mut hello = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut hello, &[0x16, 3, 1, 2, 0, 1]).await.unwrap();
        drop(hello);
        server.wait_for_stderr("the client went away during the TLS handshake");
    });
}

#[test]
fn an_api_that_starts_to_skip_authentication_is_open_to_new_connections() {
    harness::run(async {
        let server = Server::start();
        let trusted = &server.tls.certificate;
        let skipping = Config::usual().with("api", "{ /v1/ready: { skip_auth: true } }");
        server.reload_and_wait(&skipping);
        let mut nobody = server.client(Who::Nobody, Protocol::H2).await;
        assert_eq!(status(&mut nobody, "/v1/ready").await, 200);
        server.reload_and_wait(&Config::usual());
        assert_eq!(status(&mut nobody, "/v1/ready").await, 400);
        let refused = match Client::connect(&server.address, trusted, None, Protocol::H1).await {
            Ok(mut client) => client.try_send("GET", "/v1/ready", &[], "".into()).await.is_err(),
            Err(_) => true,
        };
        assert!(refused, "a certificate is demanded again");
    });
}

#[test]
fn another_certificate_may_be_named() {
    harness::run(async {
        let fresh = Credentials::new(&["127.0.0.1"]);
        let server = Server::start();
        let mut before = server.client(Who::Admin, Protocol::H2).await;
        fs::write(server.file("new.key"), &fresh.key_pem).unwrap();
        fs::write(server.file("new.crt"), &fresh.certificate_pem).unwrap();
        let config = Config::usual().with("tls", "{ key: new.key, cert: new.crt }");
        server.reload_and_wait(&config);
        let admin = Some(&server.admin);
        for protocol in [Protocol::H1, Protocol::H2] {
            let old = Client::connect(&server.address, &server.tls.certificate, admin, protocol);
            assert!(old.await.is_err(), "the old certificate is still served");
            let new = Client::connect(&server.address, &fresh.certificate, admin, protocol).await;
            assert_eq!(status(&mut new.unwrap(), "/v1/status").await, 200);
        }
        assert_eq!(status(&mut before, "/v1/status").await, 200);
    });
}

#[test]
fn reloads_under_load_drop_nothing() {
    harness::run(async {
        let count = if is_whole() { 100 } else { 20 };
        let server = Arc::new(Server::start());
        let h2 = with_key(&server, Protocol::H2).await;
        let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut tasks = Vec::new();
        for number in 0..100 {
            let mut client = if number < 90 {
                h2.share()
            } else {
                server.client(Who::Minio, Protocol::H1).await
            };
            let (done, served) = (Arc::clone(&done), Arc::clone(&served));
            tasks.push(tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let reply =
                        client.try_send("PUT", "/v1/key/generate/k", &[], "".into()).await?;
                    if reply.status != 200 {
                        return Err(format!("{reply:?}"));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        let reloads = tokio::task::spawn_blocking({
            let (server, served) = (Arc::clone(&server), Arc::clone(&served));
            move || {
                for round in 0..count {
                    let refused = || server.stderr().matches("reload failed").count();
                    match round % 4 {
                        // Another certificate, in the files that were named before.
                        0 => {
                            let fresh = Credentials::new(&["127.0.0.1"]);
                            fs::write(server.file("server.key"), &fresh.key_pem).unwrap();
                            fs::write(server.file("server.crt"), &fresh.certificate_pem).unwrap();
                            server.reload_and_wait(&Config::usual());
                        }
                        // A file that is refused.
                        1 => {
                            let before = refused();
                            server.reload(
                                &Config::usual().with("cache", "{ expiry: { any: soon } }"),
                            );
                            wait::eventually(Duration::from_secs(20), "it is refused", || {
                                refused() > before
                            });
                        }
                        2 => {
                            let policies = "{ p: { allow: [/v1/key/generate/*], identities: \
                                [\"${MINIO}\"] }, q: { allow: [/v1/api], identities: [\"${OTHER}\"] } }";
                            server.reload_and_wait(&Config::usual().with("policy", policies));
                        }
                        _ => {
                            let levels = format!("{{ expiry: {{ any: {}m }} }}", round + 1);
                            server.reload_and_wait(&Config::usual().with("cache", &levels));
                        }
                    }
                    let so_far = served.load(Ordering::Relaxed);
                    wait::eventually(Duration::from_secs(20), "requests go on", || {
                        served.load(Ordering::Relaxed) > so_far + 100
                    });
                }
            }
        });
        let reloaded = reloads.await;
        done.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        reloaded.unwrap();
        figure("reloads under load", count);
        figure("requests during reloads", served.load(Ordering::Relaxed));
    });
}

#[test]
fn signals_in_a_row_end_with_the_last_file() {
    harness::run(async {
        let mut server = Server::with(&allowing("/v1/status"));
        for _ in 0..50 {
            server.reload(&allowing("/v1/api"));
        }
        let mut client = server.client(Who::Other, Protocol::H2).await;
        let mut last = 0;
        wait::eventually_async(Duration::from_secs(10), "the last file is in force", || {
            let mut client = client.share();
            async move { status(&mut client, "/v1/api").await == 200 }
        })
        .await;
        // Signals that come together may count as one; the server lives on.
        wait::eventually(Duration::from_secs(10), "the reloads end", || {
            let before = std::mem::replace(
                &mut last,
                server.stderr().matches("the configuration was read again").count(),
            );
            before == last && last > 0
        });
        assert!(server.process().is_running());
        server.process().signal(Signal::HUP);
        assert_eq!(status(&mut client, "/v1/api").await, 200);
    });
}

#[test]
fn cached_keys_outlive_a_reload_of_the_same_key_store() {
    harness::run(async {
        let server = Server::start();
        let mut admin = with_key(&server, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        // Gone behind the server's back: it is served from memory from now on, or not at all.
        fs::remove_file(server.file("keys/k")).unwrap();
        server.reload_and_wait(&Config::usual().with("cache", "{ expiry: { unused: 2m } }"));
        assert_eq!(admin.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        // In another key store a key of that name is another key.
        fs::create_dir(server.file("others")).unwrap();
        server.reload_and_wait(&Config::usual().with("keystore", "{ fs: { path: others } }"));
        assert_eq!(admin.send("PUT", "/v1/key/generate/k", "").await.status, 404);
    });
}
