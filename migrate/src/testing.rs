//! A store with faults.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kes_api::{KeyName, ListPattern};
use kes_keystore::memory::MemoryStore;
use kes_keystore::{
    Error, ForeignNames, Inventory, KeyStore, Kind, Limit, NameRules, Page, State, Value,
};

use crate::{Existing, Migration, Options, Outcome, Pattern, Report, Tally};

/// What happens in place of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The store answers with an error, and does nothing.
    Refused,
    /// It cannot be reached, and does nothing.
    Away,
    /// It does what it is asked for, and the answer is lost.
    Unanswered,
    /// It stores another value.
    Bent,
    /// The name is blocked.
    Locked,
}

/// A call that a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Read,
    Delete,
    List,
}

/// A store in memory whose next calls of a kind meet faults.
pub(crate) struct Faulty {
    store: MemoryStore,
    faults: Mutex<VecDeque<(Call, Fault)>>,
    /// What it says of itself.
    pub(crate) state: State,
    pub(crate) rules: NameRules,
    pub(crate) foreign: Vec<&'static str>,
    /// The creates and deletes that were asked for.
    pub(crate) changes: AtomicUsize,
}

impl Faulty {
    /// A store with some keys.
    pub(crate) async fn with(keys: &[(&str, &str)]) -> Self {
        let store = Self {
            store: MemoryStore::new(),
            faults: Mutex::default(),
            state: State::Unreachable,
            rules: NameRules::ANY,
            foreign: Vec::new(),
            changes: AtomicUsize::new(0),
        };
        for (name, text) in keys {
            store.store.create(&name_of(name), &value(text)).await.unwrap();
        }
        store
    }

    pub(crate) fn meets(self, faults: &[(Call, Fault)]) -> Self {
        self.faults.lock().unwrap().extend(faults);
        self
    }

    /// All names with their values.
    pub(crate) async fn all(&self) -> Vec<(String, String)> {
        let page = self.store.list(&ListPattern::ALL, Limit::names(100_000)).await.unwrap();
        let mut all = Vec::new();
        for name in page.names.iter() {
            let value = self.store.read(&name_of(name)).await.ok().unwrap();
            all.push((name.to_owned(), value.expose().to_owned()));
        }
        all
    }

    /// The fault that a call meets.
    fn fault(&self, call: Call) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(of, _)| *of == call)?;
        faults.remove(at).map(|(_, fault)| fault)
    }
}

fn refused() -> Error {
    Error::Unavailable { reason: "refused".to_owned() }
}

fn away() -> Error {
    Error::Unreachable { reason: "away".to_owned() }
}

impl KeyStore for Faulty {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        match self.fault(Call::Create) {
            None => self.store.create(name, value).await,
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::Away) => Err(away()),
            Some(Fault::Unanswered) => {
                self.store.create(name, value).await?;
                Err(away())
            }
            Some(Fault::Bent) => self.store.create(name, &self::value("bent")).await,
            Some(Fault::Locked) => {
                Err(Error::Locked { store: self.kind(), reason: "blocked".to_owned() })
            }
        }
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        match self.fault(Call::Read) {
            None | Some(Fault::Bent | Fault::Locked) => self.store.read(name).await,
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::Away | Fault::Unanswered) => Err(away()),
        }
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        match self.fault(Call::Delete) {
            None | Some(Fault::Bent | Fault::Locked) => self.store.delete(name).await,
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::Away) => Err(away()),
            Some(Fault::Unanswered) => {
                self.store.delete(name).await?;
                Err(away())
            }
        }
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        match self.fault(Call::List) {
            None | Some(Fault::Bent | Fault::Locked) => self.store.list(pattern, limit).await,
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::Away | Fault::Unanswered) => Err(away()),
        }
    }

    fn state(&self) -> State {
        self.state
    }

    fn kind(&self) -> Kind {
        Kind::new(&"faulty")
    }
}

impl Inventory for Faulty {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        Ok(names.with(&self.foreign))
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(self.rules)
    }
}

pub(crate) fn name_of(name: &str) -> KeyName {
    KeyName::parse(name).unwrap()
}

/// A stored key, which differs for each text; `bad` is none.
pub(crate) fn value(text: &str) -> Value {
    Value::new(stored(text))
}

/// The text of a stored key in its old form, which may have any blanks.
pub(crate) fn stored(text: &str) -> String {
    if text == "bad" {
        return text.to_owned();
    }
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    format!("{{\"bytes\":\"{key}\",\"algorithm\":\"AES256\",\"created_by\":\"{text}\"}}")
}

pub(crate) fn options(existing: Existing) -> Options {
    Options { pattern: Pattern::all(), existing, dry_run: false, strict: false, rate: None }
}

/// What a run has told, and its result.
pub(crate) struct Ran {
    pub(crate) told: Vec<(String, Outcome)>,
    pub(crate) report: Report,
    pub(crate) tally: Tally,
}

/// Runs a migration.
pub(crate) async fn run<S: Inventory, T: Inventory>(
    source: &S,
    target: &T,
    options: &Options,
) -> Ran {
    run_until(source, target, options, usize::MAX).await
}

/// As [`run`]; it is told to stop when so many keys are done.
pub(crate) async fn run_until<S: Inventory, T: Inventory>(
    source: &S,
    target: &T,
    options: &Options,
    stop: usize,
) -> Ran {
    let (tally, told) = (Tally::default(), RefCell::new(Vec::new()));
    let mut sink = |name: &str, outcome: &Outcome| {
        told.borrow_mut().push((name.to_owned(), outcome.clone()));
    };
    let stop = || tally.done() >= stop;
    let migration = Migration { source, target, options, tally: &tally };
    let report = migration.run(&stop, &mut sink).await;
    Ran { told: told.into_inner(), report, tally }
}
