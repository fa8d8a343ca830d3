//! Requests that Vault carries out late: no key comes back after it was deleted, and none is lost
//! or overwritten after it was created.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kes_keystore::config::KvVersion;
use kes_keystore::vault::VaultStore;
use kes_keystore::wrap::{Change, Order};
use kes_keystore::{Error, KeyStore};
use kes_testkit::faulty::{Faulty, Gate, Reply, Request};
use kes_testkit::wait::eventually_async;
use tokio::task::JoinHandle;
use tokio::time;

use super::world::{STORED, World, config, create, delete, name, open, read, value};

/// A server, a node before it that holds up the requests of one method for key `k`, and a line.
struct Late {
    world: World,
    gate: Arc<Gate>,
    node: Faulty,
    version: KvVersion,
    order: Order,
}

impl Late {
    fn new(version: KvVersion, method: &'static str) -> Self {
        let world = World::new(version);
        let (server, gate) = (world.bao.admin_address(), Arc::new(Gate::default()));
        let keeper = Arc::clone(&gate);
        let node = Faulty::start(move |request: &Request| {
            if request.method == method && is_key(request) {
                keeper.wait();
            }
            Reply::Forward(server)
        });
        Self { world, gate, node, version, order: Order::default() }
    }

    async fn store(&self) -> Arc<VaultStore> {
        Arc::new(open(config(&self.node.url(), self.version, &self.world.role)).await)
    }

    /// Begins a change of key `k` in its turn.
    fn change<F>(&self, change: Change, call: F) -> JoinHandle<Result<(), Error>>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let order = self.order.clone();
        tokio::spawn(async move { order.turn(&name("k"), change).await?.run(call).await })
    }

    fn create(&self, store: &Arc<VaultStore>, text: &'static str) -> JoinHandle<Result<(), Error>> {
        let store = Arc::clone(store);
        self.change(Change::Create, async move { store.create(&name("k"), &value(text)).await })
    }

    fn delete(&self, store: &Arc<VaultStore>) -> JoinHandle<Result<(), Error>> {
        let store = Arc::clone(store);
        self.change(Change::Delete, async move { delete(&*store, "k").await })
    }

    /// The value of key `k`, once all that was held up has come to an end.
    async fn value(&self) -> Option<String> {
        time::sleep(Duration::from_millis(300)).await;
        let direct = self.world.open().await;
        read(&direct, "k").await.ok()
    }
}

fn is_key(request: &Request) -> bool {
    matches!(request.path(), "/v1/kv/k" | "/v1/kv/data/k" | "/v1/kv/metadata/k")
}

/// A change is not answered while an earlier one may come in between.
async fn assert_waits(change: &mut JoinHandle<Result<(), Error>>) {
    let early = time::timeout(Duration::from_millis(500), change).await;
    assert!(early.is_err(), "{early:?}");
}

/// Both requests of a create are late, and so is what repairs it.
async fn a_failed_create_does_not_undo_a_delete(version: KvVersion) {
    let late = Late::new(version, "POST");
    let store = late.store().await;
    let error = late.create(&store, "first").await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let mut deleted = late.delete(&store);
    assert_waits(&mut deleted).await;
    late.gate.open();
    deleted.await.unwrap().unwrap();
    assert_eq!(late.value().await, None);
    late.create(&store, "second").await.unwrap().unwrap();
    assert_eq!(late.value().await.as_deref(), Some("second"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_failed_create_does_not_undo_a_delete() {
    tokio::join!(
        a_failed_create_does_not_undo_a_delete(KvVersion::V1),
        a_failed_create_does_not_undo_a_delete(KvVersion::V2),
    );
}

/// The client of a change has gone, and the configuration was read again since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_change_keeps_its_turn() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let late = Late::new(version, "POST");
        let old = late.store().await;
        let created = late.create(&old, "first");
        late.gate.holds_one().await;
        created.abort();
        drop((created.await, old));
        let store = late.store().await;
        let mut deleted = late.delete(&store);
        assert_waits(&mut deleted).await;
        late.gate.open();
        deleted.await.unwrap().unwrap();
        assert_eq!(late.value().await, None, "{version:?}");

        let late = Late::new(version, "DELETE");
        let store = late.store().await;
        create(&*store, "k").await.unwrap();
        let deleted = late.delete(&store);
        late.gate.holds_one().await;
        deleted.abort();
        drop(deleted.await);
        let mut created = late.create(&store, "second");
        assert_waits(&mut created).await;
        late.gate.open();
        created.await.unwrap().unwrap();
        assert_eq!(late.value().await.as_deref(), Some("second"), "{version:?}");
    }
}

/// A request whose connection is lost may be carried out later; one that was carried out may not.
#[tokio::test]
async fn a_lost_connection_settles_nothing() {
    for (version, is_done) in [
        (KvVersion::V1, true),
        (KvVersion::V2, true),
        (KvVersion::V1, false),
        (KvVersion::V2, false),
    ] {
        let world = World::new(version);
        let (server, is_lost) = (world.bao.admin_address(), AtomicBool::new(false));
        let node = Faulty::start(move |request: &Request| {
            let is_write = request.method == "POST" && is_key(request);
            match is_write && !is_lost.swap(true, Ordering::SeqCst) {
                false => Reply::Forward(server),
                true if is_done => Reply::ForwardAndReset(server),
                true => Reply::Reset,
            }
        });
        let store = open(config(&node.url(), version, &world.role)).await;
        let order = Order::default();
        let turn = order.turn(&name("k"), Change::Create).await.unwrap();
        turn.run(create(&store, "k")).await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
        let may_delete = order.try_turn(&name("k"), Change::Delete).is_some();
        assert_eq!(may_delete, is_done, "{version:?}");
        // An engine of version 2 refuses to overwrite.
        let may_create = order.try_turn(&name("k"), Change::Create).is_some();
        assert_eq!(may_create, is_done || version == KvVersion::V2, "{version:?}");
    }
}

/// A change fails, and its late answer tells that it was carried out.
async fn a_late_answer_is_told(version: KvVersion, method: &'static str) {
    let late = Late::new(version, method);
    let store = late.store().await;
    let change = if method == "DELETE" { Change::Delete } else { Change::Create };
    if change == Change::Delete {
        create(&*store, "k").await.unwrap();
    }
    let turn = late.order.turn(&name("k"), change).await.unwrap();
    let course = turn.course();
    let result = match change {
        Change::Create => turn.run(create(&*store, "k")).await,
        Change::Delete => turn.run(delete(&*store, "k")).await,
    };
    assert!(matches!(result, Err(Error::Unreachable { .. })), "{result:?}");
    let told = Arc::new(AtomicUsize::new(0));
    let hears = Arc::clone(&told);
    course.on_late(Box::new(move || {
        hears.fetch_add(1, Ordering::SeqCst);
    }));
    assert!(late.order.is_unsure(&name("k")));
    assert_eq!(told.load(Ordering::SeqCst), 0, "{version:?} {method}");
    late.gate.open();
    let is_settled = async || !late.order.is_unsure(&name("k"));
    eventually_async(Duration::from_secs(30), "the outcome is known", is_settled).await;
    assert_eq!(told.load(Ordering::SeqCst), 1, "{version:?} {method}");
    assert_eq!(late.value().await.is_some(), change == Change::Create);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_carried_out_after_its_failure_is_told() {
    tokio::join!(
        a_late_answer_is_told(KvVersion::V1, "POST"),
        a_late_answer_is_told(KvVersion::V2, "POST"),
        a_late_answer_is_told(KvVersion::V1, "DELETE"),
        a_late_answer_is_told(KvVersion::V2, "DELETE"),
    );
}
