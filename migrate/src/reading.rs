//! All keys of a store, read and parsed, without a target: for a backup, and for what is to be known of a
//! store before a server uses it. Nothing is written.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kes_api::KeyName;
use kes_keystore::{Error, ForeignNames, Inventory, Record, Value};

use crate::listing::{Listing, key};
use crate::plan::count;
use crate::{Outcome, Pattern, Side, Tally, Trouble};

/// How many keys are read at a time, as many as a migration copies.
const AT_ONCE: usize = 32;

/// Goes through a store: first the entries that are no keys, then the keys in the order of their names.
pub struct Reading<'a, S> {
    /// The store.
    pub store: &'a S,
    /// Which keys are read.
    pub pattern: &'a Pattern,
    /// Counts them: those that are read as migrated, those that are no keys as skipped.
    pub tally: &'a Tally,
}

/// What was found under a name.
pub enum Entry<'a> {
    /// A key.
    Key {
        /// Its name.
        name: &'a KeyName,
        /// Its text in the store.
        value: Value,
        /// What the text says.
        record: Record,
    },
    /// No key, or one that cannot be read.
    Other {
        /// Its name, which may have any characters.
        name: &'a str,
        /// [`Outcome::Skipped`] or [`Outcome::Failed`].
        outcome: Outcome,
    },
}

/// How a reading ended.
#[derive(Clone, Debug)]
pub enum ReadingEnd<E> {
    /// All keys were read, or told with the reason why not. So many entries have names that no key can
    /// have and that were not told, because there are too many.
    Complete(usize),
    /// It was told to stop.
    Stopped,
    /// The store cannot be used.
    Broken(Trouble),
    /// Whoever was told of a key cannot go on.
    Refused(E),
}

impl<S: Inventory> Reading<'_, S> {
    /// Reads the keys. Each is told to `sink`, in the order of names. Once `stop` says so no further key is
    /// begun.
    pub async fn run<E>(
        self,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
    ) -> ReadingEnd<E> {
        match self.all(stop, sink).await {
            Ok(_) if stop() => ReadingEnd::Stopped,
            Ok(unnamed) => ReadingEnd::Complete(unnamed),
            Err(end) => end,
        }
    }

    async fn all<E>(
        &self,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<usize, ReadingEnd<E>> {
        let prefix = self.pattern.prefix();
        let total = count(self.store, self.pattern).await.map_err(unlisted)?;
        self.tally.set_total(total);
        let unnamed = self.foreign(sink).await?;
        let mut listing = Listing::new(self.store, &prefix);
        while !stop()
            && let Some(page) = listing.page().await.map_err(unlisted)?
        {
            let mut names = page.iter().filter(|name| self.pattern.matches(name));
            let mut running = FuturesOrdered::new();
            loop {
                while running.len() < AT_ONCE
                    && !stop()
                    && let Some(name) = names.next()
                {
                    let name = key(name);
                    running.push_back(async move { (name, self.store.read(&name).await) });
                }
                let Some((name, found)) = running.next().await else { break };
                if let Err(error @ Error::Unreachable { .. }) = found {
                    return Err(ReadingEnd::Broken(Trouble::Use { side: Side::Source, error }));
                }
                let entry = entry(&name, found);
                let outcome = match &entry {
                    Entry::Key { .. } => &Outcome::Migrated,
                    Entry::Other { outcome, .. } => outcome,
                };
                self.tally.add(outcome, 1);
                sink(entry).map_err(ReadingEnd::Refused)?;
            }
        }
        Ok(unnamed)
    }

    /// Tells which entries are no keys by their names. How many more there are.
    async fn foreign<E>(
        &self,
        sink: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<usize, ReadingEnd<E>> {
        let pattern = self.pattern.clone();
        let names = ForeignNames::new(Arc::new(move |name| pattern.matches(name)));
        let names = self.store.foreign(names).await.map_err(unlisted)?;
        let (names, more) = names.into_sorted();
        let outcome = Outcome::Skipped("has a name that no key can have".to_owned());
        let no_file = Outcome::Skipped("is neither a file nor a link to one".to_owned());
        for name in &names {
            let outcome = if KeyName::parse(name).is_err() { &outcome } else { &no_file };
            self.tally.add(outcome, 1);
            let entry = Entry::Other { name, outcome: outcome.clone() };
            sink(entry).map_err(ReadingEnd::Refused)?;
        }
        self.tally.add(&outcome, more);
        Ok(more)
    }
}

/// What an answer of the store means.
fn entry(name: &KeyName, found: Result<Value, Error>) -> Entry<'_> {
    let outcome = match found {
        Ok(value) => match Record::decode(&value) {
            Ok(record) => return Entry::Key { name, value, record },
            Err(reason) => Outcome::Skipped(format!("is not a stored key: {reason}")),
        },
        Err(error) => unread(error),
    };
    Entry::Other { name: name.as_str(), outcome }
}

/// What becomes of a key that the store does not give.
fn unread(error: Error) -> Outcome {
    match error {
        Error::NotFound { .. } => Outcome::Skipped(NO_VALUE.to_owned()),
        Error::Corrupt { reason, .. } => Outcome::Skipped(format!("is not a stored key: {reason}")),
        Error::Foreign { reason, .. } => Outcome::Skipped(format!("is not a stored key: {reason}")),
        error => Outcome::Failed(format!("cannot be read: {error}")),
    }
}

/// A key that is listed, and is not there.
pub(crate) const NO_VALUE: &str = "was listed and has no value: it was deleted meanwhile, or its first \
                                   version was in an engine of KV version 2";

fn unlisted<E>(error: Error) -> ReadingEnd<E> {
    ReadingEnd::Broken(Trouble::List { side: Side::Source, error })
}
