use super::*;
use crate::LastUse;

impl World {
    /// The last use of `k`, for the admin.
    async fn last_use(&self) -> LastUse {
        let path = path(Operation::DeleteKey, "k");
        let described = self.describe("k").await.unwrap();
        self.keys.last_use(&permit(Operation::DeleteKey, &path), &described).unwrap()
    }

    async fn run(&self, operation: Operation) -> Result<(), Error> {
        let path = path(operation, "k");
        run(&self.keys, operation, &permit(operation, &path)).await
    }

    /// A ciphertext of `k`.
    async fn seal(&self) -> Vec<u8> {
        let path = path(Operation::EncryptKey, "k");
        let permit = permit(Operation::EncryptKey, &path);
        self.keys.encrypt(&permit, name("k"), Zeroizing::new(vec![1]), b"").await.unwrap()
    }

    fn date(&self) -> Option<Timestamp> {
        Some(self.clock.date())
    }
}

#[tokio::test]
async fn an_operation_with_the_key_is_a_use_if_it_succeeds_and_a_description_is_none() {
    for operation in OPERATIONS {
        let world = World::new().await;
        let unused = LastUse { at: None, by: None, since: world.clock.date() };
        assert_eq!(world.last_use().await, unused);
        world.clock.advance(seconds(5));
        let succeeded = world.run(operation).await.is_ok();
        if operation == Operation::DeleteKey {
            continue;
        }
        let is_use =
            matches!(operation, Operation::GenerateKey | Operation::EncryptKey | Operation::Hmac);
        let used = LastUse { at: world.date(), by: Some(admin()), ..unused };
        let expected = if is_use && succeeded { used } else { unused };
        assert_eq!(world.last_use().await, expected, "{operation:?}");
    }
}

#[tokio::test]
async fn to_decrypt_is_a_use_if_all_is_authentic() {
    let world = World::new().await;
    let sealed = world.seal().await;
    let first = world.last_use().await;
    world.clock.advance(seconds(5));
    let path_of = |operation| path(operation, "k");
    let (one, bulk) = (path_of(Operation::DecryptKey), path_of(Operation::BulkDecrypt));
    let (one, bulk) = (permit(Operation::DecryptKey, &one), permit(Operation::BulkDecrypt, &bulk));
    let k = name("k");
    assert!(world.keys.decrypt(&one, k, &sealed, b"other").await.is_err());
    let some =
        |context: &[u8]| [Sealed(sealed.clone(), vec![]), Sealed(sealed.clone(), context.into())];
    assert!(world.keys.bulk_decrypt(&bulk, k, &some(b"other"), parts).await.is_err());
    assert_eq!(world.last_use().await, first);

    assert!(world.keys.decrypt(&one, k, &sealed, b"").await.is_ok());
    assert_eq!(world.last_use().await.at, world.date());
    world.clock.advance(seconds(5));
    assert!(world.keys.bulk_decrypt(&bulk, k, &some(b""), parts).await.is_ok());
    assert_eq!(world.last_use().await.at, world.date());
}

#[tokio::test]
async fn uses_outlast_the_key_in_memory_and_another_key_under_the_name_has_none() {
    let world = World::new().await;
    world.seal().await;
    let (used, reads) = (world.last_use().await, world.store.reads());
    world.keys.cache.order().forget(&name("k"));
    assert_eq!(world.last_use().await, used);
    assert_eq!(world.store.reads(), reads + 1);

    world.delete("k").await.unwrap();
    world.create("k").await.unwrap();
    assert_eq!(world.last_use().await, LastUse { at: None, by: None, ..used });
    // So it is with one that another server has put there.
    world.seal().await;
    world.store.take(&name("k")).await;
    world.store.put(&name("k"), &record()).await;
    world.keys.cache.order().forget(&name("k"));
    assert_eq!(world.last_use().await.at, None);
}

#[tokio::test]
async fn what_another_process_has_used_until_now_is_not_known() {
    let world = World::new().await;
    world.seal().await;
    let used = world.last_use().await;
    world.clock.advance(seconds(5));
    world.keys.know_uses_from_now();
    assert_eq!(world.last_use().await, LastUse { since: world.clock.date(), ..used });
}

#[tokio::test]
async fn the_last_use_is_for_those_who_may_delete_that_key() {
    let world = World::new().await;
    let described = world.describe("k").await.unwrap();
    for (operation, key) in
        [(Operation::DescribeKey, "k"), (Operation::GenerateKey, "k"), (Operation::DeleteKey, "l")]
    {
        let path = path(operation, key);
        let refused = world.keys.last_use(&permit(operation, &path), &described);
        assert!(matches!(refused, Err(Error::WrongPermit(_))), "{operation:?} {key}");
    }
}
