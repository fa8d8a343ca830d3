//! Vault goes away and comes back while the server runs, as MinIO and the operator see it. The
//! server is never started anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::faulty::{Faulty, Mode, Relay, Reply};
use kes_testkit::{Bao, wait};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::work::{generate, open};
use super::world::{Layout, World, told_nothing_of};
use crate::harness::{self, Client, Protocol, Server, Who, figure};

/// Every route of a key has 15 s.
const DEADLINE: Duration = Duration::from_secs(15);

/// Nobody waits for a Vault that is known to be away. With room for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The first who meet a Vault that is away wait for its return, for 4.5 s.
const WAITED: Duration = Duration::from_secs(8);

/// From Vault's return until all is well; some 0.5 s on an idle machine.
const RECOVERY: Duration = Duration::from_secs(5);

#[test]
fn sealed() {
    let outage = Outage {
        begin: |bao| bao.seal(),
        end: |bao| bao.unseal(),
        cause: "sealed",
        first: WAITED,
        later: AT_ONCE,
        life: "2s",
    };
    goes_on(&outage);
}

#[test]
fn killed() {
    let outage = Outage {
        begin: Bao::kill,
        end: |bao| {
            bao.start_again();
            bao.unseal();
        },
        cause: "refused",
        first: WAITED,
        later: AT_ONCE,
        life: "2s",
    };
    goes_on(&outage);
}

#[test]
fn frozen() {
    let outage = Outage {
        begin: |bao| bao.freeze(),
        end: |bao| bao.thaw(),
        cause: "timed out",
        first: DEADLINE,
        later: DEADLINE,
        // It takes 2 s to see that a connection is not answered.
        life: "5s",
    };
    goes_on(&outage);
}

/// It is not Vault that is away: the server may open no connection.
#[test]
fn a_connection_that_cannot_be_opened_for_want_of_files_is_told_with_what_to_raise() {
    let world = World::new(Layout::V2);
    let relay = Relay::to(world.bao.address());
    let server = Server::with(&world.config_at(&format!("http://{}", relay.address())));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
        server.allow_no_more_files();
        // The connections that are kept.
        relay.set(Mode::Cut);
        let reply = minio.send("PUT", "/v1/key/generate/other", "{}").await;
        assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
    });
    let told = format!(
        "no connection to http://{}: Too many open files (os error 24); raise LimitNOFILE \
         (systemd) or `ulimit -n`\" req.method=PUT",
        relay.address()
    );
    server.wait_for_stderr(&told);
}

/// The line of a probe that fails says what is the matter with Vault.
#[test]
fn a_probe_that_fails_is_told_with_the_cause() {
    let world = World::new(Layout::V2);
    let server = world.serve();
    let url = world.bao.url();
    harness::run(async {
        let operator = server.client(Who::Other, Protocol::H2).await;
        let ready = async || operator.share().send("GET", "/v1/ready", "").await.status;
        let is_told = async |status: u16, text: &str| {
            let line = format!("msg=\"{text}\" req.method=GET req.path=/v1/ready");
            wait::eventually_async(Duration::from_secs(30), &line, async || {
                ready().await == status && server.stderr().contains(&line)
            })
            .await;
        };
        world.bao.seal();
        let sealed = format!("not available: {url} is sealed");
        is_told(504, &format!("key store is not reachable: key store: vault: {sealed}")).await;

        world.bao.unseal();
        wait::eventually_async(Duration::from_secs(30), "Vault is back", async || {
            ready().await == 200
        })
        .await;
        world.space().must("DELETE", "auth/approle/role/kes", None);
        world.space().revoke_tokens("approle");
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/generate/k", "{}").await.status, 502);
        let refused = "key store is unavailable: key store: vault: Vault refuses the login";
        is_told(502, refused).await;
    });
}

struct Outage {
    begin: fn(&mut Bao),
    end: fn(&mut Bao),
    /// What the error log says of it.
    cause: &'static str,
    /// How long an answer may take at first, and once Vault is known to be away.
    first: Duration,
    later: Duration,
    /// How long keys stay in memory, whatever happens to them.
    life: &'static str,
}

fn goes_on(outage: &Outage) {
    let mut world = World::new(Layout::V1);
    let life = outage.life;
    let config = |offline: &str| {
        let cache = format!("{{ expiry: {{ any: {life}, unused: {life}, offline: {offline} }} }}");
        world.config().with("cache", &cache)
    };
    let server = Server::with(&config("10m"));
    let forgetful = Server::with(&config("0s"));

    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut other = forgetful.client(Who::Minio, Protocol::H2).await;
        for key in ["cached", "uncached"] {
            let reply = other.send("PUT", &format!("/v1/key/create/{key}"), "").await;
            assert_eq!((reply.status, reply.body.len()), (200, 0));
        }
        let before = generate(&mut minio, "cached", "context").await;
        // A key that is in use, as MinIO's is: not one request fails from here to the end.
        let use_of_cached = Use::start(minio.share());

        (outage.begin)(&mut world.bao);
        keys_fail(&server, outage.first).await;
        keys_fail(&server, outage.later).await;
        says_so(&server).await;
        log_names_the_cause(&server, "uncached", outage.cause);

        // By the time that the other server has lost the key, the cached key is past its life.
        wait::eventually_async(DEADLINE * 2, "a key goes without `offline`", async || {
            let body = json!({}).to_string();
            other.share().send("PUT", "/v1/key/generate/cached", &body).await.status == 502
        })
        .await;
        open(&mut minio, "cached", &before).await;
        generate(&mut minio, "cached", "another").await;

        (outage.end)(&mut world.bao);
        recovers(&server).await;
        open(&mut minio, "cached", &before).await;
        use_of_cached.never_failed().await;
    });
    told_nothing_of(&server, &[&world.role.secret_id, &world.stored("cached").unwrap()]);
}

/// All that needs Vault is answered in time, in the contract's words.
async fn keys_fail(server: &Server, limit: Duration) {
    let key = json!({ "key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "cipher": "AES256" });
    let operations = [
        (Who::Minio, "PUT", "/v1/key/generate/uncached", "failed to read key"),
        (Who::Other, "GET", "/v1/key/describe/uncached", "failed to read key"),
        (Who::Minio, "PUT", "/v1/key/create/another", "failed to create key"),
        (Who::Other, "PUT", "/v1/key/import/another-one", "failed to create key"),
        // Of another key: a Vault that goes on carries out what it has received.
        (Who::Other, "DELETE", "/v1/key/delete/none", "failed to delete key"),
        (Who::Minio, "GET", "/v1/key/list/*", "failed to list keys"),
    ];
    let mut tasks = Vec::new();
    for (who, method, path, message) in operations {
        let mut client = server.client(who, Protocol::H2).await;
        let body = if path.contains("import") { key.to_string() } else { String::new() };
        tasks.push(tokio::spawn(async move {
            let start = Instant::now();
            let reply = client.send(method, path, &body).await;
            assert_eq!(reply.error(), (502, message.to_owned()), "{path}");
            assert_eq!(reply.header("content-type"), "application/json");
            figure("s until an answer without Vault", start.elapsed().as_secs_f32());
            assert!(start.elapsed() < limit, "{path} took {:?}", start.elapsed());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Whoever asks how the server is hears that Vault is away.
async fn says_so(server: &Server) {
    let mut operator = server.client(Who::Other, Protocol::H1).await;
    let reply = operator.send("GET", "/v1/ready", "").await;
    assert_eq!(reply.error(), (504, "key store is not reachable".to_owned()));
    let mut minio = server.client(Who::Minio, Protocol::H1).await;
    let status = status(&mut minio).await;
    assert_eq!(status["keystore_unreachable"], true);
    assert_eq!(status["keystore_latency"], Value::Null);

    let output = server.command(Who::Minio, &["status", "-k"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.trim() == "Keystore unreachable"), "{text}");
    let output = server.command(Who::Minio, &["status", "-k", "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["keystore_unreachable"], true);
}

/// A line of the error log names the key, the key store and the cause, and says who asked.
fn log_names_the_cause(server: &Server, key: &str, cause: &str) {
    let path = format!("req.path=/v1/key/generate/{key}");
    server.wait_for_stderr(&path);
    let log = server.stderr();
    let line = log.lines().find(|line| line.contains(&path)).unwrap();
    let (_, message) = line.split_once(" msg=\"").unwrap();
    let (message, fields) = message.rsplit_once("\" ").unwrap();
    assert!(line.contains(" level=ERROR "), "{line}");
    assert!(message.contains(&format!("'{key}'")), "the key: {line}");
    assert!(message.contains("vault"), "the key store: {line}");
    assert!(message.contains(cause), "the cause: {line}");
    assert!(fields.contains(&format!("req.identity={}", server.minio.identity)), "{line}");
    assert!(log.contains("level=WARN msg=\"key store: vault: not available: "), "{log}");
}

/// Once Vault is back, so is everything, within seconds.
pub(super) async fn recovers(server: &Server) {
    let minio = server.client(Who::Minio, Protocol::H2).await;
    let operator = server.client(Who::Other, Protocol::H2).await;
    // Without any call that needs Vault, it finds out by itself.
    let ready = wait::eventually_async(RECOVERY, "it is ready", async || {
        operator.share().send("GET", "/v1/ready", "").await.status == 200
    })
    .await;
    let read = wait::eventually_async(RECOVERY, "a key is read", async || {
        minio.share().send("PUT", "/v1/key/generate/uncached", "").await.status == 200
    })
    .await;
    figure("s until served after Vault's return", (ready + read).as_secs_f32());
    let status = status(&mut minio.share()).await;
    assert_eq!(status["keystore_unreachable"], Value::Null);
    assert!(status["keystore_latency"].as_u64() >= Some(1), "{status}");
    server.wait_for_stderr("level=INFO msg=\"key store: vault: available\"");
}

async fn status(client: &mut Client) -> Value {
    let reply = client.send("GET", "/v1/status", "").await;
    assert_eq!(reply.status, 200);
    reply.json()
}

/// A client that uses the key `cached` all the time.
struct Use {
    ended: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Use {
    fn start(mut client: Client) -> Self {
        let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (end, count) = (Arc::clone(&ended), Arc::clone(&served));
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let made = generate(&mut client, "cached", "in use").await;
                open(&mut client, "cached", &made).await;
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { ended, served, task }
    }

    async fn never_failed(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        assert!(self.served.load(Ordering::Relaxed) > 50);
    }
}

/// A Vault that takes every connection and answers nothing, from the start on.
#[test]
fn hanging_from_the_start() {
    let world = World::new(Layout { tls: false, ..Layout::V1 });
    let vault = Faulty::start(|_| Reply::Hang);
    let server = Server::with(&world.config_at(&vault.url()));
    harness::run(async {
        keys_fail(&server, DEADLINE).await;
        says_so(&server).await;
    });
}

/// The token goes while keys are used: a login follows at once, and nobody notices.
#[test]
fn a_revoked_token_fails_no_request() {
    let world = World::new(Layout::V2);
    let server = world.serve();
    let tokens = || world.space().list("sys/leases/lookup/auth/approle/login").len();
    wait::eventually(DEADLINE, "the server has logged in", || tokens() == 1);
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for key in ["a", "b", "c"] {
            let start = Instant::now();
            let reply = minio.send("PUT", &format!("/v1/key/create/{key}"), "").await;
            assert_eq!((reply.status, reply.body.len()), (200, 0));
            // Logins are never closer than a second to each other.
            assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
            assert_eq!(tokens(), 1);
            world.space().revoke_tokens("approle");
        }
    });
    told_nothing_of(&server, &[&world.role.secret_id, "ERROR"]);
}
