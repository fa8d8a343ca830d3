//! Three nodes of one cluster, each of which may be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_keystore::config::{KvVersion, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore};
use kes_testkit::Cluster;
use kes_testkit::bao::RoleCredentials;
use kes_testkit::wait::eventually_async;

use super::creators::race;
use super::world::{STORED, config, create, delete, list, name, open, read, set_up, value};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_servers_at_different_nodes_exactly_one_succeeds() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let cluster = Cluster::start();
        let active = cluster.wait_for_active();
        let role = set_up(&cluster.nodes()[active], version, Duration::ZERO);
        let mut stores = Vec::new();
        for node in cluster.nodes() {
            stores.push(Arc::new(logged_in(&node.url(), version, &role).await));
        }
        for round in 0..20 {
            let key = format!("key-{round}");
            let winner = race(&stores, &key, 2).await;
            assert_eq!(read(&*stores[active], &key).await.unwrap(), winner);
        }
    }
}

/// A store at one node. The role was made a moment ago, so the first login may be refused.
async fn logged_in(url: &str, version: KvVersion, role: &RoleCredentials) -> VaultStore {
    let store = open(config(url, version, role)).await;
    let limit = Duration::from_secs(20);
    eventually_async(limit, "the login succeeds", async || {
        matches!(read(&store, "none").await, Err(Error::NotFound { .. }))
    })
    .await;
    store
}

/// A standby answers from a copy that lags behind. Nobody must see that a key is not there yet.
#[tokio::test]
async fn a_key_that_was_created_is_there_for_all() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let cluster = Cluster::start();
        let active = cluster.wait_for_active();
        let role = set_up(&cluster.nodes()[active], version, Duration::ZERO);
        let mut stores = Vec::new();
        for node in cluster.nodes() {
            stores.push(logged_in(&node.url(), version, &role).await);
        }
        for round in 0..30 {
            let key = format!("key-{round}");
            create(&stores[round % 3], &key).await.unwrap();
            for store in &stores {
                assert_eq!(read(store, &key).await.unwrap(), STORED);
                assert_eq!(list(store).await.len(), round + 1);
            }
        }
        delete(&stores[0], "key-0").await.unwrap();
        for store in &stores {
            assert_eq!(list(store).await.len(), 29);
        }
        create(&stores[1], "key-0").await.unwrap();
    }
}

/// Calls go on while the active node is killed: what was acknowledged stands, what fails says
/// so, and service is back as soon as the cluster has a new active node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_active_node_is_killed_under_load() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let mut cluster = Cluster::start();
        let active = cluster.wait_for_active();
        let role = set_up(&cluster.nodes()[active], version, Duration::ZERO);
        let endpoints = cluster.nodes().iter().map(|node| node.url().parse().unwrap()).collect();
        let first = config(&cluster.nodes()[active].url(), version, &role);
        let store = Arc::new(open(Vault { endpoints, ..first }).await);
        create(&*store, "k").await.unwrap();

        let ended = Arc::new(AtomicBool::new(false));
        let (creator, end) = (Arc::clone(&store), Arc::clone(&ended));
        let creating = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let (key, text) = (name(&format!("n{number}")), format!("value {number}"));
                match creator.create(&key, &value(&text)).await {
                    Ok(()) => acknowledged.push((key, text)),
                    Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            acknowledged
        });

        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.kill(active);
        let killed = Instant::now();
        let limit = Duration::from_secs(60);
        let elected =
            eventually_async(limit, "a new active node", async || cluster.active().is_some());
        let mut number = 0;
        let created = eventually_async(limit, "a create succeeds", async || {
            number += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
            create(&*store, &format!("after-{number}")).await.is_ok()
        });
        let mut gap = Duration::ZERO;
        let reads = async {
            let mut last = Instant::now();
            while killed.elapsed() < Duration::from_secs(8) {
                if read(&*store, "k").await.is_ok() {
                    gap = gap.max(last.elapsed());
                    last = Instant::now();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            last.elapsed()
        };
        let (elected, created, tail) = tokio::join!(elected, created, reads);
        let gap = gap.max(tail);
        println!("{version:?}: elected after {elected:?}, created after {created:?}, gap {gap:?}");
        let limit = elected + Duration::from_secs(2);
        assert!(created < limit && gap < limit, "{created:?}, {gap:?} and {elected:?}");

        tokio::time::sleep(Duration::from_secs(1)).await;
        ended.store(true, Ordering::Relaxed);
        let acknowledged = creating.await.unwrap();
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        for (key, text) in &acknowledged {
            let found = store.read(key).await.map(|value| value.expose().to_owned());
            assert_eq!(found.unwrap(), *text, "{key}");
        }
        assert_eq!(read(&*store, "k").await.unwrap(), STORED);
    }
}
