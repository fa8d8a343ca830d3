//! What ends a connection from outside: its time is over, or the server stops.
//!
//! Both are looked at after each piece of work of the connection, so that looking costs next to
//! nothing: the timer and the server's word have a waker of their own, and are asked only when it
//! was called.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::task::AtomicWaker;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::transport::activity::{self, Activity, Millis};

/// Why a connection is to end.
pub(crate) enum Interrupt {
    /// It was idle, or its head due, for too long.
    Expired,
    /// The server stops. Comes once.
    Stopping,
}

/// Waits for interrupts of one connection.
pub(crate) struct Interrupts {
    activity: Arc<Activity>,
    alarm: Arc<Alarm>,
    waker: Waker,
    timer: Pin<Box<Sleep>>,
    /// When the timer goes off.
    wakes_at: Millis,
    /// Until it has come.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Interrupts {
    pub(crate) fn of(activity: &Arc<Activity>, mut stopping: watch::Receiver<bool>) -> Self {
        // Set, so that the first look asks both.
        let alarm = Arc::new(Alarm { rang: AtomicBool::new(true), task: AtomicWaker::new() });
        let wakes_at = activity.look_again_at();
        Self {
            activity: Arc::clone(activity),
            waker: Waker::from(Arc::clone(&alarm)),
            alarm,
            timer: Box::pin(tokio::time::sleep_until(activity::instant(wakes_at))),
            wakes_at,
            stopping: Some(Box::pin(async move {
                let _ = stopping.wait_for(|stopping| *stopping).await;
            })),
        }
    }

    /// To be polled after the connection, so that it sees what that did.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Interrupt> {
        self.activity.settle();
        self.alarm.task.register(cx.waker());
        // The timer is moved only to come earlier: a busy connection does not touch it.
        let deadline = self.activity.deadline();
        if deadline.is_some_and(|deadline| deadline < self.wakes_at) {
            self.wake_at(deadline);
        } else if !self.alarm.rang.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.alarm.rang.store(false, Ordering::Relaxed);
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if let Some(stopping) = &mut self.stopping
            && stopping.as_mut().poll(&mut cx).is_ready()
        {
            self.stopping = None;
            self.alarm.rang.store(true, Ordering::Relaxed);
            return Poll::Ready(Interrupt::Stopping);
        }
        loop {
            ready!(self.timer.as_mut().poll(&mut cx));
            match deadline {
                Some(deadline) if deadline <= activity::now() => {
                    return Poll::Ready(Interrupt::Expired);
                }
                deadline => self.wake_at(deadline),
            }
        }
    }

    fn wake_at(&mut self, deadline: Option<Millis>) {
        self.wakes_at = deadline.unwrap_or_else(|| self.activity.look_again_at());
        self.timer.as_mut().reset(activity::instant(self.wakes_at));
    }
}

/// The waker of timer and server: remembers that it was called, and wakes the connection's task.
struct Alarm {
    rang: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        self.task.wake();
    }
}
