use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use kes_api::KeyName;
use kes_keystore::Error;

/// How many names are told that one store alone has.
const MOST_NAMED: usize = 10;

/// What became of a key, or, if nothing is to be written, what would become of it. The reasons hold
/// no byte of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was copied.
    Migrated,
    /// It was copied in place of another value.
    Replaced,
    /// The target had it, with the same value.
    AlreadyThere,
    /// It is no key. The reason is a sentence without its subject.
    Skipped(String),
    /// The target has another value under the name, which stays.
    Kept(String),
    /// It was not copied.
    Failed(String),
}

/// How many keys have had which outcome so far. It can be read while the migration runs.
#[derive(Debug, Default)]
pub struct Tally {
    total: AtomicUsize,
    counts: [AtomicUsize; 6],
}

impl Outcome {
    const fn index(&self) -> usize {
        match self {
            Self::Migrated => 0,
            Self::Replaced => 1,
            Self::AlreadyThere => 2,
            Self::Skipped(_) => 3,
            Self::Kept(_) => 4,
            Self::Failed(_) => 5,
        }
    }
}

impl Tally {
    /// The keys that were found before the first is copied; 0 until they are counted.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Keys that were copied, also in place of another value.
    pub fn migrated(&self) -> usize {
        self.at(0) + self.at(1)
    }

    /// Keys that were copied in place of another value.
    pub fn replaced(&self) -> usize {
        self.at(1)
    }

    /// Keys that the target had, with the same value.
    pub fn already_there(&self) -> usize {
        self.at(2)
    }

    /// Entries that are no keys.
    pub fn skipped(&self) -> usize {
        self.at(3)
    }

    /// Keys for which the target has another value, which stays.
    pub fn kept(&self) -> usize {
        self.at(4)
    }

    /// Keys that were not copied.
    pub fn failed(&self) -> usize {
        self.at(5)
    }

    /// All of these.
    pub fn done(&self) -> usize {
        (0..self.counts.len()).map(|index| self.at(index)).sum()
    }

    pub(crate) fn set_total(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, outcome: &Outcome, keys: usize) {
        if let Some(count) = self.counts.get(outcome.index()) {
            count.fetch_add(keys, Ordering::Relaxed);
        }
    }

    fn at(&self, index: usize) -> usize {
        self.counts.get(index).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that keys are read from.
    Source,
    /// The one that keys are copied to.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a migration ended before its last key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The names of a store cannot be listed.
    #[error("cannot list the keys of the {side}: {error}")]
    List {
        /// The store.
        side: Side,
        /// Why.
        error: Error,
    },

    /// The store cannot be used.
    #[error("cannot use the {side}: {error}")]
    Use {
        /// The store.
        side: Side,
        /// Why.
        error: Error,
    },

    /// The target cannot hold names of the source.
    #[error("the target cannot hold {0} of the names; nothing was written")]
    Names(usize),
}

/// How a migration ended.
#[derive(Clone, Debug)]
pub enum End {
    /// All keys were tried.
    Complete,
    /// It was told to stop. The keys that were at work then are completed.
    Stopped,
    /// It could not go on. The keys that were at work then have failed or are completed.
    Broken(Trouble),
}

/// The result of a migration. How many keys have had which outcome is in the [`Tally`].
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// What the listings after the last write do not agree with.
    pub disagreement: Option<String>,
    /// What the target alone has, of a run beside servers.
    pub only_in_target: Option<Alone>,
    /// Entries that are no keys, and whose names were not told, because there are too many.
    pub unnamed: usize,
}

impl Report {
    /// A warning about what the target alone has.
    pub fn warning(&self) -> Option<String> {
        let alone = self.only_in_target.as_ref()?;
        Some(format!(
            "{} are in the target alone: created there alone (`write: new`), deleted from the source \
             alone, or copied by a run that was killed while they were deleted",
            alone.told()
        ))
    }
}

/// The names that one store alone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub names: Vec<KeyName>,
}

impl Alone {
    pub(crate) fn add(&mut self, name: KeyName, is_alone: bool) {
        if is_alone {
            self.count += 1;
            if self.names.len() < MOST_NAMED {
                self.names.push(name);
            }
        }
    }

    /// `2 keys (a, b)`
    pub(crate) fn told(&self) -> String {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        let more = if self.count > names.len() { ", ..." } else { "" };
        let keys = if self.count == 1 { "key" } else { "keys" };
        format!("{} {keys} ({}{more})", self.count, names.join(", "))
    }
}
