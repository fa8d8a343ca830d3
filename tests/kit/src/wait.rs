use std::time::{Duration, Instant};

/// The first pause between two looks: short beside every bound that a test asserts.
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest one. A look may cost a request or a process, which many tests pay at once.
const LONGEST: Duration = Duration::from_millis(60);

/// The pause after this much waiting: a small part of it.
fn pause(waited: Duration) -> Duration {
    (waited / 16).clamp(SHORTEST, LONGEST)
}

/// Waits until `condition` holds and returns how long that took.
///
/// # Panics
/// If it does not hold within `limit`; the text says `what` was waited for.
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(pause(start.elapsed()));
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
        tokio::time::sleep(pause(start.elapsed())).await;
    }
    start.elapsed()
}
