//! Notifications for systemd (sd_notify(3)). Without systemd they do nothing.

use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState;

/// The server serves, after its start or a reload.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A reload begins. systemd compares the time with that of its own request.
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros)]);
}

/// The server shuts down.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
