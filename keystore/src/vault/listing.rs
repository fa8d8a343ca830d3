//! Listing keys, in pages.
//!
//! OpenBao takes the name after which a listing continues, and the most names that it may have
//! (`after`, `limit`), and answers in the order of bytes. Vault, and the KV v1 engine of OpenBao
//! as well, do not know these parameters and answer with all names in any order. So both are
//! always asked for, and the answer shows what was done: it has all names if it says that
//! parameters were ignored, or has more names than were asked for, or one that should not be there.
//! Either way the names are parsed while the answer arrives, and only those of the page are kept.
//!
//! An answer with fewer names than were asked for need not be the last: OpenBao takes names out
//! that a policy hides (`list_scan_response_keys_filter_path`) after it has counted them. So what
//! follows it is asked for without a limit, and the listing has ended if nothing does. The same is
//! done where a policy forbids the limit (`pagination_limit`): OpenBao then sets its own.

/// The names in an answer.
mod names;

/// Names for the pages that follow.
pub(super) mod prefetch;

/// The parser for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use url::form_urlencoded;

use self::names::{NameParser, NameSink};
use self::prefetch::Prefetch;
use super::call::{Call, Capability, read};
use super::engine::Engine;
use super::fault::Fault;
use super::paths::Form;
use super::session::Session;
use crate::inventory::ForeignNames;
use crate::page::PageBuilder;
use crate::{Error, Limit, Page};

/// An answer, in bytes: some 400,000 of the longest names, where all come at once.
const MAX_ANSWER: usize = 32 << 20;

/// The time limit of a listing: one of that size takes longer than other requests.
const LIST_LIMIT: Duration = Duration::from_secs(10);

/// Names that are asked for at least, because some may be no keys; and at most, to bound the time
/// of an answer: two such answers are one prefetch where names have some 20 characters.
const NAMES: [usize; 2] = [1024 + 1, 48 * 1024 + 1];

/// The bytes of key names, in order.
const NAME_BYTES: &[u8] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// Lists keys.
pub(super) struct Listing {
    engine: Arc<Engine>,
    prefetch: Arc<Prefetch>,
}

impl Listing {
    pub(super) fn new(engine: Arc<Engine>, prefetch: Arc<Prefetch>) -> Self {
        Self { engine, prefetch }
    }

    /// The keys that match, in order, as many as a page may hold: from the prefetch if they are
    /// there, or else from Vault.
    pub(super) async fn page(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        if let Some(page) = self.prefetch.page(pattern, limit) {
            return Ok(page);
        }
        let reading = self.prefetch.read();
        let all = reading.limit(limit);
        let form = self.engine.form_of_keys().await.map_err(Fault::into_error)?;
        self.engine.is_at_engine(form)?;
        let read = match form {
            Some(form) => self.read(form, pattern, limit, all, None).await,
            None => self.read_either(pattern, limit, all).await,
        };
        match read {
            Ok(read) => Ok(reading.done(pattern, read, limit)),
            Err(fault) => Err(self.engine.failed(fault).await),
        }
    }

    /// Adds the names of entries that are no names of keys. Those of folders end with `/`, and are
    /// added if a key could have them.
    pub(super) async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        let form = self.engine.form_of_keys().await.map_err(Fault::into_error)?;
        self.engine.is_at_engine(form)?;
        // Where Vault does not tell the form, a listing of keys has found it out.
        let form = form.or_else(|| self.engine.known_form()).unwrap_or(Form::Versioned);
        let mut names = names;
        // No page is asked for, so the listing goes on to its end.
        let [enough, limit] = [usize::MAX, 0].map(|bytes| Limit::bytes(bytes, bytes));
        match self.read(form, &ListPattern::ALL, enough, limit, Some(&mut names)).await {
            Ok(_) => Ok(names),
            Err(fault) => Err(self.engine.failed(fault).await),
        }
    }

    /// The keys that match, where Vault does not tell which form the engine has: an engine of
    /// version 1 has nothing below `metadata/`, and one of version 2 lists nothing below `data/`.
    async fn read_either(
        &self,
        pattern: &ListPattern<'_>,
        enough: Limit,
        limit: Limit,
    ) -> Result<Page, Fault> {
        let page = self.read(Form::Versioned, pattern, enough, limit, None).await?;
        if !page.names.is_empty() || self.engine.known_form() == Some(Form::Versioned) {
            return Ok(page);
        }
        match self.read(Form::Plain, pattern, enough, limit, None).await {
            Err(fault) if fault.status().is_some_and(|status| status.is_client_error()) => Ok(page),
            Ok(plain) if !plain.names.is_empty() => {
                self.engine.learn(Form::Plain);
                Ok(plain)
            }
            other => other,
        }
    }

    /// The keys that match, in order: as many as `limit` allows at most, and as many as `enough`
    /// does at least, if there are so many. Names that no key can have are added to `foreign`.
    async fn read(
        &self,
        form: Form,
        pattern: &ListPattern<'_>,
        enough: Limit,
        limit: Limit,
        mut foreign: Option<&mut ForeignNames>,
    ) -> Result<Page, Fault> {
        let mut page = PageBuilder::new(limit);
        let folder = self.engine.paths.folder(form);
        let mut after = before(pattern.prefix().max(pattern.from()));
        let names = limit.most_names().unwrap_or(NAMES[1]);
        let mut size = Some(names.saturating_add(1).clamp(NAMES[0], NAMES[1]));
        loop {
            let part = Part {
                page: &mut page,
                foreign: foreign.as_deref_mut(),
                pattern,
                after: &after,
                count: 0,
                last: None,
                unpaged: false,
            };
            let call = list(folder, query(&after, size));
            let part = match ask(&self.engine.session, &call, part).await {
                Err(fault) if fault.is_forbidden() && size.is_some() => {
                    size = None;
                    continue;
                }
                part => part?,
            };
            let Part { count, last, unpaged, .. } = part;
            let is_past = last
                .as_deref()
                .is_some_and(|last| last > pattern.prefix() && !last.starts_with(pattern.prefix()));
            let is_end = match size {
                Some(size) => count > size,
                None => count == 0,
            };
            if is_end || is_past || unpaged {
                return Ok(page.finish());
            }
            // A short answer is most likely the last one; a request without a limit makes sure.
            let is_short = size.is_some_and(|size| count < size);
            if !is_short && page.exceeds(enough) {
                return Ok(page.finish_early());
            }
            size = size.filter(|_| !is_short);
            after = last.unwrap_or(after);
        }
    }
}

/// All names in a folder that is known to be small, in no order; none if it does not exist.
pub(super) async fn names_in(session: &Session, folder: &str) -> Result<Vec<String>, Fault> {
    ask(session, &list_all(folder), Vec::new()).await
}

/// Succeeds if the names in a folder, which may be many, can be listed.
pub(super) async fn may_list(session: &Session, folder: &str) -> Result<(), Fault> {
    struct Nobody;
    impl NameSink for Nobody {
        fn begin(&mut self) {}
        fn name(&mut self, _: &str) {}
    }
    ask(session, &list(folder, query("", Some(1))), Nobody).await.map(drop)
}

async fn ask<T: NameSink>(session: &Session, call: &Call, sink: T) -> Result<T, Fault> {
    let mut parser = NameParser::new(sink);
    let result = session.call_into(call, &mut parser).await;
    let mut sink = parser.into_sink();
    match result {
        Ok(_) => Ok(sink),
        Err(fault) if fault.is_not_found() => {
            sink.begin();
            Ok(sink)
        }
        Err(fault) => Err(fault),
    }
}

/// What one answer adds to a page.
struct Part<'a> {
    page: &'a mut PageBuilder,
    foreign: Option<&'a mut ForeignNames>,
    pattern: &'a ListPattern<'a>,
    after: &'a str,
    /// Names in the answer.
    count: usize,
    /// The greatest of them.
    last: Option<String>,
    /// Whether it has all names, whatever was asked for.
    unpaged: bool,
}

impl NameSink for Part<'_> {
    /// The names of an answer that broke off stay in the page, because these keys exist.
    fn begin(&mut self) {
        (self.count, self.last, self.unpaged) = (0, None, false);
    }

    fn name(&mut self, name: &str) {
        self.count += 1;
        self.unpaged |= !self.after.is_empty() && name <= self.after;
        match &mut self.last {
            Some(last) if name > last.as_str() => {
                last.clear();
                last.push_str(name);
            }
            Some(_) => {}
            None => self.last = Some(name.to_owned()),
        }
        // What is not a key name is a folder, or belongs to another program.
        if self.pattern.matches(name)
            && let Ok(name) = KeyName::parse(name)
        {
            self.page.add(name);
        } else if let Some(foreign) = &mut self.foreign
            && name
                .strip_suffix('/')
                .map_or_else(|| foreign.wants(name), |name| foreign.wants_no_file(name))
        {
            foreign.add(name);
        }
    }

    fn warning(&mut self, text: &str) {
        // "Endpoint ignored these unrecognized parameters: [after limit]"
        self.unpaged |= text.contains("unrecognized parameters") && text.contains("limit");
    }
}

/// A request for all names in a folder.
pub(super) fn list_all(folder: &str) -> Call {
    list(folder, "list=true".into())
}

/// A request that lists. Not the method LIST: firewalls refuse it.
fn list(folder: &str, query: Cow<'static, str>) -> Call {
    let mut call = Call { right: Capability::List, ..read(folder.to_owned()) };
    call.request.query = Some(query);
    call.request.max_len = MAX_ANSWER;
    call.request.limit = LIST_LIMIT;
    call
}

fn query(after: &str, limit: Option<usize>) -> Cow<'static, str> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("list", "true");
    if !after.is_empty() {
        query.append_pair("after", after);
    }
    if let Some(limit) = limit {
        query.append_pair("limit", &limit.to_string());
    }
    query.finish().into()
}

/// What comes before `start` and all greater key names, and after all smaller ones, in the order
/// of bytes. `start` is a key name, or the beginning of one.
fn before(start: &str) -> String {
    let Some((&last, stem)) = start.as_bytes().split_last() else { return String::new() };
    let stem = start.get(..stem.len()).unwrap_or_default();
    match NAME_BYTES.iter().rev().find(|byte| **byte < last) {
        Some(byte) => format!("{stem}{}~", char::from(*byte)),
        // Whatever begins with the stem and comes before has a byte there that no name has.
        None => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listing_begins_right_before_what_is_asked_for() {
        for (start, expected) in [
            ("", ""),
            ("a", "_~"),
            ("key-0", "key--~"),
            ("key-", "key"),
            ("-", ""),
            ("A", "9~"),
            ("_", "Z~"),
        ] {
            assert_eq!(before(start), expected, "{start}");
        }
        assert_eq!(query("", None), "list=true");
        assert_eq!(query("a b/&\u{e9}", Some(3)), "list=true&after=a+b%2F%26%C3%A9&limit=3");
    }

    proptest! {
        #[test]
        fn no_key_is_left_out_and_none_is_too_much(
            start in "[a-c0_-]{0,4}",
            names in prop::collection::vec("[a-cz0_-]{1,5}", 1..50),
        ) {
            let before = before(&start);
            for name in names {
                prop_assert_eq!(name > before, name >= start, "{:?} {:?}", name, before);
            }
        }
    }
}
