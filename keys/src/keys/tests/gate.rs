use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kes_policy::{StoreGate, StoreLimit, StoreLimited, StorePlace};

use super::*;

/// A gate that lets so many calls through, and knows how many of them go on.
struct Gate {
    open_for: AtomicUsize,
    entered: AtomicUsize,
    inside: Arc<()>,
}

impl Gate {
    fn open_for(calls: usize) -> Self {
        Self {
            open_for: AtomicUsize::new(calls),
            entered: AtomicUsize::new(0),
            inside: Arc::default(),
        }
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    fn inside(&self) -> usize {
        Arc::strong_count(&self.inside) - 1
    }
}

impl StoreGate for Gate {
    fn enter(&self) -> Pin<Box<dyn Future<Output = Result<StorePlace, StoreLimited>> + Send + '_>> {
        let left = |left: usize| left.checked_sub(1);
        let is_open =
            self.open_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        Box::pin(async move {
            if !is_open {
                return Err(StoreLimited { limit: StoreLimit::PerSecond, retry_after: seconds(1) });
            }
            self.entered.fetch_add(1, Ordering::Relaxed);
            Ok(StorePlace::new(Arc::clone(&self.inside)))
        })
    }
}

/// Those that call the key store themselves; whoever lists passes the gate before.
fn operations() -> impl Iterator<Item = Operation> {
    OPERATIONS.into_iter().filter(|operation| *operation != Operation::ListKeys)
}

#[tokio::test]
async fn what_calls_the_key_store_passes_the_gate_once() {
    for operation in operations() {
        let world = World::new().await;
        let (gate, path) = (Gate::open_for(1), path(operation, "k"));
        let permit = permit(operation, &path).through(&gate);
        // The key store may say that the key exists, or that the ciphertext is not authentic.
        let result = run(&world.keys, operation, &permit).await;
        assert!(!matches!(result, Err(Error::StoreLimited(_))), "{operation:?}");
        assert_eq!((gate.entered(), world.store.calls()), (1, 1), "{operation:?}");
        settle().await;
        assert_eq!(gate.inside(), 0, "{operation:?}");
    }
}

#[tokio::test]
async fn who_does_not_get_through_changes_and_reads_nothing() {
    for operation in operations() {
        let world = World::new().await;
        let (gate, path) = (Gate::open_for(0), path(operation, "k"));
        let permit = permit(operation, &path).through(&gate);
        let result = run(&world.keys, operation, &permit).await;
        let Err(Error::StoreLimited(limited)) = result else { panic!("{operation:?}: {result:?}") };
        assert_eq!(limited.retry_after, seconds(1));
        assert_eq!(world.store.calls(), 0, "{operation:?}");
        assert!(world.store.has(&name("k")).await);
    }
}

#[tokio::test]
async fn a_key_in_memory_needs_no_gate() {
    let world = World::new().await;
    world.describe("k").await.unwrap();
    let gate = Gate::open_for(0);
    for operation in operations() {
        let changes = [Operation::CreateKey, Operation::ImportKey, Operation::DeleteKey];
        if changes.contains(&operation) {
            continue;
        }
        let path = path(operation, "k");
        let permit = permit(operation, &path).through(&gate);
        let result = run(&world.keys, operation, &permit).await;
        assert!(!matches!(result, Err(Error::StoreLimited(_))), "{operation:?}");
    }
}

#[tokio::test]
async fn who_waits_for_the_read_of_another_passes_no_gate() {
    let world = World::new().await;
    world.store.hold(true);
    let keys = Arc::clone(&world.keys);
    let first = tokio::spawn(async move {
        let path = path(Operation::DescribeKey, "k");
        keys.describe(&permit(Operation::DescribeKey, &path), name("k")).await.map(drop)
    });
    settle().await;
    let gate = Gate::open_for(0);
    let path = path(Operation::DescribeKey, "k");
    let permit = permit(Operation::DescribeKey, &path).through(&gate);
    let other = async { world.keys.describe(&permit, name("k")).await.map(drop) };
    let release = async {
        settle().await;
        world.store.hold(false);
    };
    let (other, ()) = tokio::join!(other, release);
    assert!(other.is_ok() && first.await.unwrap().is_ok());
    assert_eq!(world.store.reads(), 1);
}

/// Also if its client has gone away.
#[tokio::test]
async fn a_call_keeps_its_place_until_it_has_ended() {
    for operation in [Operation::DeleteKey, Operation::DescribeKey] {
        let world = World::new().await;
        world.store.hold(true);
        let (gate, path) = (Gate::open_for(1), path(operation, "k"));
        {
            let permit = permit(operation, &path).through(&gate);
            let call = run(&world.keys, operation, &permit);
            tokio::select! {
                biased;
                _ = call => panic!("{operation:?}"),
                () = settle() => {}
            }
        }
        assert_eq!((gate.inside(), world.store.calls()), (1, 1), "{operation:?}");
        world.store.hold(false);
        eventually("the call ends", || gate.inside() == 0).await;
    }
}
