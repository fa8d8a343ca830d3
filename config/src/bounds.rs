//! What the reader of a field checks: bounds of numbers, sizes and times, and schemes of URLs.
//! `docs/config.md` is made from the same constants.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A limit. No server answers more requests in a second, and nobody who writes more means a limit.
pub(crate) const LIMIT: RangeInclusive<u32> = 1..=1_000_000;

/// The size of an audit file in bytes: from some lines up to what can still be searched, which is
/// done by reading all of it.
pub(crate) const AUDIT_FILE_SIZE: RangeInclusive<u64> = 4 * 1024..=1 << 40;

/// The least age of an audit file: how often one may be closed because of it.
pub(crate) const AUDIT_FILE_AGE: Duration = Duration::from_mins(1);

/// The bytes of the key of a snapshot.
pub(crate) const SNAPSHOT_KEY: RangeInclusive<usize> = 32..=4096;

/// The age of a snapshot: from a time in which somebody can restart a server, up to the longest for
/// which a key is used that nobody may delete meanwhile.
pub(crate) const SNAPSHOT_AGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(30 * 24);

/// The longest path of a unix socket in bytes (unix(7)): one byte of the 108 ends it.
pub(crate) const SOCKET_PATH: usize = 107;

/// The longest value of a header in bytes: a token with many claims has half of that.
pub(crate) const HEADER_VALUE: usize = 8 * 1024;

/// How the URL of a Vault or of a collector begins.
pub(crate) const WEB_SCHEMES: [&str; 2] = ["http", "https"];

/// How the URL of a proxy begins.
pub(crate) const PROXY_SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
