//! Points in time as clients read them: RFC 3339, in UTC, down to the nanosecond.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, as seconds since 1970-01-01T00:00:00Z and nanoseconds below a second
/// (`google.protobuf.Timestamp`), in the years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

/// Not a point in time between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a point in time in RFC 3339 between the years 1 and 9999")]
pub struct InvalidTimestamp;

impl Timestamp {
    /// The clock of this machine.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From the fields of a `google.protobuf.Timestamp`.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] if the nanoseconds are a second or more, or the year is out of range.
    pub fn from_unix(seconds: i64, nanos: u32) -> Result<Self, InvalidTimestamp> {
        let second = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| InvalidTimestamp)?;
        let time = second.replace_nanosecond(nanos).map_err(|_| InvalidTimestamp)?;
        if (1..=9999).contains(&time.year()) { Ok(Self(time)) } else { Err(InvalidTimestamp) }
    }

    /// Parses RFC 3339 with any offset and converts it to UTC.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] for any other text, and if the year in UTC is out of range.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        Self::from_unix(time.unix_timestamp(), time.nanosecond())
    }

    /// Seconds since the epoch, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// Nanoseconds below the second.
    pub fn subsecond_nanos(self) -> u32 {
        self.0.nanosecond()
    }

    /// `2026-11-22 02:24:09`: the form in which the command line prints times.
    pub fn to_table(self) -> String {
        let text = self.0.to_offset(time::UtcOffset::UTC);
        let (date, clock) = (text.date(), text.time());
        let (hour, minute, second) = clock.as_hms();
        format!("{date} {hour:02}:{minute:02}:{second:02}")
    }
}

impl From<SystemTime> for Timestamp {
    /// A clock before 1970 or after 9999 counts as 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_secs())
            .ok()
            .and_then(|seconds| Self::from_unix(seconds, since.subsec_nanos()).ok())
            .unwrap_or(Self(OffsetDateTime::UNIX_EPOCH))
    }
}

/// `2026-11-22T02:24:08.896373462Z`, without zeros at the end of the fraction.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.format(&Rfc3339).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_both_ways() {
        for text in
            ["2023-11-14T22:13:20.123456789Z", "2022-05-01T10:00:00Z", "2026-01-02T03:04:05.5Z"]
        {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        }
        let offset = Timestamp::parse("2022-05-01T12:00:00+02:00").unwrap();
        assert_eq!(offset.to_string(), "2022-05-01T10:00:00Z");
        assert_eq!(offset.to_table(), "2022-05-01 10:00:00");
        assert!(Timestamp::parse("yesterday").is_err());
    }

    proptest! {
        #[test]
        fn fields_both_ways(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_u32..1_000_000_000) {
            let time = Timestamp::from_unix(seconds, nanos).unwrap();
            prop_assert_eq!((time.unix_seconds(), time.subsecond_nanos()), (seconds, nanos));
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String, seconds: i64, nanos: u32) {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::from_unix(seconds, nanos);
        }
    }
}
