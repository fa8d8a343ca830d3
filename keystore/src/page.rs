//! Pages of a listing: how much a page holds, and how one is built from names in any order.
//!
//! A page is bounded by the bytes of the JSON that it becomes, so a listing of a whole key store may
//! be one page. The names are stored in one text, which takes little more memory than that JSON.

use std::cmp::Ordering;

use kes_api::KeyName;
use kes_api::name::MAX_NAME_LEN;

/// The bytes of JSON that a name takes beside its own: quotes and a comma.
const FRAME: usize = 3;

/// The fewest names that a builder of pages collects before it sorts them and drops what the page
/// does not need. Without it a page of one name would be sorted for every name.
const SLACK: usize = 256;

/// What a page may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    names: usize,
    /// Bytes of JSON for the names of a page that is the last.
    last: usize,
    /// The same for any other page: for its names, and the bytes of the name that follows.
    more: usize,
}

impl Limit {
    /// So many names.
    pub const fn names(names: usize) -> Self {
        Self { names, last: usize::MAX, more: usize::MAX }
    }

    /// As many names as fit into some bytes of JSON, in which each takes its own bytes, two
    /// quotes, and a comma: into `last` where no names follow, else into `more` together with the
    /// bare name that the next page begins with.
    pub const fn bytes(last: usize, more: usize) -> Self {
        Self { names: usize::MAX, last, more }
    }

    /// As much as this allows, and so many bytes of JSON at least.
    #[must_use]
    pub(crate) fn at_least(self, bytes: usize) -> Self {
        let own = match self.most_names() {
            Some(names) => [names.saturating_add(1).saturating_mul(MAX_NAME_LEN + FRAME); 2],
            None => [self.last, self.more],
        };
        let [last, more] = own.map(|own| own.max(bytes));
        Self::bytes(last, more)
    }

    /// The number of names, where that is what bounds a page.
    pub(crate) fn most_names(self) -> Option<usize> {
        (self.names != usize::MAX).then_some(self.names)
    }

    /// How many of some names, which come in order, a page holds that begins with the first.
    /// Names may `follow` that are not known: `None` where those would have to be known.
    pub fn end<'a>(
        self,
        names: impl ExactSizeIterator<Item = &'a str>,
        follow: bool,
    ) -> Option<usize> {
        let count = names.len();
        // Where a page ends that another one follows, and the JSON of the names so far.
        let (mut end, mut used) = (0, 0_usize);
        for (at, name) in names.enumerate() {
            if at <= self.names && used.saturating_add(name.len()) <= self.more {
                end = at;
            }
            used = used.saturating_add(name.len() + FRAME);
            if used > self.last.max(self.more) {
                return Some(end);
            }
        }
        match (follow, count <= self.names) {
            // How far the page goes depends on what is not known.
            (true, true) => None,
            (false, true) if used <= self.last => Some(count),
            _ => Some(end),
        }
    }

    /// Whether names of so many bytes of JSON are certain to be more than a page and the name that
    /// follows it.
    fn is_exceeded(self, names: usize, bytes: usize) -> bool {
        names > self.names.saturating_add(1)
            || bytes > self.last.max(self.more).saturating_add(MAX_NAME_LEN + FRAME)
    }
}

/// Names of keys, in order, as one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Names {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The name at a place.
    pub fn get(&self, at: usize) -> Option<&str> {
        let end = offset(*self.ends.get(at)?);
        let start = match at.checked_sub(1) {
            Some(before) => offset(*self.ends.get(before)?),
            None => 0,
        };
        self.text.get(start..end)
    }

    /// The names from a place on.
    pub fn from(&self, at: usize) -> impl ExactSizeIterator<Item = &str> {
        (at.min(self.len())..self.len()).map(|at| self.get(at).unwrap_or_default())
    }

    /// All names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.from(0)
    }

    /// The place of a name, where it is one of them.
    pub fn find(&self, name: &str) -> Option<usize> {
        let (mut start, mut end) = (0, self.len());
        while start < end {
            let middle = start.midpoint(end);
            match self.get(middle)?.cmp(name) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => start = middle + 1,
                Ordering::Greater => end = middle,
            }
        }
        None
    }

    #[expect(clippy::expect_used, reason = "names are far below 4 GiB")]
    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).expect("names are far below 4 GiB"));
    }

    #[expect(clippy::expect_used, reason = "names are taken as key names")]
    fn key(&self, at: usize) -> Option<KeyName> {
        self.get(at).map(|name| KeyName::parse(name).expect("names are taken as key names"))
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.push(name));
        all
    }
}

impl FromIterator<KeyName> for Names {
    fn from_iter<I: IntoIterator<Item = KeyName>>(names: I) -> Self {
        let mut all = Self::default();
        names.into_iter().for_each(|name| all.push(name.as_str()));
        all
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Names in the order of their bytes.
    pub names: Names,
    /// The first name of the next page; `None` after the last.
    pub next: Option<KeyName>,
}

impl Page {
    /// The first page of names that come in order, and each once.
    pub fn first(names: impl IntoIterator<Item = KeyName>, limit: Limit) -> Self {
        let mut page = PageBuilder::new(limit);
        for name in names {
            if page.is_full() {
                break;
            }
            page.add(name);
        }
        page.finish()
    }

    /// The page that begins at a place of some names; `None` where names `follow` that have to be
    /// known for it.
    pub(crate) fn cut(names: &Names, from: usize, limit: Limit, follow: bool) -> Option<Self> {
        let count = limit.end(names.from(from), follow)?;
        Some(Self { names: names.from(from).take(count).collect(), next: names.key(from + count) })
    }

    /// The page of the names that either of two stores has, of the page of each for the same place and
    /// the same limit. It is as long as the shorter of the two at least.
    pub(crate) fn of_both(one: &Self, other: &Self, limit: Limit) -> Self {
        // What follows the name that a page ends before is not known of its store.
        let bound = match (&one.next, &other.next) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.as_ref().or(other.as_ref()),
        };
        let is_known = |name: &str| bound.is_none_or(|bound| name < bound.as_str());
        let mut names = Names::default();
        let (mut left, mut right) = (one.names.iter().peekable(), other.names.iter().peekable());
        loop {
            let name = match (left.peek().copied(), right.peek().copied()) {
                (Some(one), Some(other)) => one.min(other),
                (Some(name), None) | (None, Some(name)) => name,
                (None, None) => break,
            };
            left.next_if_eq(&name);
            right.next_if_eq(&name);
            if !is_known(name) {
                break;
            }
            names.push(name);
        }
        let Some(bound) = bound else {
            return Self::cut(&names, 0, limit, false).unwrap_or_default();
        };
        names.push(bound.as_str());
        // It is not the last page, and has to fit where others follow.
        let limit = Limit { last: limit.more, ..limit };
        match Self::cut(&names, 0, limit, false) {
            Some(page) if page.next.is_some() => page,
            _ => Self::before_last(&names),
        }
    }

    /// All of some names but the last, with which the next page begins.
    pub(crate) fn before_last(names: &Names) -> Self {
        let count = names.len().saturating_sub(1);
        Self { names: names.iter().take(count).collect(), next: names.key(count) }
    }

    /// All names of the page, and the one after it.
    pub(crate) fn into_names(self) -> Names {
        let mut names = self.names;
        if let Some(next) = &self.next {
            names.push(next.as_str());
        }
        names
    }
}

/// Builds a page of names that come in any order, and more than once. It never holds more than about
/// twice the names of the page.
pub(crate) struct PageBuilder {
    limit: Limit,
    text: String,
    spans: Vec<Span>,
    /// The bytes of JSON that the names take.
    bytes: usize,
    /// The page certainly ends before this name.
    bound: Option<KeyName>,
    /// The number of names and their bytes after names were last dropped.
    kept: (usize, usize),
}

/// A name in a text.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u8,
}

impl PageBuilder {
    pub(crate) const fn new(limit: Limit) -> Self {
        Self { limit, text: String::new(), spans: Vec::new(), bytes: 0, bound: None, kept: (0, 0) }
    }

    /// Whether a name may be on the page or the one after it. For callers to whom it is costly to
    /// find out whether it is a key.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.bound.is_none_or(|bound| name < bound.as_str())
    }

    #[expect(
        clippy::expect_used,
        reason = "names are far below 4 GiB, and a name has at most 80 bytes"
    )]
    pub(crate) fn add(&mut self, name: KeyName) {
        let name = name.as_str();
        if !self.wants(name) {
            return;
        }
        let start = u32::try_from(self.text.len()).expect("names are far below 4 GiB");
        self.spans.push(Span { start, len: u8::try_from(name.len()).expect("at most 80") });
        self.text.push_str(name);
        self.bytes += name.len() + FRAME;
        let (names, bytes) = (self.spans.len() - self.kept.0, self.bytes - self.kept.1);
        // One page more than before, so that each name is sorted only a few times.
        if names > SLACK && self.limit.is_exceeded(names, bytes) {
            self.drop_unneeded();
        }
    }

    /// Whether there are more names than a page of a limit holds. It may say no where there are
    /// about as many.
    pub(crate) fn exceeds(&mut self, limit: Limit) -> bool {
        if !limit.is_exceeded(self.spans.len(), self.bytes) {
            return false;
        }
        self.drop_unneeded();
        limit.is_exceeded(self.spans.len(), self.bytes)
    }

    /// The same for the page's own limit, where the names come in order and once.
    fn is_full(&self) -> bool {
        self.limit.is_exceeded(self.spans.len(), self.bytes)
    }

    #[expect(clippy::expect_used, reason = "nothing follows that is not known")]
    pub(crate) fn finish(mut self) -> Page {
        let limit = self.limit;
        let names = self.drop_unneeded();
        Page::cut(&names, 0, limit, false).expect("nothing follows that is not known")
    }

    /// As [`PageBuilder::finish`], where more names may follow the greatest so far: where that is
    /// needed to fill the page, it is left for the next one.
    pub(crate) fn finish_early(mut self) -> Page {
        let limit = self.limit;
        let names = self.drop_unneeded();
        Page::cut(&names, 0, limit, true).unwrap_or_else(|| Page::before_last(&names))
    }

    /// Sorts the names, and drops those that neither the page needs nor its end; what is left.
    #[expect(clippy::expect_used, reason = "a name has at most 80 bytes")]
    fn drop_unneeded(&mut self) -> Names {
        let mut spans = std::mem::take(&mut self.spans);
        let text = std::mem::take(&mut self.text);
        let name = |span: &Span| {
            let start = offset(span.start);
            text.get(start..start + usize::from(span.len)).unwrap_or_default()
        };
        // The names that were kept last time are in order. This sort merges them with the others,
        // where an unstable one would sort them again.
        spans.sort_by(|a, b| name(a).cmp(name(b)));
        spans.dedup_by(|a, b| name(a) == name(b));
        let mut names = Names::default();
        self.bytes = 0;
        for span in &spans {
            // What came before is more than a page and the name after it.
            if self.limit.is_exceeded(names.len(), self.bytes) {
                self.bound = names.key(names.len() - 1);
                break;
            }
            names.push(name(span));
            self.bytes += usize::from(span.len) + FRAME;
        }
        self.kept = (names.len(), self.bytes);
        self.text.clone_from(&names.text);
        let mut start = 0;
        for end in &names.ends {
            self.spans.push(Span { start, len: u8::try_from(end - start).expect("at most 80") });
            start = *end;
        }
        names
    }
}

#[expect(clippy::expect_used, reason = "an address has 32 bits at least")]
fn offset(at: u32) -> usize {
    usize::try_from(at).expect("an address has 32 bits at least")
}

#[cfg(test)]
mod tests;
