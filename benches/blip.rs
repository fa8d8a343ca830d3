//! What a Vault that is away for two seconds costs 64 clients: how many of their reads fail, how
//! long after its return they are answered, and how many connections Vault is bothered with.
//!
//! `cargo bench --bench cold -- blip`. Each client reads a key of its own that is in no memory, so
//! that nothing is shared. A relay in front of a real OpenBao makes the blip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use kes_keystore::config::KvVersion;
use kes_keystore::vault::VaultStore;
use kes_keystore::{KeyStore as _, Value};
use kes_testkit::Bao;
use kes_testkit::faulty::{Mode, Relay};

const CLIENTS: usize = 64;

const BLIP: Duration = Duration::from_secs(2);

/// How Vault is away.
const MODES: [(&str, Mode); 5] = [
    ("refuses connections", Mode::Refuse),
    ("resets connections", Mode::Cut),
    ("answers 429", Mode::Answer(429)),
    ("answers 500", Mode::Answer(500)),
    ("answers 503", Mode::Answer(503)),
];

/// Measures and prints; whether no read failed.
pub(crate) fn run() -> bool {
    let bao = Bao::start_in_memory();
    let role = bao.root().set_up().kv("kv", 2).token_ttl(super::HOUR).app_role();
    let relay = Relay::to(bao.address());
    let url = format!("http://{}", relay.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = super::settings(&url, KvVersion::V2, &role, None);
        let store = Arc::new(VaultStore::open(settings).await.unwrap());
        for client in 0..CLIENTS {
            store.create(&name(client), &Value::new("A".repeat(200))).await.unwrap();
        }
        println!("| OpenBao, for 2 s | failed | answered after its return, median | last | connections meanwhile |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        let mut good = true;
        for (what, mode) in MODES {
            good &= blip(&store, &relay, what, mode).await;
        }
        good
    })
}

async fn blip(store: &Arc<VaultStore>, relay: &Relay, what: &str, mode: Mode) -> bool {
    let before = relay.connections();
    relay.set(mode);
    let start = Instant::now();
    let reads: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let read = store.read(&name(client)).await;
                (read.is_ok(), Instant::now())
            })
        })
        .collect();
    tokio::time::sleep(BLIP.saturating_sub(start.elapsed())).await;
    let connections = relay.connections() - before;
    relay.set(Mode::Pass);
    let back = Instant::now();
    let mut failed = 0;
    let mut late = Vec::new();
    for read in reads {
        let (good, at) = read.await.unwrap();
        failed += usize::from(!good);
        late.push(at.saturating_duration_since(back));
    }
    late.sort_unstable();
    let ms = |time: Duration| time.as_millis();
    let (median, last) = (ms(late[CLIENTS / 2]), ms(late[CLIENTS - 1]));
    println!("| {what} | {failed} of {CLIENTS} | {median} ms | {last} ms | {connections} |");
    // All is well before the next one.
    tokio::time::sleep(Duration::from_secs(1)).await;
    failed == 0
}

fn name(client: usize) -> KeyName {
    KeyName::parse(&format!("blip-{client}")).unwrap()
}
