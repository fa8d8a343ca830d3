//! A backend for this test alone, written by the recipe in `CONTRIBUTING.md`: all keys in one JSON
//! file. It passes the battery by itself and within a wrapper, and shows how little a backend is.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use kes_keystore::battery::{self, MissingDelete};
use kes_keystore::wrap::Deadline;
use kes_keystore::{Error, KeyStore, Kind, Limit, Page, State, Value};
use tokio::sync::Mutex;

struct OneFile {
    path: PathBuf,
    /// One call at a time reads or replaces the file.
    turn: Mutex<()>,
}

type Keys = BTreeMap<String, String>;

impl OneFile {
    fn open(path: PathBuf) -> Self {
        Self { path, turn: Mutex::default() }
    }

    fn load(&self) -> io::Result<Keys> {
        match std::fs::read(&self.path) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Keys::new()),
            Err(error) => Err(error),
        }
    }

    fn save(&self, keys: &Keys) -> io::Result<()> {
        std::fs::write(&self.path, serde_json::to_vec(keys)?)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn failed(error: io::Error) -> Error {
    Error::Unavailable { reason: error.to_string() }
}

impl KeyStore for OneFile {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let mut keys = self.load().map_err(failed)?;
        if keys.contains_key(name.as_str()) {
            return Err(Error::Exists { name: *name });
        }
        keys.insert(name.to_string(), value.expose().to_owned());
        self.save(&keys).map_err(failed)
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let _turn = self.turn.lock().await;
        let text = self.load().map_err(failed)?.remove(name.as_str());
        text.map(Value::new).ok_or(Error::NotFound { name: *name })
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let mut keys = self.load().map_err(failed)?;
        keys.remove(name.as_str()).ok_or(Error::NotFound { name: *name })?;
        self.save(&keys).map_err(failed)
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let _turn = self.turn.lock().await;
        let keys = self.load().map_err(failed)?;
        let names = keys.keys().filter(|name| pattern.matches(name));
        Ok(Page::first(names.filter_map(|name| KeyName::parse(name).ok()), limit))
    }

    fn state(&self) -> State {
        State::Reachable { latency: Duration::ZERO }
    }

    fn kind(&self) -> Kind {
        Kind::new(&"one-file")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_five_calls_and_passes_the_battery() {
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicU32::new(0);
    let open = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        OneFile::open(folder.path().join(number.to_string()))
    };
    assert_eq!(open().description(), "one-file");
    battery::run(MissingDelete::Fails, async || open()).await;
    let limit = Duration::from_secs(10);
    battery::run(MissingDelete::Fails, async || Deadline::new(open(), limit, "it is late")).await;
}
