//! Mixed work for as many requests as an hour brings, and whether the server's memory grows.
//!
//! The keys that everybody uses stay in memory; beside them keys come and go, names are asked for
//! that do not exist, large plaintexts are encrypted, connections are opened and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::client::{Kind, Protocol, Sender, Template};
use crate::cpu;
use crate::memory::{QUIET, settled};
use crate::servers::{Servers, Subject};
use crate::setup::Setup;

/// Unless the command says another number.
pub(crate) const REQUESTS: u64 = 5_000_000;

/// How often memory is looked at, over the whole run.
const LOOKS: u64 = 20;

/// Where the growth is counted from: caches, pools and the allocator are full by then.
const WARM: u64 = 20;

/// Keys that everybody uses.
const KEYS: usize = 100;

const H2_CONNECTIONS: usize = 4;
const H2_STREAMS: usize = 8;
const H1_CONNECTIONS: usize = 8;

/// What everybody at work shares.
struct World {
    address: String,
    configs: [Arc<ClientConfig>; 2],
    /// The number of the next request.
    next: AtomicU64,
    /// Set when all are sent.
    is_over: AtomicBool,
}

/// The requests of one protocol.
struct Mix {
    protocol: Protocol,
    generate: Vec<Template>,
    decrypt: Vec<Template>,
    encrypt: Vec<Template>,
    describe: Vec<Template>,
    large: Vec<Template>,
}

/// Loads ours with mixed work, and prints its memory on the way.
pub(crate) async fn run(total: u64) {
    let servers = Servers::start(&Setup { keys: KEYS, ..Setup::default() });
    let ours = servers.ours();
    let configs = [Protocol::H1, Protocol::H2].map(|protocol| servers.client(protocol.alpn()));
    let world = Arc::new(World {
        address: ours.address.clone(),
        configs,
        next: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    println!("memory at rest {:.1} MiB", memory(ours).await);
    let mut workers = JoinSet::new();
    for (protocol, connections, streams) in
        [(Protocol::H1, H1_CONNECTIONS, 1), (Protocol::H2, H2_CONNECTIONS, H2_STREAMS)]
    {
        let mix = Arc::new(Mix::prepare(&world, protocol, ours).await);
        for _ in 0..connections {
            let sender = world.open(protocol).await;
            for _ in 1..streams {
                workers.spawn(work(
                    Arc::clone(&world),
                    Arc::clone(&mix),
                    sender.another().unwrap(),
                ));
            }
            workers.spawn(work(Arc::clone(&world), Arc::clone(&mix), sender));
        }
    }
    let grown = watch(&world, total, ours, &mut workers).await;
    // Not before the last look, which would find less at work than the others.
    world.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    println!("grown by {grown:+.1} MiB between {WARM} % and 100 % of the run");
    let left = settled(ours, QUIET).await / 1024.0;
    println!("memory with all connections closed {left:.1} MiB");
}

/// Prints memory at each look until all requests are sent; how much it grew since it was warm.
async fn watch(world: &World, total: u64, ours: &Subject, workers: &mut JoinSet<()>) -> f64 {
    const LOOK: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let mut warm = None;
    let mut last = 0.0;
    for look in 1..=LOOKS {
        let due = total * look / LOOKS;
        while world.next.load(Ordering::Relaxed) < due {
            tokio::time::sleep(LOOK).await;
            if let Some(ended) = workers.try_join_next() {
                // Early only if it failed.
                ended.unwrap();
            }
        }
        last = memory(ours).await;
        let seconds = start.elapsed().as_secs_f64();
        println!("{due:>9} requests, {seconds:>6.1} s: {last:.1} MiB");
        if look * 100 >= WARM * LOOKS {
            warm.get_or_insert(last);
        }
    }
    last - warm.unwrap_or(last)
}

/// Resident MiB: the middle of some looks, since large bodies come and go.
async fn memory(ours: &Subject) -> f64 {
    const LOOKS: usize = 11;
    const PAUSE: Duration = Duration::from_millis(10);
    let mut seen = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        seen.push(cpu::resident_kib(ours.pid));
        tokio::time::sleep(PAUSE).await;
    }
    seen.sort_unstable();
    seen[LOOKS / 2] as f64 / 1024.0
}

impl World {
    async fn open(&self, protocol: Protocol) -> Sender {
        let config = &self.configs[usize::from(protocol == Protocol::H2)];
        Sender::open(&self.address, config).await
    }
}

impl Mix {
    async fn prepare(world: &World, protocol: Protocol, ours: &Subject) -> Self {
        let mut sender = world.open(protocol).await;
        Self {
            protocol,
            generate: Kind::Generate.templates(&mut sender, ours, KEYS).await,
            decrypt: Kind::Decrypt.templates(&mut sender, ours, KEYS).await,
            encrypt: Kind::Encrypt(32).templates(&mut sender, ours, KEYS).await,
            describe: Kind::Describe.templates(&mut sender, ours, KEYS).await,
            large: Kind::Encrypt(700_000).templates(&mut sender, ours, 1).await,
        }
    }
}

/// Sends requests until it is over. What the next one is depends on its number alone.
async fn work(world: Arc<World>, mix: Arc<Mix>, mut sender: Sender) {
    while !world.is_over.load(Ordering::Relaxed) {
        let number = world.next.fetch_add(1, Ordering::Relaxed);
        let one = |templates: &'_ [Template]| {
            let index = usize::try_from(number).unwrap() % templates.len();
            templates[index].clone()
        };
        match number % 1_000 {
            0 => create_and_delete(&world, &mix, &mut sender, number).await,
            1 => sender.finish(&one(&mix.large)).await,
            2 | 502 => {
                let mut anew = world.open(mix.protocol).await;
                anew.finish(&one(&mix.generate)).await;
            }
            n if n % 50 == 3 => missing(&world, &mix, &mut sender, number).await,
            n if n % 10 < 5 => sender.finish(&one(&mix.decrypt)).await,
            n if n % 10 < 8 => sender.finish(&one(&mix.generate)).await,
            n if n % 10 == 8 => sender.finish(&one(&mix.encrypt)).await,
            _ => sender.finish(&one(&mix.describe)).await,
        }
    }
}

/// A key that lives for a moment. Together they count as one request.
async fn create_and_delete(world: &World, mix: &Mix, sender: &mut Sender, number: u64) {
    for (method, api) in [(Method::PUT, "create"), (Method::DELETE, "delete")] {
        let path = format!("/v1/key/{api}/soak-{number}");
        sender.finish(&Template::new(mix.protocol, &world.address, method, &path, "")).await;
    }
}

/// A name that does not exist, and is asked for once.
async fn missing(world: &World, mix: &Mix, sender: &mut Sender, number: u64) {
    let path = format!("/v1/key/describe/none-{number}");
    let describe = Template::new(mix.protocol, &world.address, Method::GET, &path, "");
    let response = sender.exchange(&describe).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    response.into_body().collect().await.unwrap();
}
