use std::fs;
use std::path::Path;
use std::time::Duration;

use kes_api::{Identity, KeyName, Operation};
use kes_testkit::{Authority, certs::Pair, wait};
use tokio::net::TcpListener;

use super::*;
use crate::lifecycle::passed::PassedSockets;
use crate::lifecycle::server::{Opened, Options, Source};
use crate::observe::logging::Logs;
use crate::observe::metrics::Metrics;
use crate::service::BuildInfo;

/// A server that was opened and does not accept connections.
struct World {
    authority: Authority,
    pair: Pair,
    running: Arc<Running>,
    certificates: Fingerprint,
}

/// What a reload can replace.
struct Replaceable {
    generation: Arc<Generation>,
    tls: Arc<Loaded>,
    address: std::net::SocketAddr,
}

impl World {
    /// With keys in the folder `keys`.
    async fn start() -> Self {
        let authority = Authority::new();
        let pair = authority.server("server");
        let folder = authority.folder();
        write(folder, &pair, "keys", "");
        let metrics = Arc::new(Metrics::new());
        let options = Options {
            source: Source::File(folder.join("config.yml")),
            address: None,
            passed: PassedSockets::default(),
            predecessor: None,
            build: BuildInfo { version: "1.2.3", commit: "unknown" },
        };
        let logs = Logs::start(Arc::clone(&metrics));
        let opened = Opened::open(options, metrics, logs, None).await;
        let Opened { running, certificates, .. } = opened.unwrap_or_else(|error| panic!("{error}"));
        Self { authority, pair, running, certificates }
    }

    fn path(&self) -> PathBuf {
        self.authority.folder().join("config.yml")
    }

    /// Changes the configuration: the folder of the keys, and more sections.
    fn configure(&self, keys: &str, more: &str) {
        write(self.authority.folder(), &self.pair, keys, more);
    }

    /// Reads the configuration again.
    async fn reload(&self) {
        reload(Arc::clone(&self.running), read_file(self.path())).await;
    }

    /// How many reloads succeeded, and how many failed.
    fn reloads(&self) -> (u64, u64) {
        let count = |result| {
            self.running.service.metrics.reloads.results.with_label_values(&[result]).get()
        };
        (count("success"), count("error"))
    }

    fn now(&self) -> Replaceable {
        Replaceable {
            generation: self.running.service.generation.load_full(),
            tls: self.running.endpoint.tls.load_full(),
            address: self.running.listening.addresses().unwrap()[0],
        }
    }

    /// Asserts that a reload fails and that the server goes on with what it had.
    async fn assert_refused(&self, what: &str) {
        let (before, (_, errors)) = (self.now(), self.reloads());
        self.reload().await;
        let after = self.now();
        assert!(Arc::ptr_eq(&before.generation, &after.generation), "{what}");
        assert!(Arc::ptr_eq(&before.tls, &after.tls), "{what}");
        assert_eq!(before.address, after.address, "{what}");
        assert_eq!(self.reloads(), (0, errors + 1), "{what}");
    }
}

impl Replaceable {
    /// Whether the policy of a name exists.
    fn has_policy(&self, name: &str) -> bool {
        self.generation.policies.policy(name).is_some()
    }
}

/// Writes the configuration of keys in a folder, with more sections.
fn write(folder: &Path, pair: &Pair, keys: &str, more: &str) {
    let address = if more.contains("address:") { "" } else { "address: 127.0.0.1:0\n" };
    let text = format!(
        "{address}\
         admin: {{identity: {}}}\n\
         tls: {{key: '{}', cert: '{}'}}\n\
         keystore: {{fs: {{path: '{}'}}}}\n\
         {more}",
        admin(),
        pair.key.display(),
        pair.certificate.display(),
        folder.join(keys).display(),
    );
    fs::write(folder.join("config.yml"), text).unwrap();
}

fn admin() -> Identity {
    Identity::of_public_key(b"admin")
}

const POLICY: &str = "policy: {new: {allow: [/v1/status], identities: []}}\n";

async fn create(generation: &Generation, key: &str) {
    let path = format!("/v1/key/create/{key}");
    let permit = generation.policies.permit(Some(&admin()), Operation::CreateKey, &path).unwrap();
    let begin = || |_: &Result<(), kes_keys::Error>| None;
    generation.keys.create(&permit, KeyName::parse(key).unwrap(), begin).await.unwrap();
}

#[tokio::test]
async fn a_changed_configuration_is_applied_and_keys_in_the_same_place_stay() {
    let world = World::start().await;
    let before = world.now();
    create(&before.generation, "k").await;
    assert!(!before.has_policy("new"));
    world.configure("keys", POLICY);
    world.reload().await;
    let after = world.now();
    assert!(after.has_policy("new") && !before.has_policy("new"));
    assert!(!Arc::ptr_eq(&before.tls, &after.tls));
    assert_eq!(before.address, after.address);
    assert!(Arc::ptr_eq(&before.generation.keys, &after.generation.keys));
    assert_eq!(after.generation.keys.cached(), 1);
    assert_eq!(world.reloads(), (1, 0));
}

#[tokio::test]
async fn other_times_of_expiry_apply_to_the_keys_that_stay() {
    let world = World::start().await;
    let keys = Arc::clone(&world.now().generation.keys);
    create(&world.now().generation, "k").await;
    world.configure("keys", "cache: {expiry: {any: 20ms, unused: 20ms}}\n");
    world.reload().await;
    let is_gone = async || keys.cached() == 0;
    wait::eventually_async(Duration::from_secs(20), "the key is gone from memory", is_gone).await;
}

#[tokio::test]
async fn keys_in_another_place_are_other_keys() {
    let world = World::start().await;
    let before = world.now();
    create(&before.generation, "k").await;
    fs::create_dir(world.authority.folder().join("others")).unwrap();
    world.configure("others", "");
    world.reload().await;
    let after = world.now();
    assert!(!Arc::ptr_eq(&before.generation.keys, &after.generation.keys));
    assert_eq!((before.generation.keys.cached(), after.generation.keys.cached()), (1, 0));
    assert!(after.generation.keys.description().ends_with("/others"));
}

#[tokio::test]
async fn the_keys_of_the_new_configuration_are_created() {
    let world = World::start().await;
    world.configure("keys", "keys: [{name: first}, {name: second}]\n");
    world.reload().await;
    let keys = world.authority.folder().join("keys");
    let exist = async || ["first", "second"].iter().all(|name| keys.join(name).exists());
    wait::eventually_async(Duration::from_secs(20), "the keys are created", exist).await;
}

#[tokio::test]
async fn with_anything_wrong_nothing_changes() {
    let world = World::start().await;
    let folder = world.authority.folder();
    let broken = |text: &str| fs::write(world.path(), text).unwrap();

    fs::remove_file(world.path()).unwrap();
    world.assert_refused("no file").await;
    broken("admin: [");
    world.assert_refused("no YAML").await;
    world.configure("keys", &format!("{POLICY}cache: {{expiry: {{any: soon}}}}\n"));
    world.assert_refused("a wrong value").await;

    // Each with another address, so that a half of a reload would show.
    let more = format!("address: localhost:0\n{POLICY}");
    fs::write(folder.join("file"), "").unwrap();
    world.configure("file", &more);
    world.assert_refused("a key store that cannot be opened").await;

    let (other, key) = (world.authority.server("other"), fs::read(&world.pair.key).unwrap());
    world.configure("keys", &more);
    fs::copy(&other.key, &world.pair.key).unwrap();
    world.assert_refused("a private key that is not the certificate's").await;
    fs::write(&world.pair.key, key).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("address: {}\n{POLICY}", taken.local_addr().unwrap());
    world.configure("others", &address);
    world.assert_refused("an address that is taken").await;
    drop(taken);

    let old = world.now();
    world.configure("keys", &more);
    world.reload().await;
    let new = world.now();
    assert!(new.has_policy("new"));
    assert_ne!(old.address, new.address);
    assert_eq!(world.reloads(), (1, 6));
}

#[tokio::test]
async fn the_logs_follow_the_configuration() {
    let world = World::start().await;
    let logs = Arc::clone(&world.running.service.logs);
    let is_audited = || logs.wants_audit(Operation::CreateKey, 200, false);
    assert!(is_audited());
    world.configure("keys", "log: {audit: off}\n");
    world.reload().await;
    assert!(!is_audited());
    world.configure("keys", "log: {audit: nonsense}\n");
    world.reload().await;
    assert!(!is_audited());
}

#[tokio::test]
async fn requests_to_reload_while_one_runs_are_one_more_reload() {
    let world = World::start().await;
    let mut reloads = Reloads::new(Arc::clone(&world.running), Some(world.path()));
    let held = world.running.replacing.lock().await;
    for _ in 0..4 {
        reloads.request();
        tokio::task::yield_now().await;
    }
    world.configure("keys", POLICY);
    drop(held);
    reloads.finished().await;
    assert_eq!(world.reloads(), (1, 0));
    reloads.finished().await;
    assert_eq!(world.reloads(), (2, 0));
    assert!(reloads.task.is_none() && !reloads.is_requested);
    // With none running, the next request starts one at once.
    reloads.request();
    reloads.finished().await;
    assert_eq!(world.reloads(), (3, 0));
    assert!(world.now().has_policy("new"));
}

#[tokio::test]
async fn a_reload_that_hangs_ends_with_the_server() {
    let world = World::start().await;
    let held = world.running.replacing.lock().await;
    let mut reloads = Reloads::new(Arc::clone(&world.running), Some(world.path()));
    reloads.request();
    tokio::task::yield_now().await;
    let task = reloads.task.as_ref().unwrap().abort_handle();
    drop(reloads);
    while !task.is_finished() {
        tokio::task::yield_now().await;
    }
    drop(held);
    assert_eq!(world.reloads(), (0, 0));
}

#[tokio::test]
async fn a_read_that_hangs_fails_and_the_next_reload_reads_anew() {
    let world = World::start().await;
    let before = world.now();
    let (late, is_read) = tokio::sync::oneshot::channel();
    let old = Setup::of_file(world.path()).await.unwrap();
    let hanging = |reading: Reading| async move {
        reading.at("'kes.yml'");
        is_read.await.unwrap_or_else(|_| panic!("the test ends it"))
    };
    // The time of the runtime passes when nothing else is to do.
    tokio::time::pause();
    reload(Arc::clone(&world.running), hanging).await;
    tokio::time::resume();
    assert_eq!(world.reloads(), (0, 1));
    assert!(Arc::ptr_eq(&before.generation, &world.now().generation));
    world.configure("keys", POLICY);
    let mut reloads = Reloads::new(Arc::clone(&world.running), Some(world.path()));
    reloads.request();
    reloads.finished().await;
    assert_eq!(world.reloads(), (1, 1));
    let after = world.now();
    assert!(after.has_policy("new"));
    // What is read late is not applied.
    assert!(late.send(Ok(old)).is_ok());
    while world.running.reads.are_under_way() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(Arc::ptr_eq(&after.generation, &world.now().generation));
    assert_eq!(world.reloads(), (1, 1));
}

#[tokio::test]
async fn a_dev_server_reads_nothing_again() {
    let world = World::start().await;
    let mut reloads = Reloads::new(Arc::clone(&world.running), None);
    reloads.request();
    assert!(reloads.task.is_none());
    assert_eq!(world.reloads(), (0, 0));
}

#[tokio::test]
async fn a_reload_that_panics_leaves_the_next_one_to_run() {
    let world = World::start().await;
    let mut reloads = Reloads::new(Arc::clone(&world.running), Some(world.path()));
    reloads.task = Some(tokio::spawn(async { panic!("as the test wants") }));
    reloads.request();
    reloads.finished().await;
    assert_eq!(world.reloads(), (0, 1));
    reloads.finished().await;
    assert_eq!(world.reloads(), (1, 1));
}

/// The time of the runtime passes when nothing else is to do.
#[tokio::test(start_paused = true)]
async fn changed_certificate_files_are_applied_and_broken_ones_are_not() {
    let world = World::start().await;
    let seen = world.certificates.clone();
    let following = tokio::spawn(follow_certificates(Arc::clone(&world.running), seen));
    let after = async |reloads: (u64, u64)| {
        while world.reloads() != reloads {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.now()
    };
    let first = world.now();
    let other = world.authority.server("other");
    fs::copy(&other.key, &world.pair.key).unwrap();
    let second = after((0, 1)).await;
    assert!(Arc::ptr_eq(&first.tls, &second.tls));
    fs::copy(&other.certificate, &world.pair.certificate).unwrap();
    let third = after((1, 1)).await;
    assert!(!Arc::ptr_eq(&first.tls, &third.tls));
    assert!(Arc::ptr_eq(&first.generation, &third.generation));
    following.abort();
}

#[tokio::test]
async fn the_end_of_the_certificate_is_a_metric() {
    let world = World::start().await;
    let metrics = &world.running.service.metrics;
    let end = world.now().tls.certificates[0].validity.until;
    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let told = || metrics.certificate_end.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(told(), i64::try_from(end).unwrap());
    metrics.certificate_end.store(0, std::sync::atomic::Ordering::Relaxed);
    world.reload().await;
    assert_eq!(told(), i64::try_from(end).unwrap());
}

#[test]
fn another_key_store_is_told_with_what_differs() {
    let told = |to, differences: &[&str]| another_store("vault: a", to, differences);
    let dropped = "; the keys in memory are dropped";
    for (to, differences, with) in [
        ("vault: b", &[][..], ""),
        ("vault: a", &["other endpoints"], ", with other endpoints"),
        (
            "vault: a",
            &["another engine", "another prefix"],
            ", with another engine and another prefix",
        ),
    ] {
        let expected = format!("key store changed from vault: a to {to}{with}{dropped}");
        assert_eq!(told(to, differences), expected);
    }
}
