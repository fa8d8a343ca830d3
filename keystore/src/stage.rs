//! What a server with two key stores does with each of them (configuration: `migration`).

use std::fmt;
use std::time::{Duration, SystemTime};

use kes_api::KeyName;

/// One of two key stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `keystore`
    Old,
    /// `migration.to`
    New,
}

/// Where new keys are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// In the old store alone.
    Old,
    /// In both.
    Both,
    /// In the new store alone.
    New,
}

/// A stage of the way from one key store to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which store is asked first for a key; the other one is asked where that has none, or fails.
    pub read: Side,
    /// Where new keys are stored. A key is always deleted from both.
    pub write: Writes,
    /// Whether both are asked for every key, and must not have different values.
    pub compare: bool,
}

/// How many keys stand where, as two listings have told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Names that the old store alone has.
    pub only_old: usize,
    /// Names that the new store alone has.
    pub only_new: usize,
    /// Names that both have, with whatever values.
    pub both: usize,
    /// The first names of those that the old store alone has, [`Count::MOST_NAMED`] at most.
    pub named_old: Vec<KeyName>,
    /// The same of the new store.
    pub named_new: Vec<KeyName>,
    /// When the listings were complete.
    pub at: SystemTime,
    /// How long they took.
    pub took: Duration,
}

impl Count {
    /// How many names are kept: enough to begin with.
    pub const MOST_NAMED: usize = 10;
}

impl Side {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::Old, Self::New];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl Writes {
    /// All, the default first.
    pub const ALL: [Self; 3] = [Self::Old, Self::Both, Self::New];

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::Both => "both",
            Self::New => "new",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compare = if self.compare { ", compare on" } else { "" };
        write!(f, "read {}, write {}{compare}", self.read.word(), self.write.word())
    }
}
