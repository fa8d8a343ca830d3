//! The remaining life of a certificate.

use std::time::{Duration, SystemTime};

use crate::Validity;

/// A certificate that expires within this time should be renewed; it is long enough for a person to
/// do that. It is one day less than 30, so that a certificate that was just made for 30 days, as by
/// `kes identity new`, causes no warning on its first day.
const SOON: Duration = Duration::from_secs(29 * 24 * 60 * 60);

/// Certificates for less than 30 days are renewed by a program. One that was just made causes no
/// warning either: it should be renewed in the last nine tenths of its life.
const SHORT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Whether a certificate is valid, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is not valid yet.
    NotYet,
    /// It is valid, for 30 days or more; or for less, and it was just made.
    Long,
    /// It is valid, and expires after this time.
    Soon(Duration),
    /// It has expired.
    Over,
}

impl Validity {
    /// Whether the certificate is valid at a time, and for how long.
    pub fn life(&self, now: SystemTime) -> Life {
        match self.until.duration_since(now) {
            Err(_) => Life::Over,
            Ok(_) if self.from > now => Life::NotYet,
            Ok(left) if left <= self.soon() => Life::Soon(left),
            Ok(_) => Life::Long,
        }
    }

    /// In how much of its life, at the end, a certificate expires soon.
    fn soon(&self) -> Duration {
        match self.until.duration_since(self.from) {
            Ok(whole) if whole < SHORT => whole / 10 * 9,
            _ => SOON,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_its_life() {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        let life = |from, until| Validity { from, until }.life(now);
        assert_eq!(life(now - DAY, now + DAY * 31), Life::Long);
        assert_eq!(life(now - DAY * 400, now + DAY * 29), Life::Soon(DAY * 29));
        // Just made for 30 days.
        let second = Duration::from_secs(1);
        assert_eq!(life(now - second, now + DAY * 30 - second), Life::Long);
        let hour = DAY / 24;
        assert_eq!(life(now - second * 300, now + hour), Life::Long);
        assert_eq!(life(now, now + DAY * 7), Life::Long);
        assert_eq!(life(now - DAY, now + DAY * 6), Life::Soon(DAY * 6));
        assert_eq!(life(now, now), Life::Soon(Duration::ZERO));
        assert_eq!(life(now - DAY * 2, now - DAY), Life::Over);
        assert_eq!(life(now + DAY, now + DAY * 2), Life::NotYet);
        // One that never holds.
        assert_eq!(life(now + DAY, now - DAY), Life::Over);
    }
}
