use std::pin::Pin;

use kes_policy::{StoreCall, StoreGate, StoreLimited, StorePlace, StoreTrace};
use parking_lot::Mutex;

use super::*;

/// Lets all calls through, and notes what their trace is told.
#[derive(Default)]
struct Traced(Arc<Calls>);

#[derive(Default)]
struct Calls(Mutex<Vec<StoreCall>>);

impl StoreTrace for Calls {
    fn call_begins(&self) -> u64 {
        7
    }

    fn traceparent(&self, span: u64) -> String {
        format!("00-0af7651916cd43dd8448eb211c80319c-{span:016x}-01")
    }

    fn call_ended(&self, call: &StoreCall) {
        self.0.lock().push(*call);
    }
}

impl StoreGate for Traced {
    fn enter(&self) -> Pin<Box<dyn Future<Output = Result<StorePlace, StoreLimited>> + Send + '_>> {
        Box::pin(async { Ok(StorePlace::new(())) })
    }

    fn trace(&self) -> Option<Arc<dyn StoreTrace>> {
        Some(Arc::clone(&self.0) as Arc<dyn StoreTrace>)
    }
}

impl Traced {
    /// What was told since the last look: operation, result, whether it was a failure, and whether it
    /// was the call of another request.
    fn told(&self) -> Vec<(&'static str, &'static str, bool, bool)> {
        let calls = std::mem::take(&mut *self.0.0.lock());
        calls
            .iter()
            .map(|call| (call.operation, call.result, call.is_failure, call.is_shared))
            .collect()
    }

    async fn run(&self, world: &World, operation: Operation) {
        let path = path(operation, "k");
        let _ = run(&world.keys, operation, &permit(operation, &path).through(self)).await;
    }
}

#[tokio::test]
async fn each_call_is_told_and_a_key_in_memory_is_none() {
    let (world, traced) = (World::new().await, Traced::default());
    for (operation, told) in [
        (Operation::GenerateKey, &[("read", "ok", false, false)][..]),
        (Operation::GenerateKey, &[]),
        (Operation::DecryptKey, &[]),
        (Operation::CreateKey, &[("create", "exists", false, false)]),
        (Operation::ListKeys, &[("list", "ok", false, false)]),
        (Operation::DeleteKey, &[("delete", "ok", false, false)]),
        (Operation::DescribeKey, &[("read", "not_found", false, false)]),
        (Operation::ImportKey, &[("create", "ok", false, false)]),
        (Operation::DeleteKey, &[("delete", "ok", false, false)]),
    ] {
        traced.run(&world, operation).await;
        assert_eq!(traced.told(), told, "{operation:?}");
    }
    world.store.fail(Some(unreachable()));
    for (operation, word) in
        [(Operation::Hmac, "read"), (Operation::CreateKey, "create"), (Operation::ListKeys, "list")]
    {
        traced.run(&world, operation).await;
        assert_eq!(traced.told(), [(word, "unreachable", true, false)], "{operation:?}");
    }
}

#[tokio::test]
async fn who_waits_for_the_read_of_another_is_told_so() {
    let (world, first, second) = (World::new().await, Traced::default(), Traced::default());
    world.store.hold(true);
    let release = async {
        settle().await;
        world.store.hold(false);
    };
    tokio::join!(
        first.run(&world, Operation::DescribeKey),
        second.run(&world, Operation::DescribeKey),
        release
    );
    assert_eq!(first.told(), [("read", "ok", false, false)]);
    assert_eq!(second.told(), [("read", "ok", false, true)]);
    assert_eq!(world.store.reads(), 1);
}

/// Its trace is told when the call has ended.
#[tokio::test]
async fn a_call_that_goes_on_without_its_client_is_told_as_well() {
    let (world, traced) = (World::new().await, Traced::default());
    world.store.hold(true);
    tokio::select! {
        biased;
        () = traced.run(&world, Operation::DeleteKey) => panic!("it is held back"),
        () = settle() => {}
    }
    assert_eq!(traced.told(), []);
    world.store.hold(false);
    eventually("the call is told", || traced.told() == [("delete", "ok", false, false)]).await;
}
