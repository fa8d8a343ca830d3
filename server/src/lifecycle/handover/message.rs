use kes_api::KeyName;
use kes_keystore::wrap::{ChangeKind, Underway};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The version of all that goes between the two processes. They understand the same one alone.
pub(super) const PROTOCOL: u32 = 2;

/// How many changes go in one message: less than 64 KiB, whatever their names are.
pub(super) const MOST_CHANGES: usize = 256;

/// The first message of either side. Fields are only ever added: a process of any version has to
/// understand it, to say that it does not understand the rest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// The version of the program.
    pub(super) version: String,
    /// For the keys: of the process that takes over. The other one tells its own when it sends them.
    #[serde(default)]
    pub(super) public_key: Vec<u8>,
}

/// What the process says that hands over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromOld {
    /// The sockets themselves come after it, those of the API first.
    Sockets {
        /// How many of them are of the API.
        api: usize,
        /// The address that they were bound for.
        address: String,
        /// Whether the service manager had opened them.
        passed: bool,
        /// The address that the last one was bound for, that of the operations listener.
        operations: Option<String>,
        /// How many locks of key folders come after them, as open files.
        locks: usize,
    },
    /// Some changes that have begun.
    Changes(Vec<Change>),
    /// Sealed messages follow.
    Keys {
        public_key: Vec<u8>,
        /// The time of CLOCK_MONOTONIC at which the keys had their ages, in nanoseconds.
        at: u64,
        /// How long the key store had been unreachable then, in nanoseconds.
        unreachable: Option<u64>,
    },
    /// It is the turn of the other process. So many changes and sealed messages were sent.
    TakeOver { changes: usize, sealed: usize },
    /// The service manager knows.
    Released,
    /// A change wants to begin.
    Turn(Change),
    /// A change that had begun is settled.
    Settled(u64),
    /// The key is forgotten.
    Forgotten(u64),
}

/// What the process says that takes over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromNew {
    /// It could serve.
    Ready {
        /// Where its keys are: a hash.
        place: String,
        /// Whether it listens at the sockets of the API, and at that of the operations listener.
        api: bool,
        operations: bool,
    },
    /// It cannot.
    Failed(String),
    /// It serves, with so many keys in memory.
    Serving { keys: usize },
    /// The change may begin.
    Granted(u64),
    /// It must not.
    Denied(u64, String),
    /// A change of a key is to begin, whose number this is.
    Forget(u64, String),
}

/// A change of a key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) number: u64,
    name: String,
    kind: Kind,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    OverwritingCreate,
    Create,
    Delete,
}

impl Change {
    pub(super) fn of(change: &Underway) -> Self {
        let kind = match change.kind {
            ChangeKind::OverwritingCreate => Kind::OverwritingCreate,
            ChangeKind::Create => Kind::Create,
            ChangeKind::Delete => Kind::Delete,
        };
        Self { number: change.number, name: change.name.as_str().to_owned(), kind }
    }

    /// `None` if its name is none.
    pub(super) fn parse(&self) -> Option<Underway> {
        let kind = match self.kind {
            Kind::OverwritingCreate => ChangeKind::OverwritingCreate,
            Kind::Create => ChangeKind::Create,
            Kind::Delete => ChangeKind::Delete,
        };
        Some(Underway { number: self.number, name: KeyName::parse(&self.name).ok()?, kind })
    }
}

/// Nanoseconds of the clock that ages are measured by: both processes have the same.
pub(super) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_of_any_version_is_understood() {
        let hello: Hello =
            serde_json::from_str(r#"{"protocol":9,"version":"v9","more":{"a":1}}"#).unwrap();
        assert_eq!((hello.protocol, &*hello.version), (9, "v9"));
        assert!(hello.public_key.is_empty());
    }

    #[test]
    fn changes_are_read_as_they_were_written_and_fit_into_a_frame() {
        let name = KeyName::parse(&"k".repeat(80)).unwrap();
        let kinds = [ChangeKind::OverwritingCreate, ChangeKind::Create, ChangeKind::Delete];
        for kind in kinds {
            let change = Underway { number: u64::MAX, name, kind };
            let read = Change::of(&change).parse().unwrap();
            assert_eq!((read.number, read.name, read.kind), (u64::MAX, name, kind));
        }
        let most = |_| Change::of(&Underway { number: u64::MAX, name, kind: kinds[0] });
        let text = serde_json::to_vec(&FromOld::Changes((0..MOST_CHANGES).map(most).collect()));
        assert!(text.unwrap().len() < 64 * 1024);
        let no_name = r#"{"number":1,"name":"a/b","kind":"Delete"}"#;
        assert!(serde_json::from_str::<Change>(no_name).unwrap().parse().is_none());
    }
}
