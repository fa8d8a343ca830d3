use std::fs;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use kes_api::KeyName;
use kes_config::{Level, LogFormat, ProcessEnvironment};
use kes_keystore::wrap::Change;
use kes_keystore::{KeyStore as _, Limit, State};
use kes_testkit::SelfSigned;
use tempfile::TempDir;

use super::*;
use crate::lifecycle::pending::create_until_done;
use crate::service::ApiService;

/// A configuration of keys in a folder, with more sections.
fn text(keys: &Path, more: &str) -> String {
    format!(
        "admin: {{identity: {}}}\n\
         tls: {{key: server.key, cert: server.crt}}\n\
         keystore: {{fs: {{path: '{}'}}}}\n\
         {more}",
        admin(),
        keys.display()
    )
}

fn admin() -> Identity {
    Identity::of_public_key(b"admin")
}

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn setup(keys: &Path, more: &str) -> Setup {
    Setup::of_config(kes_config::parse(&text(keys, more), &ProcessEnvironment).unwrap().config)
}

async fn open(keys: &Path, old: Option<&Generation>) -> Result<Prepared, SetupError> {
    setup(keys, "").open(&Arc::new(Metrics::new()), old, Vec::new()).await
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The permits to create keys of a configuration.
fn permits<const N: usize>(names: [&str; N]) -> Vec<StartupPermit> {
    Policies::of_admin(admin()).with_startup_keys(names.map(name)).1
}

#[tokio::test]
async fn what_the_configuration_says_is_what_the_server_runs_with() {
    let seconds = Duration::from_secs;
    let setup = setup(
        Path::new("keys"),
        "address: 127.0.0.1:1234\n\
         cache: {expiry: {any: 7m, unused: 7s, offline: 7h}}\n\
         log: {error: warn, audit: debug, format: json, audit_required: true}\n\
         keys: [{name: first}, {name: second}]\n\
         policy: {p: {allow: [/v1/status], identities: []}}\n\
         api: {/v1/status: {timeout: 3s}, /v1/log/audit: {timeout: 3s}}\n",
    );
    assert_eq!(setup.address.to_string(), "127.0.0.1:1234");
    let expiry = Expiry { any: seconds(420), unused: seconds(7), offline: seconds(7 * 3600) };
    assert_eq!(setup.expiry, expiry);
    let logging::Settings { error, audit, format, audit_required, has_file } = setup.log;
    assert_eq!((error, audit, format), (Level::WARN, Level::DEBUG, LogFormat::Json));
    assert!(audit_required && !has_file);
    assert_eq!(setup.keys, permits(["first", "second"]));
    assert!(setup.policies.policy("p").is_some() && setup.policies.is_admin(&admin()));
    for route in kes_api::route::ROUTES {
        let timeout = match route.operation {
            Operation::Status => Some(seconds(3)),
            // A stream has no end.
            Operation::AuditLog | Operation::ErrorLog => None,
            _ => route.timeout,
        };
        assert_eq!(setup.apis[route.operation.index()].timeout, timeout, "{}", route.path);
    }
    assert!(matches!(setup.tls.identity, tls::ServerIdentity::Files { .. }));
    assert_eq!((setup.tls.auth, setup.tls.optional), (ClientAuth::Any, false));
}

#[tokio::test]
async fn a_certificate_is_optional_where_an_api_needs_none() {
    let setup = setup(Path::new("keys"), "api: {/v1/metrics: {skip_auth: true}}\n");
    assert!(setup.tls.optional);
    assert!(setup.policies.permit(None, Operation::Metrics, "/v1/metrics").is_ok());
    assert!(setup.policies.permit(None, Operation::Status, "/v1/status").is_err());
}

#[tokio::test]
async fn a_dev_server_has_an_admin_and_keys_in_memory() {
    let made = SelfSigned::new(&["localhost"]);
    let key = kes_tls::parse_private_key(made.key_pem.as_bytes(), None).unwrap();
    let certificate = kes_tls::match_key(&[made.certificate.into()], &key).unwrap();
    let setup = Setup::dev(admin(), certificate);
    assert!(setup.policies.is_admin(&admin()) && !setup.tls.optional);
    assert_eq!(setup.apis.map(|api| api.timeout), kes_api::route::ROUTES.map(|api| api.timeout));
    setup.tls.load().unwrap();
    let prepared = setup.open(&Arc::new(Metrics::new()), None, Vec::new()).await.unwrap();
    assert_eq!(prepared.generation.author(), admin().to_string());
    assert!(prepared.pending.missing.is_empty() && prepared.reopened.is_none());
    assert!(matches!(prepared.generation.keys.state(), State::Reachable { .. }));
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_told_with_its_path() {
    let folder = folder();
    let path = folder.path().join("config.yml");
    let told = async || match Setup::of_file(path.clone()).await {
        Err(SetupError::Config(errors)) => errors.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was read"),
    };
    assert!(told().await.contains(path.to_str().unwrap()));
    fs::write(&path, "admin: 1").unwrap();
    let text = told().await;
    assert!(text.contains(path.to_str().unwrap()) && text.contains("keystore"), "{text}");
    fs::write(&path, self::text(folder.path(), "")).unwrap();
    assert!(Setup::of_file(path.clone()).await.is_ok());
}

#[tokio::test]
async fn a_key_store_that_cannot_be_opened_is_an_error() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(SetupError::Store(error)) = open(&file, None).await else { panic!("it was opened") };
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn keys_in_the_same_place_are_kept_with_their_cache_and_others_are_new() {
    let (here, there) = (folder(), folder());
    let first = open(here.path(), None).await.unwrap();
    assert!(first.reopened.is_none());
    let old = first.generation;

    let same = open(here.path(), Some(&old)).await.unwrap();
    assert!(Arc::ptr_eq(&same.generation.keys, &old.keys));
    assert_eq!(same.generation.location, old.location);
    let Reopened { store, expiry, .. } = same.reopened.unwrap();
    let all = store.list(&kes_api::ListPattern::ALL, Limit::names(1)).await.unwrap();
    assert_eq!(all.names.iter().count(), 0);
    assert_eq!(expiry, super::expiry(kes_config::Cache::default()));

    let other = open(there.path(), Some(&old)).await.unwrap();
    assert!(!Arc::ptr_eq(&other.generation.keys, &old.keys));
    assert_ne!(other.generation.location, old.location);
    assert!(other.reopened.is_none());

    // The order of changes goes on all the same.
    let k = KeyName::parse("k").unwrap();
    let turn = old.keys.order().try_turn(&k, Change::Delete);
    assert!(other.generation.keys.order().try_turn(&k, Change::Create).is_none());
    drop(turn);
    assert!(other.generation.keys.order().try_turn(&k, Change::Create).is_some());

    // What was opened before is known, also after a generation with another key store.
    fs::rename(here.path(), here.path().with_extension("away")).unwrap();
    let Err(SetupError::Store(error)) = open(here.path(), Some(&other.generation)).await else {
        panic!("an empty folder was opened")
    };
    assert!(error.to_string().contains("it held keys before"), "{error}");
    assert!(!here.path().exists());
    fs::rename(here.path().with_extension("away"), here.path()).unwrap();
    assert!(open(here.path(), Some(&other.generation)).await.is_ok());
}

/// What the keys of the configuration are created in.
async fn generation(keys: &Path) -> Arc<Generation> {
    Arc::new(open(keys, None).await.unwrap().generation)
}

fn stored(keys: &Path) -> Vec<String> {
    let names = fs::read_dir(keys).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// A service that records what is created.
fn service() -> (Arc<ApiService>, Weak<ApiService>) {
    let service = Arc::new(ApiService::in_memory(Policies::of_admin(admin())));
    let weak = Arc::downgrade(&service);
    (service, weak)
}

#[tokio::test]
async fn a_key_of_the_configuration_is_created_once() {
    let folder = folder();
    let generation = generation(folder.path()).await;
    let [permit] = &permits(["k"])[..] else { panic!("one permit") };
    let (_kept, service) = service();
    create_until_done(&service, &Arc::downgrade(&generation), permit).await;
    assert_eq!(stored(folder.path()), ["k"]);
    let before = fs::read(folder.path().join("k")).unwrap();
    create_until_done(&service, &Arc::downgrade(&generation), permit).await;
    assert_eq!(fs::read(folder.path().join("k")).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_configuration_is_created_when_the_key_store_is_back() {
    let above = folder();
    let keys = above.path().join("keys");
    let generation = generation(&keys).await;
    fs::rename(&keys, above.path().join("away")).unwrap();
    let weak = Arc::downgrade(&generation);
    let start = tokio::time::Instant::now();
    let (_kept, service) = service();
    let creating = tokio::spawn(async move {
        create_until_done(&service, &weak, &permits(["k"])[0]).await;
    });
    while start.elapsed() < 10 * PendingKeys::RETRY_INTERVAL {
        assert!(!creating.is_finished(), "it gave up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    fs::rename(above.path().join("away"), &keys).unwrap();
    creating.await.unwrap();
    assert_eq!(stored(&keys), ["k"]);
}

#[tokio::test(start_paused = true)]
async fn another_configuration_ends_the_attempts_of_the_one_before() {
    let above = folder();
    let keys = above.path().join("keys");
    let generation = generation(&keys).await;
    fs::remove_dir_all(&keys).unwrap();
    let weak = Arc::downgrade(&generation);
    let (_kept, service) = service();
    let creating = tokio::spawn(async move {
        create_until_done(&service, &weak, &permits(["k"])[0]).await;
    });
    tokio::time::sleep(3 * PendingKeys::RETRY_INTERVAL).await;
    assert!(!creating.is_finished());
    drop(generation);
    creating.await.unwrap();
    assert!(!keys.exists());
}

#[tokio::test]
async fn without_a_generation_nothing_is_created() {
    let service = ApiService::in_memory(Policies::of_admin(admin()));
    let weak = Arc::downgrade(&service.generation.load_full());
    drop(service);
    create_until_done(&self::service().1, &weak, &permits(["k"])[0]).await;
}
