//! What it costs to list 100,000 keys of a real OpenBao in the server's pages, and what it would
//! cost to list all of them for each page, which is what a key store has to do that knows of no
//! pages and keeps no names.

use std::time::Instant;

use kes_api::ListPattern;
use kes_keystore::config::KvVersion;
use kes_keystore::vault::VaultStore;
use kes_keystore::{KeyStore as _, Limit};
use kes_testkit::bao::minimal_kv_policy;
use kes_testkit::faulty::Relay;
use kes_testkit::{Authority, Bao};
use serde_json::json;

use super::{HOUR, OWN_TOKEN, client, cpu, settings};

/// The JSON of a page in bytes, as the server has it.
const PAGE: usize = 768 * 1024;

/// Listings of all names that stand for one for each page.
const SAMPLES: u32 = 3;

/// The JSON in bytes that one listing of OpenBao is enough for, where it sends all names each time.
const AHEAD: usize = 2 * 1024 * 1024;

/// What a listing costs.
struct Cost {
    seconds: f64,
    bytes: f64,
    cpu_s: f64,
    /// How much the memory of this process grew, at its highest.
    memory_kib: u64,
}

/// Prints a table for each version; whether the key store has as little sent as it should.
pub(super) fn run(check: bool) -> bool {
    let count: usize = if check { 20_000 } else { 100_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut good = true;
    for version in [KvVersion::V1, KvVersion::V2] {
        cpu::pin(0);
        let bao = Bao::start_in_memory();
        cpu::pin(1);
        let number = if matches!(version, KvVersion::V1) { 1 } else { 2 };
        fill(&bao, number, count);
        let (ours, each) = runtime.block_on(measure(&bao, version, number, count));
        println!("KV v{number}, {count} keys, in {} pages:\n", pages(count));
        println!(
            "{:22} {:>10} {:>12} {:>12} {:>10}",
            "", "time", "received", "OpenBao CPU", "memory"
        );
        for (name, cost) in [("kes", &ours), ("all for each page", &each)] {
            let Cost { seconds, bytes, cpu_s, memory_kib } = cost;
            println!(
                "{name:22} {seconds:>8.1} s {:>9.1} MB {cpu_s:>10.1} s {memory_kib:>6} KiB",
                bytes / 1e6
            );
        }
        let saved = (each.bytes / ours.bytes, each.cpu_s / ours.cpu_s);
        println!("{:22} {:>10} {:>12.1} {:>12.1}\n", "ratio", "", saved.0, saved.1);
        let pages = pages(count);
        let listings = (count * (name(0).len() + 3)).div_ceil(AHEAD);
        let expected = if number == 1 { pages as f64 / listings as f64 } else { pages as f64 };
        good &= saved.0 > expected / 2.0;
    }
    good
}

/// Writes keys as any client of the engine would.
fn fill(bao: &Bao, number: u8, count: usize) {
    bao.root().enable_kv("kv", number);
    let path = if number == 1 { "kv" } else { "kv/data" };
    std::thread::scope(|scope| {
        for first in 0..8 {
            scope.spawn(move || {
                for at in (first..count).step_by(8) {
                    let name = name(at);
                    let secret = json!({ &name: "A".repeat(200) });
                    let secret = if number == 1 { secret } else { json!({ "data": secret }) };
                    bao.root().write(&format!("{path}/{name}"), &secret);
                }
            });
        }
    });
}

/// Pages of so many keys.
fn pages(count: usize) -> usize {
    count.div_ceil(PAGE / (name(0).len() + 3))
}

/// In no order.
fn name(at: usize) -> String {
    format!(
        "minio-tenant-{:02}-bucket-{:08x}",
        at % 100,
        at.wrapping_mul(2_654_435_761) % (1 << 32)
    )
}

async fn measure(bao: &Bao, version: KvVersion, number: u8, count: usize) -> (Cost, Cost) {
    let relay = Relay::to(bao.address());
    let rights = minimal_kv_policy("kv", number) + OWN_TOKEN;
    let role = bao.root().set_up().granting(&rights).token_ttl(HOUR).app_role();
    let url = format!("http://{}", relay.address());
    let store = VaultStore::open(settings(&url, version, &role, None)).await.unwrap();
    let pages = pages(count);
    // The connection, and what is set up once.
    store.list(&ListPattern::parse("none").unwrap(), Limit::bytes(PAGE, PAGE)).await.unwrap();

    let ours = cost(bao, &relay, async || {
        let (mut pattern, mut names, mut read) = ("*".to_owned(), 0, 0);
        loop {
            let page = store
                .list(&ListPattern::parse(&pattern).unwrap(), Limit::bytes(PAGE, PAGE))
                .await
                .unwrap();
            names += page.names.len();
            read += 1;
            let Some(next) = page.next else { break };
            pattern = format!("*{next}");
        }
        assert_eq!((names, read), (count, pages));
    })
    .await;

    let folder = if number == 1 { "kv" } else { "kv/metadata" };
    let url = format!("{url}/v1/{folder}?list=true");
    let client = client(&Authority::new(), 1);
    let mut each = cost(bao, &relay, async || {
        for _ in 0..SAMPLES {
            let request = client.get(&url).header("x-vault-token", bao.root_token());
            let body = request.send().await.unwrap().bytes().await.unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(answer["data"]["keys"].as_array().unwrap().len(), count);
        }
    })
    .await;
    let scale = pages as f64 / f64::from(SAMPLES);
    each.seconds *= scale;
    each.bytes *= scale;
    each.cpu_s *= scale;
    (ours, each)
}

async fn cost(bao: &Bao, relay: &Relay, list: impl AsyncFnOnce()) -> Cost {
    // From now on the highest is that of the listing.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let memory = cpu::peak_kib(std::process::id());
    let (bytes, cpu_ns) = (relay.answered(), cpu::time_ns(bao.process_id()));
    let start = Instant::now();
    list().await;
    Cost {
        seconds: start.elapsed().as_secs_f64(),
        bytes: (relay.answered() - bytes) as f64,
        cpu_s: (cpu::time_ns(bao.process_id()) - cpu_ns) as f64 / 1e9,
        memory_kib: cpu::peak_kib(std::process::id()) - memory,
    }
}
