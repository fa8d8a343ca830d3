use std::cell::{Cell, OnceCell, RefCell};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use kes_keystore::{Error, Inventory};
use tokio::sync::Mutex;

use crate::listing::{Listing, key};
use crate::pace::Pace;
use crate::target::Target;
use crate::{End, Outcome, Pattern, Report, Side, Tally, Trouble};

/// How many keys are copied at a time. Vault answers as many requests at once as a few dozen without
/// getting slower, and so many files are synced together.
const AT_ONCE: usize = 32;

/// What becomes of a key for which the target has another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It fails.
    Refuse,
    /// The target keeps its value.
    Keep,
    /// The value is replaced.
    Replace,
}

/// How keys are copied.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which keys are copied.
    pub pattern: Pattern,
    /// What becomes of a key for which the target has another value.
    pub existing: Existing,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Whether entries that are no keys are failures.
    pub strict: bool,
    /// How many keys are copied a second at most, beside servers that use both stores; `None` if no
    /// server does. Keys are not replaced then.
    pub rate: Option<u32>,
}

/// A migration from one store to another.
pub struct Migration<'a, S, T> {
    /// Where keys are read from.
    pub source: &'a S,
    /// Where they are copied to.
    pub target: &'a T,
    /// How they are copied.
    pub options: &'a Options,
    /// Counts them.
    pub tally: &'a Tally,
}

/// Is told of each key: its name, which may have any characters if it is no key, and what became of
/// it.
type Sink<'a> = &'a mut dyn FnMut(&str, &Outcome);

/// A migration that runs.
pub(crate) struct Run<'a, S, T> {
    pub(crate) source: &'a S,
    pub(crate) target: Target<'a, T>,
    pub(crate) options: &'a Options,
    pub(crate) tally: &'a Tally,
    stop: &'a dyn Fn() -> bool,
    sink: RefCell<Sink<'a>>,
    /// Entries that are no keys, and whose names are not told.
    pub(crate) unnamed: Cell<usize>,
    /// Why it cannot go on.
    pub(crate) trouble: OnceCell<Trouble>,
    /// Keys are replaced one at a time, so that a fault concerns one of them. True once the target
    /// has shown that it takes new keys.
    pub(crate) replacing: Mutex<bool>,
    pub(crate) pace: Pace,
}

impl<'a, S: Inventory, T: Inventory> Migration<'a, S, T> {
    /// Copies the keys. Each key is told to `sink` with what became of it, in the order of names,
    /// after the entries that are no keys. Once `stop` says so no further key is begun.
    pub async fn run(self, stop: &'a dyn Fn() -> bool, sink: Sink<'a>) -> Report {
        let Self { source, target, options, tally } = self;
        let run = Run {
            source,
            target: Target::new(target),
            options,
            tally,
            stop,
            sink: RefCell::new(sink),
            unnamed: Cell::new(0),
            trouble: OnceCell::new(),
            replacing: Mutex::new(false),
            pace: Pace::new(options.rate),
        };
        let mut only_in_target = None;
        let (end, disagreement) = match run.all().await {
            Err(trouble) => (End::Broken(trouble), None),
            Ok(_) if run.is_stopped() => (End::Stopped, None),
            Ok(_) if options.rate.is_some() => {
                let (disagreement, in_target) = run.control_online().await;
                only_in_target = in_target;
                (End::Complete, disagreement)
            }
            Ok(_) if options.dry_run => (End::Complete, None),
            Ok(tried) => (End::Complete, run.control(tried).await),
        };
        Report { end, disagreement, only_in_target, unnamed: run.unnamed.get() }
    }
}

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Copies all keys; how many were tried.
    async fn all(&self) -> Result<usize, Trouble> {
        self.plan().await?;
        let mut tried = 0;
        let mut listing = Listing::new(self.source, &self.options.pattern.prefix());
        while !self.is_stopped()
            && let Some(page) =
                listing.page().await.map_err(|error| Trouble::List { side: Side::Source, error })?
        {
            let mut names = page.iter().filter(|name| self.options.pattern.matches(name));
            let mut running = FuturesOrdered::new();
            loop {
                while running.len() < self.at_once()
                    && !self.is_stopped()
                    && self.trouble.get().is_none()
                    && let Some(name) = names.next()
                {
                    running.push_back(async move { (name, self.key(key(name)).await) });
                }
                let Some((name, outcome)) = running.next().await else { break };
                tried += 1;
                self.tell(name, &outcome);
            }
            if let Some(trouble) = self.trouble.get() {
                return Err(trouble.clone());
            }
        }
        Ok(tried)
    }

    /// How many keys are at work at a time: those of a second at most, so that a run that is stopped ends
    /// soon.
    fn at_once(&self) -> usize {
        let rate = self.options.rate.map(|rate| usize::try_from(rate).unwrap_or(AT_ONCE));
        rate.unwrap_or(AT_ONCE).clamp(1, AT_ONCE)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        (self.stop)()
    }

    /// Counts and tells what became of a key.
    pub(crate) fn tell(&self, name: &str, outcome: &Outcome) {
        self.tally.add(outcome, 1);
        (self.sink.borrow_mut())(name, outcome);
    }

    /// Ends the run. The first error says why.
    pub(crate) fn give_up(&self, side: Side, error: Error) {
        let _ = self.trouble.set(Trouble::Use { side, error });
    }

    /// Ends the run if an error says that a store cannot be reached.
    pub(crate) fn note(&self, side: Side, error: Error) {
        if matches!(error, Error::Unreachable { .. }) {
            self.give_up(side, error);
        }
    }
}
