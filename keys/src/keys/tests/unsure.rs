use std::sync::atomic::AtomicUsize;

use super::*;

/// Counts how often a change is told to have been carried out after its failure.
#[derive(Clone, Default)]
struct Late(Arc<AtomicUsize>);

impl Late {
    fn ended(&self) -> impl Ended + use<> {
        let told = Arc::clone(&self.0);
        move |ended: &Result<(), Error>| {
            let late = move || {
                told.fetch_add(1, Ordering::Relaxed);
            };
            ended.is_err().then(|| Box::new(late) as kes_keystore::wrap::Late)
        }
    }

    fn told(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a change was refused because an earlier one may still be carried out.
fn waited_in_vain(result: &Result<(), Error>) -> bool {
    let Err(Error::Store { source: kes_keystore::Error::Unavailable { reason }, .. }) = result
    else {
        return false;
    };
    reason.contains("has not completed an earlier change")
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_delete_is_unsure_is_not_used_from_memory() {
    let (world, late) = (World::new().await, Late::default());
    world.describe("k").await.unwrap();
    world.store.leave_unsure(true);
    let path = path(Operation::DeleteKey, "k");
    let permit = permit(Operation::DeleteKey, &path);
    assert!(world.keys.delete(&permit, name("k"), || late.ended()).await.is_err());
    let parts = world.store.leave_unsure(false);
    assert_eq!(parts.len(), 1);
    for _ in 0..3 {
        let before = world.store.reads();
        world.describe("k").await.unwrap();
        assert_eq!((world.store.reads(), world.keys.cached()), (before + 1, 0));
    }
    // Who creates it must not rely on it.
    let created = world.create("k").await;
    assert!(waited_in_vain(&created), "{created:?}");

    world.store.take(&name("k")).await;
    assert_eq!(late.told(), 0);
    parts[0].carried_out();
    assert_eq!(late.told(), 1);
    assert!(world.describe("k").await.is_err());
    // The store may have the same request once more.
    assert!(waited_in_vain(&world.create("k").await));
    drop(parts);
    world.create("k").await.unwrap();
    assert_eq!((late.told(), world.keys.cached()), (1, 1));
}

/// What is known of a missing key is forgotten when the key may be there.
#[tokio::test(start_paused = true)]
async fn a_key_whose_create_is_unsure_is_looked_for_in_the_store() {
    let (world, late) = (World::new().await, Late::default());
    for _ in 0..100 {
        assert!(world.describe("new").await.is_err());
    }
    world.store.leave_unsure(true);
    let path = path(Operation::CreateKey, "new");
    let permit = permit(Operation::CreateKey, &path);
    assert!(world.keys.create(&permit, name("new"), || late.ended()).await.is_err());
    let parts = world.store.leave_unsure(false);
    let before = world.store.reads();
    for _ in 0..100 {
        assert!(world.describe("new").await.is_err());
    }
    assert_eq!(world.store.reads(), before + 100);
    assert!(waited_in_vain(&world.delete("new").await));
    assert!(waited_in_vain(&world.create("new").await));

    world.store.put(&name("new"), &record()).await;
    world.describe("new").await.unwrap();
    assert_eq!(world.keys.cached(), 0, "it may be overwritten");
    parts[0].carried_out();
    assert_eq!(late.told(), 1);
    world.describe("new").await.unwrap();
    assert_eq!(world.keys.cached(), 1);
    // It exists, whatever may be carried out once more.
    let exists = world.create("new").await;
    assert!(matches!(exists, Err(Error::Store { source: kes_keystore::Error::Exists { .. }, .. })));
    drop(parts);
    world.delete("new").await.unwrap();
    assert_eq!(late.told(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_carried_out_is_not_told() {
    let (world, late) = (World::new().await, Late::default());
    world.store.leave_unsure(true);
    let path = path(Operation::DeleteKey, "k");
    let permit = permit(Operation::DeleteKey, &path);
    assert!(world.keys.delete(&permit, name("k"), || late.ended()).await.is_err());
    drop(world.store.leave_unsure(false));
    world.describe("k").await.unwrap();
    assert_eq!((late.told(), world.keys.cached()), (0, 1));
    assert_eq!(Arc::strong_count(&late.0), 1, "nothing is kept");
}

/// The key store has another location since, and may be the same.
#[tokio::test(start_paused = true)]
async fn an_unsure_change_is_unsure_for_the_keys_that_follow() {
    let old = World::new().await;
    old.store.leave_unsure(true);
    assert!(old.create("new").await.is_err());
    let created = old.store.leave_unsure(true);
    assert!(old.delete("k").await.is_err());
    let deleted = old.store.leave_unsure(false);

    let world = World::following(old.keys.order()).await;
    drop(old);
    assert!(waited_in_vain(&world.delete("new").await));
    assert!(waited_in_vain(&world.create("k").await));
    world.describe("k").await.unwrap();
    assert_eq!(world.keys.cached(), 0);
    drop((created, deleted));
    world.describe("k").await.unwrap();
    assert_eq!(world.keys.cached(), 1);
    world.create("new").await.unwrap();
    world.delete("new").await.unwrap();
}

/// The request began before the configuration was read again.
#[tokio::test(start_paused = true)]
async fn a_delete_by_the_keys_before_takes_a_key_from_memory() {
    let old = World::new().await;
    let world = World::following(old.keys.order()).await;
    world.describe("k").await.unwrap();
    old.delete("k").await.unwrap();
    assert_eq!(world.keys.cached(), 0);
}
