//! A backup as a key store that is only read: what a copy of its keys reads from.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use kes_keystore::{
    Error, ForeignNames, Inventory, KeyStore, Kind, Limit, NameRules, Page, State, Value,
};

use super::blocks::Block;
use super::line::{self, Line};
use super::reader::{Archive, Lines};
use crate::age::ReadAt;

/// The kind of this store.
const KIND: Kind = Kind::new(&"backup");

impl<R: ReadAt> Archive<R> {
    /// The place in the index of the block that a name would be in; `None` if it is before the first.
    fn place(&self, name: &str) -> Option<usize> {
        self.index.partition_point(|(first, _)| first.as_str() <= name).checked_sub(1)
    }

    /// A block.
    fn block(&self, place: usize) -> Result<Arc<Block>, Error> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = blocks.get(place) {
            return Ok(block);
        }
        let begin = self.index.get(place).map_or(self.end, |(_, at)| *at);
        let end = self.index.get(place + 1).map_or(self.end, |(_, at)| *at);
        let mut block = Block::new();
        self.lines(begin, end, |name, value| block.push((name, value)))?;
        let block = Arc::new(block);
        blocks.add(place, &block);
        Ok(block)
    }

    /// Gives the keys whose lines are between two places.
    fn lines(
        &self,
        begin: u64,
        end: u64,
        mut next: impl FnMut(KeyName, Value),
    ) -> Result<(), Error> {
        let mut lines = Lines::new(&self.opened, begin);
        while let Some((at, text)) = lines.next().map_err(changed)?
            && at < end
        {
            match line::parse(&text) {
                Ok(Line::Key { name, value, .. }) => next(name, value),
                Ok(Line::End(_)) => return Ok(()),
                Err(fault) => return Err(changed(fault)),
            }
        }
        Ok(())
    }
}

/// The file was checked as a whole before.
fn changed(fault: impl std::fmt::Display) -> Error {
    let reason = format!("{KIND}: the file was changed while it was read: {fault}");
    Error::Unavailable { reason }
}

impl<R: ReadAt + Send + Sync> KeyStore for Archive<R> {
    async fn create(&self, _: &KeyName, _: &Value) -> Result<(), Error> {
        Err(Error::Unavailable { reason: format!("{KIND}: a backup is only read") })
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let missing = || Error::NotFound { name: *name };
        let block = self.block(self.place(name.as_str()).ok_or_else(missing)?)?;
        let found = block.binary_search_by(|(other, _)| other.cmp(name)).ok();
        let (_, value) = found.and_then(|at| block.get(at)).ok_or_else(missing)?;
        Ok(Value::new(value.expose().to_owned()))
    }

    async fn delete(&self, _: &KeyName) -> Result<(), Error> {
        Err(Error::Unavailable { reason: format!("{KIND}: a backup is only read") })
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let from = pattern.from().max(pattern.prefix());
        let begin = match self.place(from).or_else(|| (!self.index.is_empty()).then_some(0)) {
            Some(place) => self.index.get(place).map_or(self.end, |(_, at)| *at),
            None => self.end,
        };
        // Names come in order, so that those behind the prefix end the search.
        let mut fault = None;
        let mut source =
            Matching { lines: Lines::new(&self.opened, begin), pattern, fault: &mut fault };
        let page = Page::first(&mut source, limit);
        match fault {
            Some(fault) => Err(fault),
            None => Ok(page),
        }
    }

    fn state(&self) -> State {
        State::Reachable { latency: Duration::ZERO }
    }

    fn kind(&self) -> Kind {
        KIND
    }

    fn description(&self) -> String {
        format!("backup of {} ({})", self.header().created, self.header().store)
    }
}

/// The names that a pattern lists, until one is behind them.
struct Matching<'a, R> {
    lines: Lines<'a, R>,
    pattern: &'a ListPattern<'a>,
    fault: &'a mut Option<Error>,
}

impl<R: ReadAt> Iterator for Matching<'_, R> {
    type Item = KeyName;

    fn next(&mut self) -> Option<KeyName> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(error) => {
                    *self.fault = Some(changed(error));
                    return None;
                }
            };
            match line::parse(&line.1) {
                Ok(Line::Key { name, .. }) if self.pattern.matches(name.as_str()) => {
                    return Some(name);
                }
                Ok(Line::Key { name, .. }) => {
                    let prefix = self.pattern.prefix();
                    if name.as_str() > prefix && !name.as_str().starts_with(prefix) {
                        return None;
                    }
                }
                Ok(Line::End(_)) => return None,
                Err(fault) => {
                    *self.fault = Some(changed(fault));
                    return None;
                }
            }
        }
    }
}

impl<R: ReadAt + Send + Sync> Inventory for Archive<R> {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        Ok(names)
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(NameRules::ANY)
    }
}
