//! What `docs/config.md` says of each field beside its name.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use kes_api::MAX_NAME_LEN;

use crate::InvalidLevel;
use crate::bounds::{HEADER_VALUE, LIMIT, PROXY_SCHEMES, SOCKET_PATH, WEB_SCHEMES};

/// The row of a field without its name.
pub(crate) struct Facts {
    pub(crate) meaning: &'static str,
    pub(crate) unset: Unset,
    pub(crate) form: Form,
    /// The first version that has the field.
    pub(crate) since: &'static str,
    pub(crate) change: Change,
}

/// What a field is if it is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unset {
    /// A file whose section lacks it is refused.
    Required,
    /// The same, unless this field of the section is there.
    RequiredOr(&'static str),
    /// What the configuration says that was read without it.
    Shown,
    /// A value that means the same, where a configuration does not show its own.
    Value(&'static str),
    /// Something that is no value.
    Words(&'static str),
    /// Nothing.
    Nothing,
}

/// What applies another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// SIGHUP
    Reload,
    /// There is only one value.
    NoOther,
    /// No value is accepted.
    Refused,
}

impl Change {
    pub(crate) const fn cell(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::NoOther => "no other value",
            Self::Refused => "refused",
        }
    }
}

/// How a value is written.
pub(crate) enum Form {
    Address,
    AddressOrSocket,
    Admin,
    CollectorUrl,
    Count,
    /// Hexadecimal ones, so many.
    Digits(usize),
    Duration,
    /// Of at least this.
    DurationFrom(Duration),
    DurationIn(RangeInclusive<Duration>),
    Endpoints,
    HeaderName,
    HeaderValue,
    Identities,
    KeyName,
    KeyStore,
    Level,
    Limit,
    LimitPerSecond,
    Networks,
    Path,
    PathOrToken,
    Patterns,
    ProxyUrl,
    Refused,
    ServerName,
    Share,
    /// In bytes.
    Size(RangeInclusive<u64>),
    Switch,
    Text,
    /// Of so many bytes.
    TextOf(RangeInclusive<usize>),
    VaultPath,
    /// One of these.
    Words(fn() -> Vec<&'static str>),
}

impl Form {
    pub(crate) fn cell(&self) -> String {
        let limit = format!("{} to {}", LIMIT.start(), thousands(*LIMIT.end()));
        match self {
            Self::Address => "host:port".to_owned(),
            Self::AddressOrSocket => {
                format!("host:port, or unix:path of at most {SOCKET_PATH} bytes")
            }
            Self::Admin => "identity, or `disabled`".to_owned(),
            Self::CollectorUrl => format!("URL of {}", either(&WEB_SCHEMES)),
            Self::Count => "count".to_owned(),
            Self::Digits(number) => format!("{number} hexadecimal digits"),
            Self::Duration => "duration".to_owned(),
            Self::DurationFrom(least) => format!("duration, {} or more", duration(*least)),
            Self::DurationIn(range) => {
                format!("duration, {} to {}", duration(*range.start()), duration(*range.end()))
            }
            Self::Endpoints => {
                format!("URL of {} with host and port; several with commas", either(&WEB_SCHEMES))
            }
            Self::HeaderName => "name of a header".to_owned(),
            Self::HeaderValue => format!("text of at most {} bytes", thousands(HEADER_VALUE)),
            Self::Identities => "list of identities".to_owned(),
            Self::KeyName => format!("name of a key, of at most {MAX_NAME_LEN} bytes"),
            Self::KeyStore => "`fs` or `vault` with its fields".to_owned(),
            // The message lists them.
            Self::Level => InvalidLevel.to_string().split_once("; use ").unwrap().1.to_owned(),
            Self::Limit => format!("{limit}, or `unlimited`"),
            Self::LimitPerSecond => format!("{limit} per second, or `unlimited`"),
            Self::Networks => "list of addresses or ranges".to_owned(),
            Self::Path => "path".to_owned(),
            Self::PathOrToken => "path with a `/`, or the token itself".to_owned(),
            Self::Patterns => "list of patterns".to_owned(),
            Self::ProxyUrl => format!("URL of {}, or `none`", either(&PROXY_SCHEMES)),
            Self::Refused => "refused".to_owned(),
            Self::ServerName => "DNS name or IP address".to_owned(),
            Self::Share => "number from 0 to 1".to_owned(),
            Self::Size(range) => {
                format!("size, {} to {}", size(*range.start()), size(*range.end()))
            }
            Self::Switch => "switch".to_owned(),
            Self::Text => "text".to_owned(),
            Self::TextOf(range) => {
                let [least, most] = [range.start(), range.end()].map(|end| thousands(*end));
                format!("text of {least} to {most} bytes")
            }
            Self::VaultPath => "path in Vault, without `.` and `..`".to_owned(),
            Self::Words(words) => words().join(", "),
        }
    }

    /// A value that a configuration shows, as it would be written.
    pub(crate) fn written(&self, shown: &str) -> String {
        match self {
            Self::Duration | Self::DurationFrom(_) | Self::DurationIn(_) => {
                duration(crate::parse_duration(shown).unwrap())
            }
            Self::Size(_) => size(shown.parse().unwrap()),
            Self::Switch if shown == "true" => "on".to_owned(),
            Self::Switch => "off".to_owned(),
            Self::Level if shown == crate::Level::INFO.to_string() => "on".to_owned(),
            _ => shown.to_owned(),
        }
    }
}

/// The words of some values.
pub(crate) fn words<T, const N: usize>(
    all: [T; N],
    word: fn(T) -> &'static str,
) -> Vec<&'static str> {
    all.map(word).to_vec()
}

/// In the largest unit that has a whole number.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        _ if time.subsec_nanos() > 0 => format!("{}ms", time.as_millis()),
        1.. if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        1.. if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

/// The same.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |(_, bits): &(&str, u32)| bytes.trailing_zeros() >= *bits && bytes > 0;
    match units.into_iter().find(fits) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => bytes.to_string(),
    }
}

/// `1,000,000`
fn thousands(number: impl fmt::Display + Copy) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `a, b or c`
fn either(words: &[&str]) -> String {
    let (last, others) = words.split_last().unwrap();
    format!("{} or {last}", others.join(", "))
}
