//! Faults of all kinds together, at random, while workers create, use and delete keys: a model
//! that knows each acknowledged key and each data key says which answers are wrong.
//!
//! `KES_SOAK_SECONDS` is how long it lasts (8 unless set, 600 for an assurance), `KES_SOAK_SEED`
//! repeats the plan of a run: the same requests and the same faults in the same order. Their
//! timing is the machine's.
//!
//! ```text
//! KES_SOAK_SECONDS=600 cargo test --locked --test tests soak -- --nocapture
//! ```

mod faults;
mod model;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kes_testkit::faulty::Relay;
use rustls::pki_types::CertificateDer;

use super::world::{Layout, World, tell, told_nothing_of};
use crate::harness::{self, Client, Config, Protocol, Server, Who};
use worker::Worker;

/// How many clients work, each with names of its own, so that each knows what it did to them.
const WORKERS: u64 = 4;

/// All is well again this long after the last fault, on a busy machine.
const RETURN: Duration = Duration::from_secs(30);

/// All that the workers do.
const POLICY: &str = "
  soak:
    allow: [/v1/key/create/*, /v1/key/describe/*, /v1/key/generate/*, /v1/key/decrypt/*, /v1/key/delete/*, /v1/key/list/*, /v1/ready, /v1/log/audit]
    identities: [\"${MINIO}\"]";

/// What workers and faults share.
struct Soak {
    server: Server,
    /// The certificates that the server has had, the newest last.
    trusted: Mutex<Vec<CertificateDer<'static>>>,
    ended: AtomicBool,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// A new connection, whichever of its certificates the server shows.
    async fn connect(&self) -> Option<Client> {
        let trusted = self.trusted.lock().unwrap().clone();
        for certificate in trusted.iter().rev() {
            let credentials = self.server.credentials(Who::Minio);
            let address = &self.server.address;
            let connected = Client::connect(address, certificate, credentials, Protocol::H2);
            if let Ok(client) = connected.await {
                return Some(client);
            }
        }
        None
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// The configuration; a reload may exchange the life of a key in the cache.
fn config(world: &World, endpoint: &str, life: &str) -> Config {
    world
        .config_at(endpoint)
        .with("policy", POLICY)
        .with("cache", &format!("{{ expiry: {{ any: {life}, unused: {life}, offline: 0s }} }}"))
        .with("log", "{ audit: on, error: on }")
}

#[test]
fn no_answer_is_wrong_whatever_happens() {
    let lasts = Duration::from_secs(variable("KES_SOAK_SECONDS").unwrap_or(8));
    let seed = variable("KES_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    // Told at once: a run that fails is repeated by it.
    tell(&format!("KES_SOAK_SECONDS={} KES_SOAK_SEED={seed}", lasts.as_secs()));

    let world = World::new(Layout::V2);
    let relay = Arc::new(Relay::to(world.bao.address()));
    let endpoint = format!("http://{}", relay.address());
    let server = Server::with(&config(&world, &endpoint, "300ms"));
    let trusted = Mutex::new(vec![server.tls.certificate.clone()]);
    let soak = Arc::new(Soak { server, trusted, ended: AtomicBool::new(false) });

    let (workers, faults) = harness::run(async {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let worker = Worker::new(Arc::clone(&soak), number, seed);
                tokio::spawn(worker.work())
            })
            .collect();
        let slow = tokio::spawn(never_reads(Arc::clone(&soak)));
        let faults = {
            let soak = Arc::clone(&soak);
            let relay = Arc::clone(&relay);
            std::thread::spawn(move || faults::happen(&soak, world, &relay, &endpoint, seed, lasts))
        };
        let mut done = Vec::new();
        for worker in workers {
            done.push(worker.await.unwrap());
        }
        slow.await.unwrap();
        (done, faults.join().unwrap())
    });
    tell(&faults.told());

    let mut soak = Arc::into_inner(soak).unwrap();
    let mut wrong: Vec<String> = Vec::new();
    let mut tally = worker::Tally::default();
    for round in ["warm", "restarted"] {
        harness::run(async {
            let mut client = soak.connect().await.unwrap();
            is_ready(&mut client).await;
            for worker in &workers {
                wrong.extend(
                    worker
                        .model
                        .verify(&mut client)
                        .await
                        .into_iter()
                        .map(|what| format!("at the end ({round}): {what}")),
                );
            }
        });
        // What is in the cache does not help after a restart.
        soak.server.restart();
    }
    for worker in workers {
        tally.add(&worker.tally);
        wrong.extend(worker.wrong);
    }
    wrong.extend(unrecorded(&soak.server, &tally.deleted));
    tell(&tally.told());
    let log = soak.server.stderr();
    let last: Vec<_> = log.lines().rev().take(8).collect();
    assert!(
        wrong.is_empty(),
        "KES_SOAK_SEED={seed}: {wrong:#?}\nthe log ends, from below: {last:#?}"
    );
    assert!(tally.answered > 0, "nothing was answered: {}", tally.told());
    told_nothing_of(&soak.server, &["panicked", &faults.world.role.secret_id]);
}

async fn is_ready(client: &mut Client) {
    let start = Instant::now();
    loop {
        let reply = client.share().send("GET", "/v1/ready", "").await;
        if reply.status == 200 {
            break;
        }
        let (status, message) = (reply.status, reply.message());
        assert!(start.elapsed() < RETURN, "not ready after {RETURN:?}: {status} {message}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Follows the audit log without ever reading it, and asks for answers that it does not take.
async fn never_reads(soak: Arc<Soak>) {
    while soak.goes_on() {
        let since = Instant::now();
        if let Some(mut client) = soak.connect().await {
            let mut unread = Vec::new();
            for path in ["/v1/log/audit", "/v1/key/list/*", "/v1/key/list/*"] {
                unread.push(client.open("GET", path, &[], "".into()).await);
            }
            while soak.goes_on() && since.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Names with more acknowledged deletes than true lines in the audit log.
fn unrecorded(server: &Server, deleted: &BTreeMap<String, usize>) -> Vec<String> {
    let log = server.stdout();
    let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains(" res.code=200 ")) {
        if let Some((_, after)) = line.split_once(" req.path=/v1/key/delete/") {
            *recorded.entry(after.split(' ').next().unwrap()).or_default() += 1;
        }
    }
    let lines = |name: &String| recorded.get(name.as_str()).copied().unwrap_or_default();
    let missing = deleted.iter().filter(|(name, count)| lines(name) < **count);
    missing
        .map(|(name, count)| format!("'{name}': {count} deletes, {} in the log", lines(name)))
        .collect()
}
