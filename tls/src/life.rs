//! What is left of a certificate's life.

use std::time::{Duration, SystemTime};

use crate::Validity;

/// A certificate of which no more than this is left is to be renewed: time enough for a person to
/// do it. It is less than 30 days in whole days, so that a certificate that was just made for 30
/// days, as `kes identity new` does, is not told on its first day.
const SOON: Duration = Duration::from_secs(29 * 24 * 60 * 60);

/// Where a certificate stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has not begun.
    NotYet,
    /// It holds, for 30 days or more.
    Long,
    /// It holds, and ends after this time.
    Soon(Duration),
    /// It has ended.
    Over,
}

impl Validity {
    /// Where the certificate stands at a time.
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
