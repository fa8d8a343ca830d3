//! Three nodes of one cluster. A store may be configured with any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_keystore::config::{KvVersion, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore};
use kes_testkit::Cluster;
use kes_testkit::bao::RoleCredentials;
use kes_testkit::wait::eventually_async;

use super::creators::race;
use super::world::{STORED, config, create, delete, list, name, open, read, set_up, value};

/// A cluster costs much to start, so one serves all that is tried with a version.
struct World {
    cluster: Cluster,
}

/// What an operator has set up for one version.
struct Place {
    version: KvVersion,
    namespace: &'static str,
    role: RoleCredentials,
}

impl World {
    fn new() -> Self {
        Self { cluster: Cluster::start() }
    }

    fn set_up(&self, version: KvVersion) -> Place {
        let active = self.cluster.wait_for_active();
        let namespace = if version == KvVersion::V1 { "v1" } else { "v2" };
        let space = self.cluster.nodes()[active].root().create_namespace(namespace);
        Place { version, namespace, role: set_up(&space, version, Duration::ZERO) }
    }
}

impl Place {
    fn config(&self, url: &str) -> Vault {
        let namespace = self.namespace.to_owned();
        Vault { namespace, ..config(url, self.version, &self.role) }
    }

    /// A store for each node, on a part of the engine.
    async fn stores_at_each_node(&self, world: &World, prefix: &str) -> Vec<VaultStore> {
        let mut stores = Vec::new();
        for node in world.cluster.nodes() {
            stores.push(self.logged_in(&node.url(), prefix).await);
        }
        stores
    }

    /// A store for one node. The role was just created, so the node may refuse the first login.
    async fn logged_in(&self, url: &str, prefix: &str) -> VaultStore {
        let store = open(Vault { prefix: prefix.to_owned(), ..self.config(url) }).await;
        let limit = Duration::from_secs(60);
        eventually_async(limit, "the login succeeds", async || {
            matches!(read(&store, "none").await, Err(Error::NotFound { .. }))
        })
        .await;
        store
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_at_different_nodes_agree_and_outlast_the_active_one_with_version_1() {
    agree_and_outlast_the_active_node(KvVersion::V1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_at_different_nodes_agree_and_outlast_the_active_one_with_version_2() {
    agree_and_outlast_the_active_node(KvVersion::V2).await;
}

async fn agree_and_outlast_the_active_node(version: KvVersion) {
    let mut world = World::new();
    let place = world.set_up(version);
    exactly_one_creates_a_key(&world, &place).await;
    a_key_that_was_created_is_there_for_all(&world, &place).await;
    the_active_node_is_killed_under_load(&mut world, &place).await;
}

async fn exactly_one_creates_a_key(world: &World, place: &Place) {
    let stores: Vec<_> =
        place.stores_at_each_node(world, "race").await.into_iter().map(Arc::new).collect();
    for round in 0..12 {
        let key = format!("key-{round}");
        let winner = race(&stores, &key, 2).await;
        assert_eq!(read(&*stores[round % 3], &key).await.unwrap(), winner);
    }
}

/// A standby answers from a copy that lags behind. No client may find a created key missing.
async fn a_key_that_was_created_is_there_for_all(world: &World, place: &Place) {
    const ROUNDS: usize = 15;
    let stores = place.stores_at_each_node(world, "seen").await;
    for round in 0..ROUNDS {
        let key = format!("key-{round}");
        create(&stores[round % 3], &key).await.unwrap();
        for store in &stores {
            assert_eq!(read(store, &key).await.unwrap(), STORED);
            assert_eq!(list(store).await.len(), round + 1);
        }
    }
    delete(&stores[0], "key-0").await.unwrap();
    for store in &stores {
        assert_eq!(list(store).await.len(), ROUNDS - 1);
    }
    create(&stores[1], "key-0").await.unwrap();
}

/// How much later than the cluster itself a store may recover. It takes some 0.3 s on an idle
/// machine.
const BRIDGE: Duration = Duration::from_secs(10);

/// The active node is killed while calls are made: no acknowledged key is lost, a call that failed
/// has reported it, and calls succeed as soon as the cluster has a new active node.
#[expect(clippy::print_stdout, reason = "what a test measured is for who runs it")]
async fn the_active_node_is_killed_under_load(world: &mut World, place: &Place) {
    let active = world.cluster.wait_for_active();
    let nodes = world.cluster.nodes();
    let endpoints = nodes.iter().map(|node| node.url().parse().unwrap()).collect();
    let first = place.config(&nodes[active].url());
    let store = Arc::new(open(Vault { endpoints, ..first }).await);
    eventually_async(BRIDGE, "a key is created", async || {
        !matches!(
            create(&*store, "k").await,
            Err(Error::Unreachable { .. } | Error::Unavailable { .. })
        )
    })
    .await;

    let ended = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let (creator, end, counted) = (Arc::clone(&store), Arc::clone(&ended), Arc::clone(&count));
    let creating = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            if end.load(Ordering::Relaxed) {
                break;
            }
            let (key, text) = (name(&format!("n{number}")), format!("value {number}"));
            match creator.create(&key, &value(&text)).await {
                Ok(()) => {
                    acknowledged.push((key, text));
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            // A write costs each node of the cluster much.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        acknowledged
    });
    let limit = Duration::from_secs(60);
    let some_more = async || {
        let before = count.load(Ordering::Relaxed);
        eventually_async(limit, "keys are created", async || {
            count.load(Ordering::Relaxed) >= before + 5
        })
        .await;
    };

    some_more().await;
    world.cluster.kill(active);
    let elected =
        eventually_async(limit, "a new active node", async || world.cluster.active().is_some());
    let mut number = 0;
    let created = eventually_async(limit, "a create succeeds", async || {
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        create(&*store, &format!("after-{number}")).await.is_ok()
    });
    let is_back = AtomicBool::new(false);
    let mut gap = Duration::ZERO;
    let reads = async {
        let mut last = Instant::now();
        // The store has recovered as well; the key is read again from then on.
        let mut goes_on = true;
        while goes_on {
            let was_back = is_back.load(Ordering::Relaxed);
            if read(&*store, "k").await.is_ok() {
                gap = gap.max(last.elapsed());
                last = Instant::now();
                goes_on = !was_back;
            }
            assert!(last.elapsed() < limit, "no key is read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let both = async {
        let both = tokio::join!(elected, created);
        is_back.store(true, Ordering::Relaxed);
        both
    };
    let ((elected, created), ()) = tokio::join!(both, reads);
    println!(
        "{:?}: elected after {elected:?}, created after {created:?}, gap {gap:?}",
        place.version
    );
    let limit = elected + BRIDGE;
    assert!(created < limit && gap < limit, "{created:?}, {gap:?} and {elected:?}");

    some_more().await;
    ended.store(true, Ordering::Relaxed);
    for (key, text) in creating.await.unwrap() {
        let found = store.read(&key).await.map(|value| value.expose().to_owned());
        assert_eq!(found.unwrap(), text, "{key}");
    }
    assert_eq!(read(&*store, "k").await.unwrap(), STORED);
    world.cluster.start_again(active);
}
