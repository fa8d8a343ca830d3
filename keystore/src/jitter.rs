use std::time::Duration;

/// A random time between three quarters of a time and the whole, so that many servers do not act at
/// the same moment.
pub(crate) fn jitter(time: Duration) -> Duration {
    let mut byte = [0];
    kes_crypto::random::fill(&mut byte);
    time * 3 / 4 + time / 4 * u32::from(byte[0]) / 255
}
