//! The battery of tests for key stores, run on Vault.

use kes_keystore::battery::{self, MissingDelete};
use kes_keystore::config::KvVersion;

use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_v1() {
    let world = World::new(KvVersion::V1);
    battery::run(MissingDelete::Succeeds, async || world.open_empty(false).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_v2() {
    let world = World::new(KvVersion::V2);
    battery::run(MissingDelete::Succeeds, async || world.open_empty(false).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kv_v2_with_transit() {
    let world = World::new(KvVersion::V2);
    battery::run(MissingDelete::Succeeds, async || world.open_empty(true).await).await;
}
