//! A queue of lines to a slow reader, bounded in lines and in bytes. What does not fit is counted,
//! and the next item that fits says how many were left out before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// How much may wait in a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) lines: usize,
    pub(super) bytes: usize,
}

/// The end where lines come in.
pub(super) struct Sender<T> {
    items: mpsc::Sender<Queued<T>>,
    bytes: usize,
    state: Arc<State>,
}

/// The end where they go out.
pub(super) struct Receiver<T> {
    items: mpsc::Receiver<Queued<T>>,
    state: Arc<State>,
}

/// What both ends share.
#[derive(Default)]
struct State {
    /// The bytes of all items that wait.
    held: AtomicUsize,
    /// How many did not fit since the last one that did.
    left_out: AtomicU64,
}

/// An item in the queue.
pub(super) struct Queued<T> {
    pub(super) item: T,
    bytes: usize,
    /// How many items were left out right before this one.
    pub(super) left_out: u64,
}

/// Why an item was not queued, and the item.
#[derive(Debug)]
pub(super) enum Refused<T> {
    /// Too much waits.
    Full(T),
    /// Nobody reads.
    Closed(T),
}

/// Makes a queue.
pub(super) fn queue<T>(limits: Limits) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(limits.lines);
    let state = Arc::new(State::default());
    let sender = Sender { items: sender, bytes: limits.bytes, state: Arc::clone(&state) };
    (sender, Receiver { items: receiver, state })
}

impl<T> Sender<T> {
    /// Queues an item that holds so many bytes. One that does not fit is counted as left out.
    pub(super) fn send(&self, item: T, bytes: usize) -> Result<(), Refused<T>> {
        let sent = self.try_send(item, bytes);
        if matches!(sent, Err(Refused::Full(_))) {
            self.state.left_out.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// The same without counting.
    pub(super) fn try_send(&self, item: T, bytes: usize) -> Result<(), Refused<T>> {
        let state = &self.state;
        let place = match self.items.try_reserve() {
            Ok(place) => place,
            Err(TrySendError::Full(())) => return Err(Refused::Full(item)),
            Err(TrySendError::Closed(())) => return Err(Refused::Closed(item)),
        };
        if state.held.fetch_add(bytes, Ordering::Relaxed) + bytes > self.bytes {
            state.held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Refused::Full(item));
        }
        place.send(Queued { item, bytes, left_out: state.take_left_out() });
        Ok(())
    }

    /// The bytes of all items that wait.
    pub(super) fn held(&self) -> usize {
        self.state.held.load(Ordering::Relaxed)
    }

    /// Whether nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.items.is_closed()
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` once there is no sender and the queue is empty.
    pub(super) async fn recv(&mut self) -> Option<Queued<T>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The same, to be polled.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Queued<T>>> {
        let queued = ready!(self.items.poll_recv(cx));
        if let Some(queued) = &queued {
            self.state.held.fetch_sub(queued.bytes, Ordering::Relaxed);
        }
        Poll::Ready(queued)
    }

    /// The next item, if one waits.
    pub(super) fn try_recv(&mut self) -> Option<Queued<T>> {
        let queued = self.items.try_recv().ok()?;
        self.state.held.fetch_sub(queued.bytes, Ordering::Relaxed);
        Some(queued)
    }

    /// How many items were left out, if the queue is empty, so that no item will say so.
    pub(super) fn left_out_at_end(&self) -> u64 {
        if self.items.is_empty() { self.state.take_left_out() } else { 0 }
    }
}

impl State {
    fn take_left_out(&self) -> u64 {
        // In almost all cases none.
        match self.left_out.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.left_out.swap(0, Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(receiver: &mut Receiver<u32>) -> (u32, u64) {
        let queued = receiver.recv().await.unwrap();
        (queued.item, queued.left_out)
    }

    #[tokio::test]
    async fn lines_and_bytes_are_bounded_and_the_gap_is_told_where_it_is() {
        let (sender, mut receiver) = queue(Limits { lines: 3, bytes: 100 });
        sender.send(0, 50).unwrap();
        assert!(matches!(sender.send(1, 51), Err(Refused::Full(1))), "too many bytes");
        sender.send(2, 50).unwrap();
        sender.send(3, 0).unwrap();
        assert!(matches!(sender.send(4, 0), Err(Refused::Full(4))), "too many lines");
        assert_eq!(sender.held(), 100);
        assert_eq!(next(&mut receiver).await, (0, 0));
        assert_eq!(sender.held(), 50);
        assert_eq!(next(&mut receiver).await, (2, 1));
        assert_eq!(receiver.left_out_at_end(), 0);
        assert_eq!(next(&mut receiver).await, (3, 0));
        assert_eq!(receiver.left_out_at_end(), 1);
        sender.send(5, 100).expect("what was read makes room");
        assert_eq!(next(&mut receiver).await, (5, 0));
        drop(receiver);
        assert!(sender.is_closed());
        assert!(matches!(sender.send(6, 0), Err(Refused::Closed(6))));
    }
}
