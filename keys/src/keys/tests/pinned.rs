use super::*;
use crate::Pin;

impl World {
    /// Pins `k` to a fingerprint, by default its own.
    async fn pin(&self, fingerprint: Option<Fingerprint>) -> Fingerprint {
        let own = self.describe("k").await.unwrap().fingerprint;
        let fingerprint = fingerprint.unwrap_or(own);
        self.keys.pin(&[Pin { name: name("k"), fingerprint }]);
        fingerprint
    }
}

fn other() -> Fingerprint {
    Fingerprint::new([7; 16])
}

#[track_caller]
fn assert_unusable<T>(result: Result<T, Error>, told: &str) {
    match result {
        Err(Error::Store { source: kes_keystore::Error::Unusable { reason, .. }, .. }) => {
            assert!(reason.contains(told), "{reason}");
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was used"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_with_another_fingerprint_is_not_used_not_even_from_memory() {
    let world = World::new().await;
    world.pin(Some(other())).await;
    for _ in 0..2 {
        assert_unusable(world.describe("k").await, "key 'k' has the fingerprint");
        assert_eq!(world.keys.pin_faults(), 1);
    }
    // Without the pin it is an ordinary key again.
    world.keys.pin(&[]);
    assert_eq!(world.keys.pin_faults(), 0);
    world.describe("k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_pinned_key_is_used_and_stays_in_memory() {
    let world = World::new().await;
    world.pin(None).await;
    let calls = world.store.reads();
    world.describe("k").await.unwrap();
    assert_eq!((world.store.reads(), world.keys.pin_faults()), (calls, 0));
    world.keys.check_pin(&name("k")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pinned_key_is_not_created_anew_but_can_be_brought_back() {
    let world = World::new().await;
    let secret = [9; 32];
    let path = path(Operation::ImportKey, "k");
    let import = async |secret: &[u8]| {
        let permit = permit(Operation::ImportKey, &path);
        world.keys.import(&permit, name("k"), "AES256", secret, unheard).await
    };
    world.delete("k").await.unwrap();
    import(&secret).await.unwrap();
    world.pin(None).await;
    world.delete("k").await.unwrap();
    assert!(world.describe("k").await.is_err());
    assert_eq!(world.keys.pin_faults(), 1);
    assert_unusable(world.create("k").await, "key 'k' is pinned");
    assert_unusable(import(&[8; 32]).await, "key 'k' is pinned");
    // Nothing was written.
    assert!(world.describe("k").await.is_err());
    import(&secret).await.unwrap();
    world.describe("k").await.unwrap();
    assert_eq!(world.keys.pin_faults(), 0);
    // Other names are free.
    world.create("other").await.unwrap();
}
