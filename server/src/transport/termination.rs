//! What ends a connection other than its client: a deadline that passes, the server's shutdown
//! signal, a new connection that needs the slot, or a TLS configuration that no longer accepts the
//! client.
//!
//! A connection checks them after each piece of work, so the check has to be cheap: timer and
//! signals have a waker of their own, and are polled only after it was called.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, watch};
use tokio::time::Sleep;

use super::clock::{self, Millis};
use super::ending::Ending;
use super::idle::IdleTracker;

/// Why a connection is to end.
pub(super) enum Termination {
    /// The connection was idle for too long, or a head took too long.
    DeadlinePassed,
    /// The server shuts down, or has handed over. Returned once.
    Shutdown(Ending),
    /// A new connection needs the slot. Not returned after `Shutdown`.
    Displaced,
    /// The TLS configuration was replaced, as with every reload: the connection ends if its client is
    /// no longer accepted, and otherwise gets the class that its client has now.
    TlsReplaced,
}

/// What the server tells a connection.
pub(super) struct Signals {
    /// Changes when the server shuts down or hands over; `None` once it has.
    pub(super) shutdown: Option<watch::Receiver<Ending>>,
    /// A new connection needs the slot.
    pub(super) displaced: Arc<Notify>,
    /// Changes when the TLS configuration is replaced.
    pub(super) replacements: watch::Receiver<()>,
}

impl Signals {
    /// Waits for the next signal.
    async fn next(mut self) -> (Termination, Self) {
        let signal = {
            let Self { shutdown, displaced, replacements } = &mut self;
            let ended = async {
                let Some(shutdown) = shutdown else { return std::future::pending().await };
                tokio::select! {
                    biased;
                    ending = has_begun(shutdown) => Termination::Shutdown(ending),
                    () = displaced.notified() => Termination::Displaced,
                }
            };
            tokio::select! {
                biased;
                signal = ended => signal,
                Ok(()) = replacements.changed() => Termination::TlsReplaced,
            }
        };
        if matches!(signal, Termination::Shutdown(_)) {
            self.shutdown = None;
        }
        (signal, self)
    }
}

/// Waits until connections are to end.
async fn has_begun(shutdown: &mut watch::Receiver<Ending>) -> Ending {
    // Whoever is gone without a word has stopped.
    shutdown.wait_for(Ending::has_begun).await.map_or(Ending::Stop, |ending| *ending)
}

/// Waits for what ends one connection.
pub(super) struct Terminations {
    tracker: Arc<IdleTracker>,
    wake_up: Arc<WakeUp>,
    waker: Waker,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires.
    fires_at: Millis,
    /// The next signal, and what the one after it comes from.
    signal: Pin<Box<dyn Future<Output = (Termination, Signals)> + Send>>,
}

impl Terminations {
    pub(super) fn of(tracker: &Arc<IdleTracker>, signals: Signals) -> Self {
        // Set, so that the first poll registers the waker with both.
        let wake_up = Arc::new(WakeUp { is_set: AtomicBool::new(true), task: AtomicWaker::new() });
        let fires_at = IdleTracker::next_check();
        Self {
            tracker: Arc::clone(tracker),
            waker: Waker::from(Arc::clone(&wake_up)),
            wake_up,
            timer: Box::pin(tokio::time::sleep_until(clock::instant(fires_at))),
            fires_at,
            signal: Box::pin(signals.next()),
        }
    }

    /// To be polled after the connection, whose progress decides on the deadline.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Termination> {
        self.tracker.update();
        self.wake_up.task.register(cx.waker());
        // The timer is reset only to fire earlier: a busy connection does not touch it.
        let deadline = self.tracker.deadline();
        if deadline.is_some_and(|deadline| deadline < self.fires_at) {
            self.reset_timer(deadline);
        } else if !self.wake_up.is_set.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.wake_up.is_set.store(false, Ordering::Relaxed);
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if let Poll::Ready((signal, signals)) = self.signal.as_mut().poll(&mut cx) {
            self.signal = Box::pin(signals.next());
            self.wake_up.is_set.store(true, Ordering::Relaxed);
            return Poll::Ready(signal);
        }
        loop {
            ready!(self.timer.as_mut().poll(&mut cx));
            match deadline {
                Some(deadline) if deadline <= clock::now() => {
                    // The connection may go on with another deadline.
                    self.reset_timer(None);
                    self.wake_up.is_set.store(true, Ordering::Relaxed);
                    return Poll::Ready(Termination::DeadlinePassed);
                }
                deadline => self.reset_timer(deadline),
            }
        }
    }

    fn reset_timer(&mut self, deadline: Option<Millis>) {
        self.fires_at = deadline.unwrap_or_else(IdleTracker::next_check);
        self.timer.as_mut().reset(clock::instant(self.fires_at));
    }
}

/// The waker of timer and signals: remembers that it was called, and wakes the task of the
/// connection.
struct WakeUp {
    is_set: AtomicBool,
    task: AtomicWaker,
}

impl Wake for WakeUp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        self.task.wake();
    }
}
