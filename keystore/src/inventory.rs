//! What a migration asks of a key store beside the calls of a server: the entries that are no keys,
//! and the names that the store can hold.

use std::sync::Arc;

use kes_api::KeyName;

use crate::wrap::{Check, ConcurrencyLimit, Deadline, Health};
use crate::{Error, KeyStore, StoreOperation};

/// How many names are kept: more than anybody reads. Further ones are counted.
const MAX_NAMES: usize = 10_000;

/// The characters that are kept of a name; the longest that a store can have are some 32 KiB.
const MAX_NAME: usize = 256;

/// A key store whose entries can be taken stock of.
pub trait Inventory: KeyStore {
    /// Adds the names of entries that are no names of keys.
    ///
    /// # Errors
    /// The store's own.
    fn foreign(
        &self,
        names: ForeignNames,
    ) -> impl Future<Output = Result<ForeignNames, Error>> + Send;

    /// Which names of keys the store can hold.
    ///
    /// # Errors
    /// The store's own.
    fn name_rules(&self) -> impl Future<Output = Result<NameRules, Error>> + Send;

    /// The file that holds a key; `None` if there is none, or if the store is no folder.
    ///
    /// # Errors
    /// The store's own.
    fn file(&self, name: &KeyName) -> impl Future<Output = Result<Option<KeyFile>, Error>> + Send {
        let _ = name;
        std::future::ready(Ok(None))
    }
}

/// The file that holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Device and inode; of a link those of the file that it leads to.
    pub place: (u64, u64),
    /// Whether the entry in the folder is a symbolic link to the file.
    pub is_link: bool,
}

/// Whether a name is asked for.
pub type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Names of entries that are no keys, as a listing adds them: names that no key can have, and those of
/// entries in a folder that are no files.
#[derive(Clone)]
pub struct ForeignNames {
    wanted: Wanted,
    names: Vec<String>,
    more: usize,
}

impl ForeignNames {
    /// None yet. Only names that are `wanted` are added.
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, names: Vec::new(), more: 0 }
    }

    /// Adds those of some names that are wanted.
    #[must_use]
    pub fn with(mut self, names: &[&str]) -> Self {
        for name in names.iter().filter(|name| self.wants(name)).copied().collect::<Vec<_>>() {
            self.add(name);
        }
        self
    }

    /// Whether a name is to be added.
    pub(crate) fn wants(&self, name: &str) -> bool {
        KeyName::parse(name).is_err() && (self.wanted)(name)
    }

    /// Whether the name of an entry that is no file is to be added: if a key could have it.
    pub(crate) fn wants_no_file(&self, name: &str) -> bool {
        KeyName::parse(name).is_ok() && (self.wanted)(name)
    }

    /// Adds a name that is wanted.
    pub(crate) fn add(&mut self, name: &str) {
        if self.names.len() >= MAX_NAMES {
            self.more += 1;
            return;
        }
        self.names.push(match name.char_indices().nth(MAX_NAME) {
            Some((end, _)) => format!("{}...", name.get(..end).unwrap_or_default()),
            None => name.to_owned(),
        });
    }

    /// The names in order, and the number of those that were not kept.
    pub fn into_sorted(mut self) -> (Vec<String>, usize) {
        self.names.sort_unstable();
        // The answer of a remote store may have broken off and come again.
        self.names.dedup();
        (self.names, self.more)
    }
}

/// Which names of keys a store can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRules {
    /// Whether two names are one that differ in the case of letters alone.
    pub ignores_case: bool,
    /// Characters of key names that no name may have.
    pub forbidden: &'static str,
}

impl NameRules {
    /// All of them.
    pub const ANY: Self = Self { ignores_case: false, forbidden: "" };
}

impl<S: Inventory> Inventory for Deadline<S> {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        self.within(self.inner().foreign(names)).await
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        self.within(self.inner().name_rules()).await
    }

    async fn file(&self, name: &KeyName) -> Result<Option<KeyFile>, Error> {
        self.within(self.inner().file(name)).await
    }
}

impl<S: Inventory> Inventory for ConcurrencyLimit<S> {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        self.within(StoreOperation::List, self.inner().foreign(names)).await
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        self.within(StoreOperation::Read, self.inner().name_rules()).await
    }

    async fn file(&self, name: &KeyName) -> Result<Option<KeyFile>, Error> {
        self.within(StoreOperation::Read, self.inner().file(name)).await
    }
}

impl<S: Inventory + Check> Inventory for Health<S> {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        self.inner().foreign(names).await
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        self.inner().name_rules().await
    }

    async fn file(&self, name: &KeyName) -> Result<Option<KeyFile>, Error> {
        self.inner().file(name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_bounded() {
        let mut names = ForeignNames::new(Arc::new(|name| name.starts_with('a')));
        assert!(names.wants("a.b") && names.wants("a b") && names.wants(&"a".repeat(81)));
        // A key, and a name that nobody has asked for.
        assert!(!names.wants("a-b") && !names.wants("b.a"));
        names.add(&"\u{e4}".repeat(1000));
        names.add("a.b");
        for at in 0..MAX_NAMES {
            names.add(&format!("a.{at}"));
        }
        let (names, more) = names.into_sorted();
        assert_eq!((names.len(), more), (MAX_NAMES, 2));
        assert_eq!(names.first().map(String::as_str), Some("a.0"));
        let long = names.last().unwrap();
        assert_eq!(long.chars().count(), MAX_NAME + 3);
        assert!(long.ends_with("\u{e4}..."));
    }
}
