//! What is left of a certificate's life.

use std::time::{Duration, SystemTime};

use crate::Validity;

/// A certificate that ends within this time is to be renewed: time enough for a person to do it.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a certificate stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It has not begun.
    NotYet,
    /// It holds, for more than 30 days.
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
        assert_eq!(life(now - DAY * 400, now + DAY * 30), Life::Soon(DAY * 30));
        assert_eq!(life(now, now), Life::Soon(Duration::ZERO));
        assert_eq!(life(now - DAY * 2, now - DAY), Life::Over);
        assert_eq!(life(now + DAY, now + DAY * 2), Life::NotYet);
        // One that never holds.
        assert_eq!(life(now + DAY, now - DAY), Life::Over);
    }
}
