use std::num::NonZeroU64;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Version};
use kes_api::Operation;
use kes_keystore::Kind;

/// A span, with all that is told of it. It owns no memory, so that the memory of a queue of them is
/// bounded by their number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) ids: Ids,
    /// Nanoseconds since 1970.
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) what: What,
}

/// What a span is part of, and what is below what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ids {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// The span above it, of the server or of its client.
    pub(super) parent: Option<NonZeroU64>,
}

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    Served(Served),
    Call(Call),
}

/// A request that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Served {
    pub(super) operation: Operation,
    /// As [`method`] has it.
    pub(super) method: &'static str,
    /// As [`version`] has it.
    pub(super) version: &'static str,
    pub(super) status: u16,
}

/// A call to the key store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) store: Kind,
    pub(super) result: &'static str,
    pub(super) is_failure: bool,
    pub(super) is_shared: bool,
}

/// What stands for a method that is none of those of HTTP.
pub(super) const OTHER: &str = "_OTHER";

/// The name of a method, or [`OTHER`]: a client may send any word.
pub(super) fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] =
        ["PUT", "POST", "GET", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER)
}

/// The number of a version of HTTP.
pub(super) const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// A time in nanoseconds since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
