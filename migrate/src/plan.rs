use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use kes_api::KeyName;
use kes_keystore::{ForeignNames, Inventory, KeyStore, NameRules};

use crate::listing::{Listing, key};
use crate::migration::Run;
use crate::{Outcome, Side, Trouble};

/// Names that the target cannot hold.
#[derive(Default)]
struct Clashes {
    /// How many there are.
    count: usize,
    /// Hashes of names in lower case, if the target takes those for one that differ in the case of
    /// letters alone: 8 bytes a key. Two names have the same one by chance once in 10^7 runs with a
    /// million keys.
    seen: HashSet<u64>,
    hasher: RandomState,
}

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Counts the keys, tells the entries that are no keys, and makes sure that the target can be
    /// used and can hold all names. Nothing is written.
    pub(crate) async fn plan(&self) -> Result<usize, Trouble> {
        self.try_target().await?;
        let rules = self.target.store().name_rules().await;
        let rules = rules.map_err(|error| Trouble::Use { side: Side::Target, error })?;
        let (mut total, mut clashes) = (0, Clashes::default());
        let mut listing = Listing::new(self.source, &self.options.pattern.prefix());
        while !self.is_stopped()
            && let Some(page) = listing.page().await.map_err(in_source)?
        {
            for name in page.iter().filter(|name| self.options.pattern.matches(name)) {
                total += 1;
                if let Some(reason) = clashes.reason(name, rules) {
                    self.tell(name, &Outcome::Failed(reason));
                }
            }
        }
        self.tally.set_total(total);
        if !self.is_stopped() {
            self.tell_foreign().await?;
        }
        match clashes.count {
            0 => Ok(total),
            count => Err(Trouble::Names(count)),
        }
    }

    /// Reads a key that hardly exists from the target: a wrong address or password ends the run
    /// before the first key.
    async fn try_target(&self) -> Result<(), Trouble> {
        match self.target.read(&key("kes-migrate-no-such-key")).await {
            Ok(_) | Err(kes_keystore::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Trouble::Use { side: Side::Target, error }),
        }
    }

    /// Tells which entries in the source are no keys.
    async fn tell_foreign(&self) -> Result<(), Trouble> {
        let pattern = self.options.pattern.clone();
        let names = ForeignNames::new(Arc::new(move |name| pattern.matches(name)));
        let names = self.source.foreign(names).await.map_err(in_source)?;
        let (names, more) = names.into_sorted();
        let outcome = self.skipped("has a name that no key can have".to_owned());
        let no_file = self.skipped("is neither a file nor a link to one".to_owned());
        for name in names {
            let is_file = KeyName::parse(&name).is_err();
            self.tell(&name, if is_file { &outcome } else { &no_file });
        }
        self.tally.add(&outcome, more);
        self.unnamed.set(more);
        Ok(())
    }
}

impl Clashes {
    /// Why the target cannot hold a name.
    fn reason(&mut self, name: &str, rules: NameRules) -> Option<String> {
        if let Some(character) = name.chars().find(|character| rules.forbidden.contains(*character))
        {
            self.count += 1;
            return Some(format!("has a '{character}', which no name in the target can have"));
        }
        let is_new = !rules.ignores_case
            || self.seen.insert(self.hasher.hash_one(name.to_ascii_lowercase()));
        if is_new {
            return None;
        }
        self.count += 1;
        let reason = "differs from another name in the case of letters alone, which makes them one \
                      name in the target";
        Some(reason.to_owned())
    }
}

fn in_source(error: kes_keystore::Error) -> Trouble {
    Trouble::List { side: Side::Source, error }
}

/// Counts the keys of a store that match.
pub(crate) async fn count<K: KeyStore>(
    store: &K,
    pattern: &crate::Pattern,
) -> Result<usize, kes_keystore::Error> {
    let (mut listing, mut total) = (Listing::new(store, &pattern.prefix()), 0);
    while let Some(page) = listing.page().await? {
        total += page.iter().filter(|name| pattern.matches(name)).count();
    }
    Ok(total)
}
