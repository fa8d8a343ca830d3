//! The remaining life of a certificate.

use std::time::{Duration, SystemTime};

use crate::Validity;

/// A certificate that expires within this time should be renewed; it is long enough for a person to
/// do that. It is one day less than 30, so that a certificate that was just made for 30 days, as by
/// `kes identity new`, causes no warning on its first day.
const SOON: Duration = Duration::from_secs(29 * 24 * 60 * 60);

/// Whether a certificate is valid, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is not valid yet.
    NotYet,
    /// It is valid, for 30 days or more.
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
            Ok(left) if left <= SOON => Life::Soon(left),
            Ok(_) => Life::Long,
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
        assert_eq!(life(now, now), Life::Soon(Duration::ZERO));
        assert_eq!(life(now - DAY * 2, now - DAY), Life::Over);
        assert_eq!(life(now + DAY, now + DAY * 2), Life::NotYet);
        // One that never holds.
        assert_eq!(life(now + DAY, now - DAY), Life::Over);
    }
}
