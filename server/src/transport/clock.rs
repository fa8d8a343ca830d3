//! Times as numbers, for what many threads keep in atomics.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds since [`epoch`]; 0 is never a time.
pub(super) type Millis = u64;

fn epoch() -> Instant {
    // One millisecond in the past, so that `now` is never 0.
    static EPOCH: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));
    *EPOCH
}

/// A time in the form that the runtime's timers take.
pub(super) fn instant(at: Millis) -> Instant {
    epoch() + Duration::from_millis(at)
}

pub(super) fn now() -> Millis {
    millis(epoch().elapsed())
}

pub(super) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
