use std::time::{Duration, Instant};

/// Pause between two looks: short beside every bound that a test asserts.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `condition` holds and returns how long that took.
///
/// # Panics
/// If it does not hold within `limit`; the text says `what` was waited for.
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(PAUSE);
    }
    start.elapsed()
}

/// As [`eventually`], for a condition that has to be awaited.
///
/// # Panics
/// If it does not hold within `limit`; the text says `what` was waited for.
pub async fn eventually_async(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
    start.elapsed()
}
