//! Puts that go on while Vault is away now and then, with a cache that keeps keys for a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::faulty::{Mode, Relay};
use kes_testkit::wait::eventually_async;

use super::work::{generate, open};
use super::world::{Layout, World, told_nothing_of};
use crate::harness::{self, Client, Config, Exposition, Protocol, Server, Who};

/// Every route of a key has 15 s.
const DEADLINE: Duration = Duration::from_secs(15);

const PUTTERS: usize = 8;

fn config(world: &World, relay: &Relay) -> Config {
    world
        .config_at(&format!("http://{}", relay.address()))
        .with("cache", "{ expiry: { any: 1s, unused: 1s } }")
}

/// What became of the puts of one client.
#[derive(Debug, Default)]
struct Puts {
    good: usize,
    failed: usize,
    longest: Duration,
}

/// Makes data keys, with a pause between two as a client has that writes objects, and opens each.
async fn put(client: Client, ended: Arc<AtomicBool>, good: Arc<AtomicUsize>) -> Puts {
    let mut puts = Puts::default();
    while !ended.load(Ordering::SeqCst) {
        let start = Instant::now();
        let reply = client.share().send("PUT", "/v1/key/generate/k", "{}").await;
        puts.longest = puts.longest.max(start.elapsed());
        match reply.status {
            200 => {
                puts.good += 1;
                good.fetch_add(1, Ordering::SeqCst);
            }
            502 => puts.failed += 1,
            other => panic!("{other}: {:?}", reply.error()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    puts
}

/// Vault is away `times` times for `away`; what became of all puts.
async fn puts_meet(server: &Server, relay: &Relay, modes: &[Mode], away: Duration) -> Vec<Puts> {
    let ended = Arc::new(AtomicBool::new(false));
    let client = server.client(Who::Minio, Protocol::H2).await;
    let good: [Arc<AtomicUsize>; PUTTERS] = Default::default();
    let putters: Vec<_> = good
        .iter()
        .map(|good| tokio::spawn(put(client.share(), Arc::clone(&ended), Arc::clone(good))))
        .collect();
    for mode in modes {
        relay.set(*mode);
        tokio::time::sleep(away).await;
        relay.set(Mode::Pass);
        // All is well in between: a client that still waits would take two blips for one outage.
        let before = good.each_ref().map(|good| good.load(Ordering::SeqCst));
        eventually_async(DEADLINE, "each client puts again", async || {
            good.iter().zip(before).all(|(good, before)| good.load(Ordering::SeqCst) > before + 1)
        })
        .await;
    }
    ended.store(true, Ordering::SeqCst);
    let mut all = Vec::new();
    for putter in putters {
        all.push(putter.await.unwrap());
    }
    all
}

#[test]
fn puts_outlast_each_blip_and_not_each_outage() {
    let world = World::new(Layout::V2);
    let relay = Relay::to(world.bao.address());
    let server = Server::with(&config(&world, &relay));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let made = generate(&mut minio, "k", "context").await;

        let blips = [Mode::Refuse, Mode::Answer(503)];
        for puts in puts_meet(&server, &relay, &blips, Duration::from_secs(2)).await {
            assert!(puts.failed == 0 && puts.good > 0, "{puts:?}");
        }
        let outages = [Mode::Refuse, Mode::Cut];
        for puts in puts_meet(&server, &relay, &outages, Duration::from_secs(6)).await {
            assert!(puts.good > 0 && puts.longest < DEADLINE, "{puts:?}");
            // Those who waited in vain, and those who came between then and Vault's return: at
            // most 2.5 s of each outage.
            assert!(puts.failed < 110, "{puts:?}");
        }
        open(&mut minio, "k", &made).await;
    });
    told_nothing_of(&server, &[&world.role.secret_id]);
}

/// Who waits for Vault is answered before the server ends, and who goes away is forgotten.
#[test]
fn a_server_that_waits_for_vault_can_be_stopped_and_left() {
    let world = World::new(Layout::V2);
    let relay = Relay::to(world.bao.address());
    let config = config(&world, &relay).with("api", "{ /v1/metrics: { skip_auth: true } }");
    let mut server = Server::with(&config);
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let gone = || async {
            server
                .client(Who::Minio, Protocol::H1)
                .await
                .send("PUT", "/v1/key/generate/a", "")
                .await
        };
        relay.set(Mode::Refuse);
        for _ in 0..16 {
            let _ = tokio::time::timeout(Duration::from_millis(100), gone()).await;
        }
        let requests = async || {
            let known = "kes_class_requests{class=\"known\"}";
            Exposition::from(&server).await.value(known)
        };
        eventually_async(DEADLINE, "who went away is forgotten", async || requests().await < 1.0)
            .await;
        let waits = minio.share();
        let waiting = tokio::spawn(async move {
            let mut waits = waits;
            waits.send("PUT", "/v1/key/generate/b", "{}").await.status
        });
        eventually_async(DEADLINE, "the request is there", async || {
            waiting.is_finished() || requests().await > 0.0
        })
        .await;
        server.wait_for_stderr("not available");
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(waiting.await.unwrap(), 502);
    });
    assert!(server.wait_for_exit(DEADLINE).success());
}
