//! Logs that a certificate of the server expires: when it is loaded, daily in its last 30 days, and
//! when it has expired.

use std::time::{Duration, SystemTime};

use kes_api::Timestamp;
use kes_tls::{Life, Validity};
use parking_lot::Mutex;

/// How often the same warning is repeated.
const REPEAT_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the clock is read at least: it may jump.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate of the server.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// Its name in the log: the field of the configuration and the file.
    pub(crate) name: String,
    pub(crate) validity: Validity,
}

/// What was logged, and when.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    logged: Mutex<Vec<(Validity, &'static str, SystemTime)>>,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Warning {
    is_error: bool,
    text: String,
}

impl Expiry {
    /// Logs what is due for these certificates; with `anew`, also what was logged before.
    pub(crate) fn check(&self, certificates: &[Certificate], now: SystemTime, anew: bool) {
        for Warning { is_error, text } in self.lines(certificates, now, anew) {
            if is_error {
                tracing::error!(detail = %text);
            } else {
                tracing::warn!(detail = %text);
            }
        }
    }

    fn lines(&self, certificates: &[Certificate], now: SystemTime, anew: bool) -> Vec<Warning> {
        let mut logged = self.logged.lock();
        let before = std::mem::take(&mut *logged);
        let mut lines = Vec::new();
        for Certificate { name, validity } in certificates {
            let Some((state, is_error, what)) = assess(*validity, now) else { continue };
            let last = before.iter().find(|(known, of, _)| known == validity && *of == state);
            let since = last.map(|(.., at)| now.duration_since(*at).unwrap_or_default());
            match last {
                Some(last) if !anew && since.is_some_and(|since| since < REPEAT_INTERVAL) => {
                    logged.push(*last)
                }
                _ => {
                    logged.push((*validity, state, now));
                    lines.push(Warning { is_error, text: format!("{name}: {what}") });
                }
            }
        }
        lines
    }
}

/// What the log tells of a certificate: its state in a word, whether that is an error, and the
/// text. `None` if there is nothing to warn of.
fn assess(validity: Validity, now: SystemTime) -> Option<(&'static str, bool, String)> {
    let time = |time: SystemTime| Timestamp::from(time).to_table();
    let Validity { from, until } = validity;
    Some(match validity.life(now) {
        Life::Long => return None,
        Life::Over => {
            ("over", true, format!("expired {} UTC; clients will refuse it", time(until)))
        }
        Life::NotYet => (
            "early",
            true,
            format!(
                "not valid before {} UTC, and the clock here says {}; clients will refuse it",
                time(from),
                time(now)
            ),
        ),
        Life::Soon(left) => {
            let left = match left.as_secs() / 3600 {
                0 => format!("{} minutes", left.as_secs() / 60),
                hours @ 1..48 => format!("{hours} hours"),
                hours => format!("{} days", hours / 24),
            };
            ("soon", false, format!("expires in {left}, {} UTC; renew it", time(until)))
        }
    })
}

/// How long to wait before the certificates are checked again.
pub(crate) fn next_check(certificates: &[Certificate], now: SystemTime) -> Duration {
    /// A certificate is still valid in its last moment.
    const PAST: Duration = Duration::from_millis(10);
    certificates
        .iter()
        .flat_map(|certificate| [certificate.validity.from, certificate.validity.until])
        .filter_map(|end| end.duration_since(now).ok())
        .map(|left| left + PAST)
        .min()
        .unwrap_or(CHECK_INTERVAL)
        .min(CHECK_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = REPEAT_INTERVAL;

    fn certificate(until: SystemTime) -> Certificate {
        let validity = Validity { from: until - DAY * 365, until };
        Certificate { name: "tls.cert: a.crt".to_owned(), validity }
    }

    /// Hour by hour over two months: a line a day in the last 29 days, one at the end, and one a
    /// day from then on.
    #[test]
    fn the_end_is_told_daily_before_it_and_after_it() {
        let start = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let end = start + DAY * 40 + Duration::from_secs(60);
        let (expiry, own) = (Expiry::default(), [certificate(end)]);
        let (mut warnings, mut errors, mut first_error) = (0, 0, None);
        for hour in 0..60 * 24 {
            let now = start + Duration::from_secs(hour * 3600);
            for line in expiry.lines(&own, now, false) {
                if line.is_error {
                    errors += 1;
                    first_error.get_or_insert((hour, line.text));
                } else {
                    assert!(line.text.starts_with("tls.cert: a.crt: expires in "), "{line:?}");
                    warnings += 1;
                }
            }
        }
        assert_eq!((warnings, errors), (29, 20));
        let (hour, text) = first_error.unwrap();
        assert_eq!(hour, 40 * 24 + 1, "at the first look after the end");
        let expected = "tls.cert: a.crt: expired 2024-11-13 00:01:00 UTC; clients will refuse it";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_read_anew_is_told_anew_and_what_is_well_is_not_told() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let expiry = Expiry::default();
        let soon = [certificate(now + DAY)];
        for anew in [true, true, false] {
            assert_eq!(expiry.lines(&soon, now, anew).len(), usize::from(anew));
        }
        assert!(expiry.lines(&[certificate(now + DAY * 31)], now, true).is_empty());
        let early = Certificate {
            validity: Validity { from: now + DAY, until: now + DAY * 90 },
            ..certificate(now)
        };
        let told = expiry.lines(&[early], now, true);
        assert!(told[0].is_error && told[0].text.contains("not valid before"), "{told:?}");
    }

    #[test]
    fn the_next_look_is_at_the_end_or_soon() {
        let now = SystemTime::UNIX_EPOCH + DAY * 20_000;
        assert_eq!(next_check(&[certificate(now + DAY)], now), CHECK_INTERVAL);
        let left = next_check(&[certificate(now + Duration::from_secs(7))], now);
        assert_eq!(left.as_secs(), 7);
        assert_eq!(next_check(&[certificate(now - DAY)], now), CHECK_INTERVAL);
    }
}
