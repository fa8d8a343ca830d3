//! Whole flows, as servers and their clients go through them: with the cache, its refresher and its
//! observer, on a key store that does as it is told. Time is paused, and passes when nothing else
//! is to do, so that hours take milliseconds.

use tokio::time::sleep;

use super::*;
use crate::testing::PausedClock;

/// The keys of one server.
struct Server {
    keys: Keys<Metered<FakeStore, Notes>, Notes, PausedClock>,
    notes: Arc<Notes>,
}

/// In seconds.
fn expiry(any: u64, unused: u64, offline: u64) -> Expiry {
    Expiry { any: seconds(any), unused: seconds(unused), offline: seconds(offline) }
}

/// As a configuration without the section has it.
fn usual() -> Expiry {
    expiry(300, 30, 0)
}

impl Server {
    fn on(store: &FakeStore, expiry: Expiry) -> Self {
        let notes = Arc::new(Notes::default());
        let metered = Metered::new(store.clone(), Arc::clone(&notes));
        let keys = Keys::new(metered, Order::default(), expiry, Arc::clone(&notes), PausedClock);
        Self { keys, notes }
    }

    async fn create(&self, key: &str) -> Result<(), Error> {
        let path = path(Operation::CreateKey, key);
        self.keys.create(&permit(Operation::CreateKey, &path), name(key), unheard).await
    }

    async fn import(&self, key: &str, secret: &[u8; 32]) -> Result<(), Error> {
        let path = path(Operation::ImportKey, key);
        let permit = permit(Operation::ImportKey, &path);
        self.keys.import(&permit, name(key), "AES256", secret, unheard).await
    }

    async fn describe(&self, key: &str) -> Result<Description, Error> {
        let path = path(Operation::DescribeKey, key);
        self.keys.describe(&permit(Operation::DescribeKey, &path), name(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let path = path(Operation::DeleteKey, key);
        self.keys.delete(&permit(Operation::DeleteKey, &path), name(key), unheard).await
    }

    /// A data key for the context `object`.
    async fn generate(&self, key: &str) -> Result<DataKey, Error> {
        let path = path(Operation::GenerateKey, key);
        let permit = permit(Operation::GenerateKey, &path);
        self.keys.generate(&permit, name(key), b"object").await
    }

    async fn encrypt(&self, key: &str, text: &[u8]) -> Result<Vec<u8>, Error> {
        let path = path(Operation::EncryptKey, key);
        let permit = permit(Operation::EncryptKey, &path);
        let plaintext = Zeroizing::new(text.to_vec());
        self.keys.encrypt(&permit, name(key), plaintext, b"object").await
    }

    async fn decrypt(&self, key: &str, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        let path = path(Operation::DecryptKey, key);
        let permit = permit(Operation::DecryptKey, &path);
        let plaintext = self.keys.decrypt(&permit, name(key), ciphertext, b"object").await?;
        Ok(plaintext.expose().to_vec())
    }

    async fn hmac(&self, key: &str) -> Result<[u8; 32], Error> {
        let path = path(Operation::Hmac, key);
        self.keys.hmac(&permit(Operation::Hmac, &path), name(key), b"message").await
    }

    /// The names of a page of at most `limit`, and where the next one begins.
    async fn list(&self, pattern: &str, limit: usize) -> (Vec<String>, Option<String>) {
        let path = path(Operation::ListKeys, pattern);
        let permit = permit(Operation::ListKeys, &path);
        let pattern = ListPattern::parse(pattern).unwrap();
        let page = self.keys.list(&permit, &pattern, Limit::names(limit)).await.unwrap();
        let names = page.names.iter().map(str::to_owned).collect();
        (names, page.next.map(|next| next.to_string()))
    }

    /// Asserts that a data key of before opens.
    async fn opens(&self, key: &str, data_key: &DataKey) {
        let opened = self.decrypt(key, &data_key.ciphertext).await.unwrap();
        assert!(opened == data_key.plaintext.expose());
    }

    /// How often a kind of call to the key store was made.
    fn calls(&self, operation: StoreOperation) -> usize {
        self.notes.calls.lock().iter().filter(|(called, ..)| *called == operation).count()
    }
}

fn is_missing<T>(result: &Result<T, Error>) -> bool {
    use kes_keystore::Error::NotFound;
    matches!(result, Err(Error::Store { source: NotFound { .. }, .. }))
}

fn is_unreachable<T>(result: &Result<T, Error>) -> bool {
    use kes_keystore::Error::Unreachable;
    matches!(result, Err(Error::Store { source: Unreachable { .. }, .. }))
}

/// Takes the key store away, as its health check and its calls notice it.
fn take_away(store: &FakeStore) {
    store.set_state(State::Unreachable);
    store.fail(Some(unreachable()));
}

fn bring_back(store: &FakeStore) {
    store.set_state(State::Reachable { latency: Duration::ZERO });
    store.fail(None);
}

#[tokio::test(start_paused = true)]
async fn a_key_from_its_creation_to_its_end() {
    let store = FakeStore::new();
    let server = Server::on(&store, usual());
    assert!(is_missing(&server.describe("k").await));
    server.create("k").await.unwrap();
    let exists = server.create("k").await;
    assert!(matches!(exists, Err(Error::Store { source: kes_keystore::Error::Exists { .. }, .. })));
    assert_eq!(server.describe("k").await.unwrap().created_by, admin().to_string());
    assert_eq!(server.list("*", 10).await, (vec!["k".to_owned()], None));

    let data_key = server.generate("k").await.unwrap();
    server.opens("k", &data_key).await;
    let ciphertext = server.encrypt("k", b"text").await.unwrap();
    assert_eq!(server.decrypt("k", &ciphertext).await.unwrap(), b"text");
    let hmac = server.hmac("k").await.unwrap();
    assert_eq!(server.hmac("k").await.unwrap(), hmac);
    assert_eq!(server.calls(StoreOperation::Read), 1, "only before it was created");

    server.delete("k").await.unwrap();
    assert!(is_missing(&server.decrypt("k", &ciphertext).await));
    assert!(is_missing(&server.delete("k").await));
    assert_eq!(server.list("*", 10).await, (vec![], None));

    // A new key of the same name is another key.
    server.create("k").await.unwrap();
    let other = server.decrypt("k", &ciphertext).await;
    assert!(matches!(other, Err(Error::NotAuthentic)));
    assert_ne!(server.hmac("k").await.unwrap(), hmac);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_has_encrypted_the_next_one_decrypts() {
    let store = FakeStore::new();
    let first = Server::on(&store, usual());
    first.create("k").await.unwrap();
    first.import("imported", &[7; 32]).await.unwrap();
    let (mut data_keys, mut hmacs) = (Vec::new(), Vec::new());
    for key in ["k", "imported"] {
        data_keys.push(first.generate(key).await.unwrap());
        hmacs.push(first.hmac(key).await.unwrap());
    }
    let description = first.describe("k").await.unwrap();
    drop(first);

    let next = Server::on(&store, usual());
    assert_eq!(next.keys.cached(), 0);
    for ((key, data_key), hmac) in ["k", "imported"].into_iter().zip(&data_keys).zip(hmacs) {
        next.opens(key, data_key).await;
        assert_eq!(next.hmac(key).await.unwrap(), hmac);
    }
    let again = next.describe("k").await.unwrap();
    assert_eq!(
        (again.created_at, &*again.created_by),
        (description.created_at, &*description.created_by)
    );
    assert_eq!((again.cipher, again.fingerprint), (description.cipher, description.fingerprint));
    assert_eq!((next.keys.cached(), next.calls(StoreOperation::Read)), (2, 2));
    // The same bytes under another name are the same key, with another HMAC key.
    next.import("again", &[7; 32]).await.unwrap();
    next.opens("again", &data_keys[1]).await;
    assert_ne!(next.hmac("again").await.unwrap(), next.hmac("imported").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn servers_of_one_key_store_share_its_keys() {
    let store = FakeStore::new();
    let [first, second] = [(); 2].map(|()| Server::on(&store, expiry(80, 80, 0)));
    first.create("k").await.unwrap();
    let data_key = second.generate("k").await.unwrap();
    first.opens("k", &data_key).await;

    // What one of them deletes, the other forgets within `any`, however much it is used.
    second.delete("k").await.unwrap();
    assert!(is_missing(&second.generate("k").await));
    let deleted = PausedClock.now();
    while first.generate("k").await.is_ok() {
        assert!(PausedClock.now() - deleted <= seconds(80));
        sleep(seconds(1)).await;
    }
    assert!(is_missing(&first.generate("k").await));

    // What one of them creates, the other has at its next request.
    second.create("k").await.unwrap();
    assert!(first.describe("k").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_never_waits_for_the_key_store_again() {
    let store = FakeStore::with(&name("k")).await;
    let server = Server::on(&store, usual());
    server.generate("k").await.unwrap();
    for _ in 0..3600 {
        sleep(seconds(1)).await;
        server.generate("k").await.unwrap();
    }
    assert_eq!(server.notes.misses.load(Ordering::Relaxed), 1);
    assert_eq!(server.notes.hits.load(Ordering::Relaxed), 3600);
    // Once in its time, and again some time before that is over.
    let reads = server.calls(StoreOperation::Read);
    assert!((12..=16).contains(&reads), "{reads} reads in an hour");

    // When nobody uses it any more, it goes, and with it the reads.
    sleep(seconds(60)).await;
    assert_eq!(server.keys.cached(), 0);
    let reads = server.calls(StoreOperation::Read);
    sleep(seconds(3600)).await;
    assert_eq!(server.calls(StoreOperation::Read), reads);
}

#[tokio::test(start_paused = true)]
async fn an_outage_with_an_offline_time_stops_only_what_is_not_in_memory() {
    let store = FakeStore::new();
    let server = Server::on(&store, expiry(60, 30, 600));
    server.create("k").await.unwrap();
    server.create("unused").await.unwrap();
    let data_key = server.generate("k").await.unwrap();
    store.put(&name("cold"), &record()).await;

    take_away(&store);
    let start = PausedClock.now();
    while PausedClock.now() - start < seconds(590) {
        server.opens("k", &data_key).await;
        assert!(is_unreachable(&server.generate("cold").await));
        assert!(is_unreachable(&server.create("new").await));
        sleep(seconds(5)).await;
    }
    // What was not used stays as well: it may be needed next.
    server.generate("unused").await.unwrap();
    assert_eq!(server.keys.state(), State::Unreachable);
    sleep(seconds(30)).await;
    assert_eq!(server.keys.cached(), 0);
    assert!(is_unreachable(&server.generate("k").await));

    bring_back(&store);
    server.opens("k", &data_key).await;
    server.generate("cold").await.unwrap();
    server.create("new").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_an_offline_time_is_bridged_for_the_usual_time() {
    let store = FakeStore::with(&name("k")).await;
    let server = Server::on(&store, expiry(80, 80, 0));
    let data_key = server.generate("k").await.unwrap();
    take_away(&store);
    let start = PausedClock.now();
    while server.decrypt("k", &data_key.ciphertext).await.is_ok() {
        assert!(PausedClock.now() - start < seconds(100), "it is bridged for ever");
        sleep(seconds(1)).await;
    }
    let bridged = PausedClock.now() - start;
    assert!((seconds(79)..=seconds(91)).contains(&bridged), "{bridged:?}");
    assert!(is_unreachable(&server.generate("k").await));
    bring_back(&store);
    server.opens("k", &data_key).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_make_a_key_missing() {
    let store = FakeStore::with(&name("k")).await;
    let server = Server::on(&store, usual());
    take_away(&store);
    for _ in 0..100 {
        assert!(is_unreachable(&server.describe("k").await));
    }
    assert_eq!(server.calls(StoreOperation::Read), 100, "no failure is remembered");
    bring_back(&store);
    server.describe("k").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn names_are_listed_in_pages_of_what_is_stored_now() {
    let store = FakeStore::new();
    let server = Server::on(&store, usual());
    for key in ["a-1", "a-2", "a-3", "b-1"] {
        server.create(key).await.unwrap();
    }
    let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let next = Some("a-3".to_owned());
    assert_eq!(server.list("a-*", 2).await, (texts(&["a-1", "a-2"]), next));
    assert_eq!(server.list("a-*a-3", 2).await, (texts(&["a-3"]), None));
    assert_eq!(server.list("b*", 2).await, (texts(&["b-1"]), None));
    assert_eq!(server.list("c", 2).await, (texts(&[]), None));
    // Another server changes it.
    store.take(&name("a-1")).await;
    store.put(&name("a-0"), &record()).await;
    assert_eq!(server.list("*", 9).await, (texts(&["a-0", "a-2", "a-3", "b-1"]), None));
    assert_eq!(server.calls(StoreOperation::List), 5);
    assert_eq!(server.keys.cached(), 4, "a listing changes nothing in memory");
}

#[tokio::test(start_paused = true)]
async fn a_reload_in_the_same_place_keeps_the_keys_and_asks_the_new_login() {
    let old = FakeStore::with(&name("k")).await;
    let server = Server::on(&old, usual());
    let data_key = server.generate("k").await.unwrap();
    let new = old.another_login();
    let metered = Metered::new(new.clone(), Arc::clone(&server.notes));
    server.keys.reconfigure(metered, expiry(60, 60, 0));
    take_away(&old);
    assert!(matches!(server.keys.state(), State::Reachable { .. }));
    server.opens("k", &data_key).await;
    assert_eq!((old.reads(), new.reads()), (1, 0), "it is in memory");
    server.create("l").await.unwrap();
    assert_eq!(server.list("*", 9).await.0, ["k", "l"]);
    // The refresher uses it, by the new times.
    for _ in 0..60 {
        sleep(seconds(1)).await;
        server.opens("k", &data_key).await;
    }
    assert_eq!((old.reads(), new.reads()), (1, 2), "each of the two keys once");
    server.delete("k").await.unwrap();
    assert!(is_missing(&server.generate("k").await));
}

#[tokio::test(start_paused = true)]
async fn keys_in_another_place_begin_without_any_and_those_of_before_end() {
    let here = FakeStore::with(&name("k")).await;
    let server = Server::on(&here, usual());
    let data_key = server.generate("k").await.unwrap();
    let next = Server::on(&FakeStore::new(), usual());
    assert!(is_missing(&next.decrypt("k", &data_key.ciphertext).await));
    // A request that has begun goes on with the keys that it began with.
    server.opens("k", &data_key).await;
    settle().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 2, "one refresher each");
    drop(server);
    settle().await;
    assert_eq!(tasks(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_all_miss_at_once_cause_one_read() {
    let store = FakeStore::with(&name("k")).await;
    let server = Arc::new(Server::on(&store, usual()));
    store.hold(true);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let server = Arc::clone(&server);
        requests.spawn(async move { server.generate("k").await });
    }
    settle().await;
    assert_eq!(store.reads(), 1);
    store.hold(false);
    for data_key in requests.join_all().await {
        server.opens("k", &data_key.unwrap()).await;
    }
    assert_eq!(store.reads(), 1);
}

/// A change waits for the one before it, also when the configuration is read again in between.
#[tokio::test(start_paused = true)]
async fn the_changes_of_a_key_are_made_one_after_the_other() {
    let store = FakeStore::new();
    let server = Server::on(&store, usual());
    server.create("k").await.unwrap();
    store.hold(true);
    let reload = async {
        settle().await;
        assert!(!store.has(&name("k")).await, "the delete is at work");
        let metered = Metered::new(store.another_login(), Arc::clone(&server.notes));
        server.keys.reconfigure(metered, usual());
    };
    let create = async {
        settle().await;
        settle().await;
        server.create("k").await
    };
    let rest = async {
        for _ in 0..5 {
            settle().await;
        }
        assert!(!store.has(&name("k")).await, "the create waits");
        store.hold(false);
    };
    let (deleted, (), created, ()) = tokio::join!(server.delete("k"), reload, create, rest);
    deleted.unwrap();
    created.unwrap();
    server.describe("k").await.unwrap();
    assert_eq!(server.calls(StoreOperation::Read), 0, "the key is in memory, and nobody looked");
}

/// A cluster that starts while a change is not completed need not wait for it.
#[tokio::test(start_paused = true)]
async fn a_key_that_exists_is_not_created_whatever_waits() {
    let store = FakeStore::with(&name("k")).await;
    let server = Server::on(&store, usual());
    let order = server.keys.cache.order();
    let turn = order.try_turn(&name("k"), Change::Create).unwrap();
    let start = tokio::time::Instant::now();
    let exists = server.create("k").await;
    assert!(matches!(exists, Err(Error::Store { source: kes_keystore::Error::Exists { .. }, .. })));
    assert_eq!(start.elapsed(), Duration::ZERO);
    // A delete fails if its turn does not come, and has not touched the key.
    assert!(server.delete("k").await.is_err());
    assert!(store.has(&name("k")).await);
    drop(turn);
    server.delete("k").await.unwrap();
}
