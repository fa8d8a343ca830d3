//! Notifications for the service manager (sd_notify(3)). Without one they do nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use super::blocking::blocking;
use super::error::Error;
use super::state::Running;
use crate::service::reloads::one_line;

/// How often the status is compared with what the service manager was told. Making it reads what
/// is in memory.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// How many heartbeats fit into the time after which the service manager takes the server for dead:
/// one may be late on a busy machine.
const HEARTBEATS: u32 = 3;

/// The start begins. What it reads may hang, such as a file on a network mount.
pub(super) fn starting() {
    notify(&[NotifyState::Status("starting: reads its files and opens the key store")]);
}

/// The start failed.
pub(super) fn failed(error: &Error) {
    notify(&[NotifyState::Status(&one_line(&format!("did not start: {error}")))]);
}

/// The server serves, after its start or a reload.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. systemd compares the time with that of its own request.
pub(super) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros)]);
}

/// Another process has taken over: from now on it is the one of the service.
pub(super) fn handed_over(to: u32) {
    notify(&[NotifyState::MainPid(to)]);
}

/// The server shuts down.
pub(super) fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Tells the service manager the status whenever it changes. Never returns.
pub(super) async fn follow_status(running: Arc<Running>) -> Infallible {
    if !has_manager() {
        return std::future::pending().await;
    }
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = String::new();
    loop {
        ticks.tick().await;
        let status = running.status_line();
        if status != told {
            let text = status.clone();
            blocking(move || notify(&[NotifyState::Status(&text)])).await;
            told = status;
        }
    }
}

/// Sends heartbeats if the service manager expects them. Never returns.
pub(super) async fn send_heartbeats(running: Arc<Running>) -> Infallible {
    let limit = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero());
    let (Some(limit), true) = (limit, has_manager()) else {
        return std::future::pending().await;
    };
    let is_alive = || running.listening.answers();
    heartbeats(limit / HEARTBEATS, is_alive, || notify(&[NotifyState::Watchdog])).await
}

/// Beats once in each interval in which the server answers. Where it does not, this waits for it:
/// the service manager then misses the heartbeats and restarts the server.
async fn heartbeats<A: Future<Output = ()>>(
    interval: Duration,
    is_alive: impl Fn() -> A,
    beat: impl Fn() + Clone + Send + 'static,
) -> Infallible {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        is_alive().await;
        blocking(beat.clone()).await;
    }
}

fn has_manager() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_has_no_heartbeat() {
        let beats = Arc::new(AtomicUsize::new(0));
        let (answers, is_answering) = tokio::sync::watch::channel(true);
        let is_alive = || {
            let mut is_answering = is_answering.clone();
            async move {
                let _ = is_answering.wait_for(|answers| *answers).await;
            }
        };
        let counted = Arc::clone(&beats);
        let beat = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let second = Duration::from_secs(1);
        let test = async {
            let count = || beats.load(Ordering::SeqCst);
            tokio::time::sleep(second * 10).await;
            assert!(count() >= 9, "{} heartbeats in 10 s", count());
            answers.send_replace(false);
            // One may be on its way.
            tokio::time::sleep(second).await;
            let before = count();
            tokio::time::sleep(second * 100).await;
            assert_eq!(count(), before);
            answers.send_replace(true);
            tokio::time::sleep(second * 10).await;
            assert!(count() > before);
        };
        tokio::select! {
            never = heartbeats(second, is_alive, beat) => match never {},
            () = test => {}
        }
    }
}
