//! Finds lines: who did what, and who opened an object.

use std::io;

use kes_api::{Identity, Timestamp};

use crate::chain::Sealed;
use crate::entry::{Entry, Object};
use crate::key::AuditKey;
use crate::reader::{Input, Read1, hold, segment_of};
use crate::segment::{FIRST, First};

/// What a line has to be. What is not set does not matter.
#[derive(Default)]
pub struct Search {
    /// The client.
    pub identity: Option<Identity>,
    /// Its policy.
    pub policy: Option<String>,
    /// The key.
    pub key: Option<Pattern>,
    /// The operation, such as `DecryptKey`, in any case.
    pub operation: Option<String>,
    /// The bucket.
    pub bucket: Option<Pattern>,
    /// The object.
    pub object: Option<Pattern>,
    /// The status.
    pub status: Option<Status>,
    /// No earlier than this.
    pub since: Option<Timestamp>,
    /// No later than this.
    pub until: Option<Timestamp>,
    /// With this, names that were hashed are found as well.
    pub hashed_with: Vec<AuditKey>,
}

/// What a search could not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Lines without what seals a line: whoever can write the file can have added them.
    pub unsealed: u64,
    /// Records whose names are hashed, and cannot be compared for lack of a whole bucket and name, or
    /// of the key.
    pub hashed: u64,
    /// Records that do not tell all of their objects.
    pub left_out: u64,
}

/// A name, or with `*` at its end the start of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A status, or a class of them such as `4xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// That one.
    Is(u16),
    /// Those that begin with this digit.
    Class(u16),
}

impl std::str::FromStr for Pattern {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }

    /// The whole name; `None` for the start of one.
    fn exact(&self) -> Option<&str> {
        (!self.0.ends_with('*')).then_some(&*self.0)
    }
}

impl std::str::FromStr for Status {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let status = match lower.strip_suffix("xx") {
            Some(class) => {
                class.parse().ok().filter(|class| (1..=5).contains(class)).map(Self::Class)
            }
            None => lower.parse().ok().filter(|status| (100..=599).contains(status)).map(Self::Is),
        };
        status.ok_or("write a status such as 403, or 4xx")
    }
}

impl Status {
    /// Whether a status is meant.
    pub const fn matches(self, status: u16) -> bool {
        match self {
            Self::Is(own) => status == own,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl Search {
    /// Whether a line is looked for. Only lines about requests and changes are.
    pub fn matches(&self, entry: &Entry<'_>) -> bool {
        self.matches_but_object(entry) && self.matches_object(entry)
    }

    fn matches_but_object(&self, entry: &Entry<'_>) -> bool {
        let operation = self.operation.as_ref().is_none_or(|own| {
            entry.operation.as_ref().is_some_and(|value| value.eq_ignore_ascii_case(own))
        });
        let key = self
            .key
            .as_ref()
            .is_none_or(|key| entry.key.as_deref().is_some_and(|name| key.matches(name)));
        let status =
            self.status.is_none_or(|status| entry.status.is_some_and(|own| status.matches(own)));
        entry.is_record()
            && self.identity.is_none_or(|identity| entry.identity == Some(identity))
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time <= until)
            && self.policy.as_ref().is_none_or(|own| entry.policy.as_deref() == Some(own))
            && operation
            && key
            && status
    }

    /// Whether the hashed names of a segment with this key can be compared.
    fn can_compare(&self, key: Option<&str>) -> bool {
        let is_whole = |name: &Pattern| name.exact().is_some();
        self.bucket.as_ref().is_some_and(is_whole)
            && self.object.as_ref().is_none_or(is_whole)
            && self.hashed_with.iter().any(|own| Some(own.id()) == key)
    }

    fn matches_object(&self, entry: &Entry<'_>) -> bool {
        if self.bucket.is_none() && self.object.is_none() {
            return true;
        }
        entry.objects().any(|object| self.is_object(&object) || self.is_hash_of(&object))
    }

    fn is_object(&self, object: &Object<'_>) -> bool {
        let is = |own: &Option<Pattern>, value: Option<&str>| {
            own.as_ref().is_none_or(|own| value.is_some_and(|value| own.matches(value)))
        };
        is(&self.bucket, object.bucket.as_deref()) && is(&self.object, object.object.as_deref())
    }

    /// Only whole names can be compared; the hash of an object is that of its bucket as well.
    fn is_hash_of(&self, object: &Object<'_>) -> bool {
        let Some(bucket) = self.bucket.as_ref().and_then(Pattern::exact) else { return false };
        let name = match &self.object {
            None => None,
            Some(pattern) => match pattern.exact() {
                Some(name) => Some(format!("{bucket}/{name}")),
                None => return false,
            },
        };
        self.hashed_with.iter().any(|key| match &name {
            None => object.bucket_hash.as_deref() == Some(&*key.hash_name(bucket.as_bytes())),
            Some(name) => object.object_hash.as_deref() == Some(&*key.hash_name(name.as_bytes())),
        })
    }
}

/// The inputs in the order of their segments, open if a server may rename them, with those that were
/// closed meanwhile. What cannot be read as a segment comes last.
pub fn in_order(inputs: &[Input]) -> Vec<Input> {
    let mut inputs = hold(inputs);
    inputs.sort_by_cached_key(|input| segment_of(input).unwrap_or(u64::MAX));
    inputs
}

/// Hands out the lines of an input that are looked for; what is no line of a chain by its form is
/// left out. Nothing is checked. Ends when `found` says so. Returns what could not be compared.
///
/// # Errors
/// As of the system, and of `found`.
pub fn search<E: From<io::Error>>(
    input: &Input,
    search: &Search,
    mut found: impl FnMut(&str, &Entry<'_>) -> Result<(), E>,
) -> Result<Missed, E> {
    let mut lines = input.lines()?;
    let mut missed = Missed::default();
    let mut can_compare = false;
    while let Some(read) = lines.next()? {
        let (Read1::Line(line) | Read1::Partial(line)) = read;
        let parsed = Sealed::of_line(line).and_then(|_| {
            let text = std::str::from_utf8(line).ok()?;
            Some((text, serde_json::from_str::<Entry<'_>>(text).ok()?))
        });
        let Some((text, entry)) = parsed else {
            // The server may be writing the last line.
            missed.unsealed += u64::from(matches!(read, Read1::Line([_, ..])));
            continue;
        };
        if entry.kind == FIRST {
            let first = First::parse(line);
            can_compare = first.is_some_and(|(first, _)| search.can_compare(first.key.as_deref()));
        } else if search.matches(&entry) {
            found(text, &entry)?;
        } else if search.matches_but_object(&entry) {
            let is_hashed = entry.objects().any(|object| object.bucket_hash.is_some());
            missed.hashed += u64::from(is_hashed && !can_compare);
            missed.left_out += u64::from(entry.objects_left_out.is_some());
        }
    }
    Ok(missed)
}

#[cfg(test)]
mod tests;
