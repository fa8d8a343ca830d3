use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;

use kes_api::route::ROUTES;
use kes_api::{Fingerprint, Timestamp};
use kes_keystore::wrap::Metered;
use kes_policy::Policies;
use tokio::task::JoinHandle;

/// Whole flows.
mod flows;

/// The gate in front of the key store.
mod gate;

/// Keys that are pinned.
mod pinned;

/// What traces are told.
mod traced;

/// Changes that may still be carried out after they have failed.
mod unsure;

/// When keys were last used.
mod uses;

use super::*;
use crate::testing::{
    FakeStore, ManualClock, Notes, eventually, name, record, seconds, settle, unreachable,
};

type FakeKeys = Keys<Metered<FakeStore, Notes>, Notes, ManualClock>;

struct World {
    store: FakeStore,
    clock: ManualClock,
    notes: Arc<Notes>,
    keys: Arc<FakeKeys>,
}

impl World {
    /// With one key, `k`, in the store.
    async fn new() -> Self {
        Self::following(Order::default()).await
    }

    /// The same with the order of changes of another one.
    async fn following(order: Order) -> Self {
        let (store, clock) = (FakeStore::with(&name("k")).await, ManualClock::new());
        let notes = Arc::new(Notes::default());
        let expiry = Expiry { any: seconds(300), unused: seconds(30), offline: seconds(0) };
        let metered = Metered::new(store.clone(), Arc::clone(&notes));
        let keys = Keys::new(metered, order, expiry, Arc::clone(&notes), clock.clone());
        Self { store, clock, notes, keys: Arc::new(keys) }
    }

    async fn create(&self, key: &str) -> Result<(), Error> {
        let path = path(Operation::CreateKey, key);
        self.keys.create(&permit(Operation::CreateKey, &path), name(key), unheard).await
    }

    async fn describe(&self, key: &str) -> Result<Description, Error> {
        let path = path(Operation::DescribeKey, key);
        self.keys.describe(&permit(Operation::DescribeKey, &path), name(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let path = path(Operation::DeleteKey, key);
        self.keys.delete(&permit(Operation::DeleteKey, &path), name(key), unheard).await
    }

    /// Starts a delete of `k` in a task of its own, and lets it come as far as it can.
    async fn start_delete(&self) -> JoinHandle<Result<(), Error>> {
        let keys = Arc::clone(&self.keys);
        let delete = tokio::spawn(async move {
            let path = path(Operation::DeleteKey, "k");
            keys.delete(&permit(Operation::DeleteKey, &path), name("k"), unheard).await
        });
        settle().await;
        delete
    }
}

/// Nobody wants to know how a change ended.
fn unheard() -> impl Ended {
    |_: &Result<(), Error>| None
}

fn admin() -> Identity {
    Identity::of_public_key(b"admin")
}

fn path(operation: Operation, resource: &str) -> String {
    let route = operation.route();
    let resource = if route.takes_name() { resource } else { "" };
    format!("{}{resource}", route.path)
}

fn permit(operation: Operation, path: &str) -> Permit<'_> {
    Policies::of_admin(admin()).permit(Some(&admin()), operation, path).unwrap()
}

/// A ciphertext and its context.
struct Sealed(Vec<u8>, Vec<u8>);

fn parts(sealed: &Sealed) -> (&[u8], &[u8]) {
    (&sealed.0, &sealed.1)
}

/// Runs an operation on the key or pattern `k`.
async fn run(keys: &FakeKeys, operation: Operation, permit: &Permit<'_>) -> Result<(), Error> {
    let k = name("k");
    match operation {
        Operation::CreateKey => keys.create(permit, k, unheard).await,
        Operation::ImportKey => keys.import(permit, k, "AES256", &[0; 32], unheard).await,
        Operation::DescribeKey => keys.describe(permit, k).await.map(drop),
        Operation::DeleteKey => keys.delete(permit, k, unheard).await,
        Operation::ListKeys => {
            let pattern = ListPattern::parse("k").unwrap();
            keys.list(permit, &pattern, Limit::names(10)).await.map(drop)
        }
        Operation::GenerateKey => keys.generate(permit, k, b"").await.map(drop),
        Operation::EncryptKey => {
            keys.encrypt(permit, k, Zeroizing::new(vec![1]), b"").await.map(drop)
        }
        Operation::DecryptKey => keys.decrypt(permit, k, b"", b"").await.map(drop),
        Operation::BulkDecrypt => {
            keys.bulk_decrypt(permit, k, &[Sealed(vec![], vec![])], parts).await.map(drop)
        }
        Operation::Hmac => keys.hmac(permit, k, b"").await.map(drop),
        other => panic!("{other:?} is not an operation on keys"),
    }
}

const OPERATIONS: [Operation; 10] = [
    Operation::CreateKey,
    Operation::ImportKey,
    Operation::DescribeKey,
    Operation::DeleteKey,
    Operation::ListKeys,
    Operation::GenerateKey,
    Operation::EncryptKey,
    Operation::DecryptKey,
    Operation::BulkDecrypt,
    Operation::Hmac,
];

#[tokio::test]
async fn an_operation_does_nothing_with_the_permit_of_another_operation_or_key() {
    let world = World::new().await;
    for operation in OPERATIONS {
        for permitted in ROUTES.map(|route| route.operation) {
            for resource in ["k", "l", "kk", "K"] {
                let path = path(permitted, resource);
                let is_right = permitted == operation && resource == "k";
                if is_right {
                    continue;
                }
                let result = run(&world.keys, operation, &permit(permitted, &path)).await;
                let what = format!("{operation:?} with {path}");
                assert!(matches!(result, Err(Error::WrongPermit(_))), "{what}");
            }
        }
    }
    assert_eq!(world.store.calls(), 0);
    assert!(world.store.has(&name("k")).await);
    let asked =
        world.notes.hits.load(Ordering::Relaxed) + world.notes.misses.load(Ordering::Relaxed);
    assert_eq!(asked, 0);
}

#[tokio::test]
async fn the_page_of_another_listing_is_for_who_may_list_the_same() {
    let world = World::new().await;
    let path = path(Operation::ListKeys, "k*");
    let permit = permit(Operation::ListKeys, &path);
    let check = |pattern| world.keys.check_list(&permit, &ListPattern::parse(pattern).unwrap());
    assert!(check("k*").is_ok());
    for other in ["*", "l*", "kk*"] {
        assert!(matches!(check(other), Err(Error::WrongPermit(_))), "{other}");
    }
}

#[tokio::test]
async fn an_operation_runs_with_its_own_permit() {
    for operation in OPERATIONS {
        let world = World::new().await;
        let path = path(operation, "k");
        let result = run(&world.keys, operation, &permit(operation, &path)).await;
        let is_expected = match operation {
            Operation::CreateKey | Operation::ImportKey => matches!(
                result,
                Err(Error::Store {
                    operation: StoreOperation::Create,
                    source: kes_keystore::Error::Exists { .. },
                })
            ),
            Operation::DecryptKey | Operation::BulkDecrypt => {
                matches!(result, Err(Error::NotAuthentic))
            }
            _ => result.is_ok(),
        };
        assert!(is_expected, "{operation:?}: {result:?}");
        assert_eq!(world.store.calls(), 1, "{operation:?}");
    }
}

#[tokio::test]
async fn what_a_key_encrypts_it_decrypts() {
    let world = World::new().await;
    let encrypt = path(Operation::EncryptKey, "k");
    let encrypt = permit(Operation::EncryptKey, &encrypt);
    let mut sealed = Vec::new();
    for n in 0..100_u8 {
        let plaintext = Zeroizing::new(vec![n; 3]);
        let ciphertext = world.keys.encrypt(&encrypt, name("k"), plaintext, &[n]).await.unwrap();
        sealed.push(Sealed(ciphertext, vec![n]));
    }
    let bulk = path(Operation::BulkDecrypt, "k");
    let bulk = permit(Operation::BulkDecrypt, &bulk);
    let opened = world.keys.bulk_decrypt(&bulk, name("k"), &sealed, parts).await.ok().unwrap();
    assert_eq!(opened.len(), 100);
    assert!(opened.iter().zip(0..).all(|(plaintext, n)| plaintext.expose() == [n; 3]));
    // One that is not authentic fails them all.
    sealed[70].1 = b"another context".to_vec();
    let opened = world.keys.bulk_decrypt(&bulk, name("k"), &sealed, parts).await;
    assert!(matches!(opened, Err(Error::NotAuthentic)));

    let generate = path(Operation::GenerateKey, "k");
    let generate = permit(Operation::GenerateKey, &generate);
    let key = world.keys.generate(&generate, name("k"), b"context").await.ok().unwrap();
    let decrypt = path(Operation::DecryptKey, "k");
    let decrypt = permit(Operation::DecryptKey, &decrypt);
    let open = async |context: &'static [u8]| {
        world.keys.decrypt(&decrypt, name("k"), &key.ciphertext, context).await
    };
    assert!(open(b"context").await.ok().unwrap().expose() == key.plaintext.expose());
    assert!(matches!(open(b"").await, Err(Error::NotAuthentic)));
    assert_eq!(world.store.reads(), 1);
}

/// How often an operation lets other tasks run before it ends.
async fn pauses<T>(operation: impl Future<Output = T>) -> usize {
    let mut operation = pin!(operation);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        operation.as_mut().poll(context).map(drop)
    })
    .await;
    polls - 1
}

#[tokio::test]
async fn many_ciphertexts_do_not_keep_other_tasks_waiting() {
    let world = World::new().await;
    world.describe("k").await.unwrap();
    let bulk = path(Operation::BulkDecrypt, "k");
    let bulk = permit(Operation::BulkDecrypt, &bulk);
    let encrypt = path(Operation::EncryptKey, "k");
    let encrypt = permit(Operation::EncryptKey, &encrypt);
    let sealed = world.keys.encrypt(&encrypt, name("k"), Zeroizing::new(vec![7]), b"").await;
    let sealed = sealed.unwrap();
    for (count, expected) in [(1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (1000, 31)] {
        let requests: Vec<_> = (0..count).map(|_| Sealed(sealed.clone(), Vec::new())).collect();
        let decrypt = world.keys.bulk_decrypt(&bulk, name("k"), &requests, parts);
        assert_eq!(pauses(decrypt).await, expected, "{count} ciphertexts");
    }
}

#[tokio::test]
async fn what_is_known_of_the_key_store_is_told() {
    let world = World::new().await;
    assert_eq!(world.keys.description(), "the store of a test");
    assert_eq!(world.keys.state(), State::Reachable { latency: Duration::ZERO });
    assert_eq!(world.keys.trouble(), None);
    let logins = Logins { succeeded: 3, failed: 2, token_life: Duration::MAX };
    assert_eq!(world.keys.logins(), Some(logins));
    world.store.set_state(State::Unavailable);
    world.store.fail(Some(unreachable()));
    assert_eq!(world.keys.state(), State::Unavailable);
    assert_eq!(world.keys.trouble(), Some(unreachable().to_string()));
}

#[tokio::test]
async fn the_age_of_the_keys_in_memory_is_told() {
    let world = World::new().await;
    assert_eq!((world.keys.cached(), world.keys.cache_age()), (0, Duration::ZERO));
    world.describe("k").await.unwrap();
    world.clock.advance(seconds(7));
    world.create("new").await.unwrap();
    world.clock.advance(seconds(2));
    assert_eq!((world.keys.cached(), world.keys.cache_age()), (2, seconds(9)));
}

#[tokio::test]
async fn a_new_key_has_the_date_and_its_author_and_is_not_read() {
    let world = World::new().await;
    world.clock.advance(seconds(5));
    world.create("new").await.unwrap();
    let key = world.describe("new").await.unwrap();
    assert_eq!(key.created_at, Timestamp::from_unix(1_000_000_005, 0).unwrap());
    assert_eq!(key.created_by, admin().to_string());
    assert_eq!(key.cipher, Cipher::preferred());
    assert_eq!(world.store.reads(), 0);
    assert_eq!(world.keys.cached(), 1);
}

#[tokio::test]
async fn a_key_of_the_configuration_is_created_in_the_name_of_the_admin() {
    let world = World::new().await;
    let (_, permits) = Policies::of_admin(admin()).with_startup_keys([name("new"), name("k")]);
    world.keys.create_at_startup(&permits[0], unheard).await.unwrap();
    assert_eq!(world.describe("new").await.unwrap().created_by, admin().to_string());
    let exists = world.keys.create_at_startup(&permits[1], unheard).await;
    assert!(matches!(exists, Err(Error::Store { source: kes_keystore::Error::Exists { .. }, .. })));
    // Without an admin nobody is the author.
    let (_, permits) = Policies::default().with_startup_keys([name("other")]);
    world.keys.create_at_startup(&permits[0], unheard).await.unwrap();
    assert_eq!(world.describe("other").await.unwrap().created_by, "");
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused() {
    let world = World::new().await;
    let path = path(Operation::ImportKey, "new");
    let permit = permit(Operation::ImportKey, &path);
    let import = async |cipher: &str, key: &[u8]| {
        world.keys.import(&permit, name("new"), cipher, key, unheard).await
    };
    assert!(matches!(import("DES", &[0; 32]).await, Err(Error::Cipher { .. })));
    assert!(matches!(import("AES256", &[0; 31]).await, Err(Error::KeySize { .. })));
    assert_eq!(world.store.calls(), 0);
    let other = *Cipher::ALL.last().unwrap();
    import(other.name(), &[0; 32]).await.unwrap();
    assert_eq!(world.describe("new").await.unwrap().cipher, other);
    if Cipher::is_unapproved("ChaCha20") {
        let refused = import("ChaCha20", &[0; 32]).await;
        assert!(matches!(refused, Err(Error::UnapprovedCipher { .. })));
    }
}

#[tokio::test]
async fn an_old_key_has_no_hmac() {
    let world = World::new().await;
    let key = Key::from_parts(Cipher::Aes256, Secret::generate(), None);
    world.store.put(&name("old"), &Record { key, ..record() }).await;
    let path = path(Operation::Hmac, "old");
    let permit = permit(Operation::Hmac, &path);
    let hmac = world.keys.hmac(&permit, name("old"), b"message").await;
    assert!(matches!(hmac, Err(Error::NoHmac)));
}

#[tokio::test]
async fn a_failure_of_the_key_store_tells_what_was_tried() {
    use StoreOperation::{Create, Delete, List, Read};
    let expected = [Create, Create, Read, Delete, List, Read, Read, Read, Read, Read];
    for (operation, tried) in OPERATIONS.into_iter().zip(expected) {
        let world = World::new().await;
        world.store.fail(Some(unreachable()));
        let path = path(operation, "k");
        let result = run(&world.keys, operation, &permit(operation, &path)).await;
        let Err(Error::Store { operation: told, source }) = result else {
            panic!("{operation:?}: {result:?}")
        };
        assert_eq!(told, tried);
        assert!(matches!(source, kes_keystore::Error::Unreachable { .. }));
        let calls = std::mem::take(&mut *world.notes.calls.lock());
        let calls: Vec<_> = calls.iter().map(|(what, _, failed)| (*what, *failed)).collect();
        assert_eq!(calls, [(tried, true)], "{operation:?}");
    }
}

#[tokio::test]
async fn a_damaged_key_is_a_failure_of_the_key_store() {
    let world = World::new().await;
    world.store.put_text(&name("damaged"), "no stored key").await;
    let result = world.describe("damaged").await;
    let Err(Error::Store { source: kes_keystore::Error::Corrupt { store, .. }, .. }) = result
    else {
        panic!("{result:?}")
    };
    assert_eq!(store, kes_keystore::memory::KIND);
    assert_eq!(world.notes.calls.lock().len(), 1);
    assert_eq!(world.notes.invalid_records.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn hits_misses_and_the_time_of_calls_are_told() {
    let world = World::new().await;
    world.store.hold(true);
    let keys = Arc::clone(&world.keys);
    let first = tokio::spawn(async move {
        let path = path(Operation::GenerateKey, "k");
        keys.generate(&permit(Operation::GenerateKey, &path), name("k"), b"").await.is_ok()
    });
    settle().await;
    tokio::time::advance(seconds(3)).await;
    world.store.hold(false);
    assert!(first.await.unwrap());
    for _ in 0..4 {
        world.describe("k").await.unwrap();
    }
    assert_eq!(*world.notes.calls.lock(), [(StoreOperation::Read, seconds(3), false)]);
    assert_eq!(world.notes.hits.load(Ordering::Relaxed), 4);
    assert_eq!(world.notes.misses.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_deleted_key_is_gone_even_if_the_key_store_fails() {
    let world = World::new().await;
    world.describe("k").await.unwrap();
    world.delete("k").await.unwrap();
    assert!(world.describe("k").await.is_err());

    world.create("l").await.unwrap();
    world.store.fail(Some(unreachable()));
    assert!(world.delete("l").await.is_err());
    assert_eq!(world.keys.cached(), 0);
    world.store.fail(None);
    assert!(world.describe("l").await.is_ok(), "it is still in the key store");
}

#[tokio::test]
async fn a_key_that_is_read_while_it_is_deleted_does_not_stay() {
    let world = World::new().await;
    world.describe("k").await.unwrap();
    world.store.hold(true);
    let delete = world.start_delete().await;
    assert_eq!(world.keys.cached(), 0);
    // As if the store answered another read before it deleted the key.
    world.store.put(&name("k"), &record()).await;
    let keys = Arc::clone(&world.keys);
    let describe = tokio::spawn(async move {
        let path = path(Operation::DescribeKey, "k");
        keys.describe(&permit(Operation::DescribeKey, &path), name("k")).await
    });
    settle().await;
    world.store.take(&name("k")).await;
    world.store.hold(false);
    delete.await.unwrap().unwrap();
    describe.await.unwrap().unwrap();
    assert_eq!(world.keys.cached(), 0);
}

/// The configuration is read again, with another login to the same key store, while a key is being
/// deleted: the delete acts on the one cache that there is.
#[tokio::test(start_paused = true)]
async fn a_delete_over_a_reload_leaves_no_key_in_memory() {
    let world = World::new().await;
    world.describe("k").await.unwrap();
    world.store.hold(true);
    let delete = world.start_delete().await;
    // What the new login reads before the old one has deleted it.
    let login = FakeStore::with(&name("k")).await;
    let expiry = Expiry { any: seconds(300), unused: seconds(30), offline: seconds(0) };
    let metered = Metered::new(login.clone(), Arc::clone(&world.notes));
    world.keys.reconfigure(metered, expiry);
    let described = tokio::time::timeout(seconds(20), world.describe("k")).await;
    described.expect("the new login was not asked").unwrap();
    assert_eq!(world.keys.cached(), 0, "it may be deleted");
    login.take(&name("k")).await;
    world.store.hold(false);
    delete.await.unwrap().unwrap();
    assert_eq!(world.keys.cached(), 0);
    assert!(world.describe("k").await.is_err());
}

/// And its end is told.
#[tokio::test]
async fn a_change_goes_on_when_its_caller_goes_away() {
    let world = World::new().await;
    world.store.hold(true);
    let keys = Arc::clone(&world.keys);
    let (tell, mut told) = tokio::sync::oneshot::channel();
    let create = tokio::spawn(async move {
        let path = path(Operation::CreateKey, "new");
        let begin = || {
            move |ended: &Result<(), Error>| {
                tell.send(ended.is_ok()).unwrap();
                None
            }
        };
        keys.create(&permit(Operation::CreateKey, &path), name("new"), begin).await
    });
    settle().await;
    create.abort();
    assert!(create.await.is_err());
    assert!(told.try_recv().is_err(), "it has not ended");
    world.store.hold(false);
    eventually("the key is in memory", || world.keys.cached() == 1).await;
    assert!(world.store.has(&name("new")).await);
    assert_eq!(told.await, Ok(true));
}

/// Whoever asks for what is refused at once hears it from the call alone.
#[tokio::test]
async fn the_end_of_a_change_is_told_before_its_caller_has_the_answer() {
    let world = World::new().await;
    let path = path(Operation::CreateKey, "k");
    let permit = permit(Operation::CreateKey, &path);
    for (key, begun) in [("k", true), ("other", false)] {
        let (tell, mut told) = tokio::sync::oneshot::channel();
        let begin = || {
            move |ended: &Result<(), Error>| {
                tell.send(ended.is_err()).unwrap();
                None
            }
        };
        assert!(world.keys.create(&permit, name(key), begin).await.is_err());
        assert_eq!(told.try_recv().ok(), begun.then_some(true), "{key}");
    }
}

#[tokio::test]
async fn a_change_that_panics_is_an_error() {
    let world = World::new().await;
    world.store.panic(true);
    assert!(matches!(world.create("new").await, Err(Error::Panicked)));
    assert!(matches!(world.delete("k").await, Err(Error::Panicked)));
    world.store.panic(false);
    world.create("new").await.unwrap();
}
