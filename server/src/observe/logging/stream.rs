//! The streams that clients follow a log with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// How many lines may wait for one follower.
const QUEUE: usize = 1024;

/// How many clients may follow one log. For each, a line costs a reference-counted copy.
const MAX_FOLLOWERS: usize = 64;

/// A log that can be followed.
pub(crate) struct Stream {
    followers: Mutex<Vec<Sender<Bytes>>>,
    /// The length of the list, so that a line without followers costs one load.
    count: AtomicUsize,
    dropped: IntCounter,
}

/// The lines for one follower. They end when the server shuts down.
pub(crate) struct Lines(Receiver<Bytes>);

impl Stream {
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self { followers: Mutex::default(), count: AtomicUsize::new(0), dropped }
    }

    /// Adds a follower; `None` if there are too many.
    pub(crate) fn follow(&self) -> Option<Lines> {
        let mut followers = self.followers.lock();
        followers.retain(|follower| !follower.is_closed());
        if followers.len() >= MAX_FOLLOWERS {
            return None;
        }
        let (sender, lines) = mpsc::channel(QUEUE);
        followers.push(sender);
        self.count.store(followers.len(), Ordering::Relaxed);
        Some(Lines(lines))
    }

    /// Whether there is a follower.
    pub(super) fn is_followed(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Sends a line to all followers. A follower with a full queue loses it.
    pub(super) fn send(&self, line: &Bytes) {
        let mut followers = self.followers.lock();
        followers.retain(|follower| match follower.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.dropped.inc();
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        self.count.store(followers.len(), Ordering::Relaxed);
    }

    /// Ends the stream of all followers.
    pub(super) fn close(&self) {
        self.followers.lock().clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Lines {
    /// The next line; `None` when the server ends the stream.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_follower_loses_lines_and_stops_nobody() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let stream = Stream::new(dropped.clone());
        let mut slow = stream.follow().unwrap();
        let mut quick = stream.follow().unwrap();
        for n in 0..QUEUE + 10 {
            stream.send(&Bytes::from(n.to_string()));
            assert_eq!(quick.0.try_recv().unwrap(), n.to_string());
        }
        assert_eq!(dropped.get(), 10);
        assert_eq!(slow.0.try_recv().unwrap(), "0");
    }

    #[test]
    fn who_leaves_makes_room() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let followers: Vec<_> = (0..MAX_FOLLOWERS).map(|_| stream.follow().unwrap()).collect();
        assert!(stream.follow().is_none());
        drop(followers);
        assert!(stream.follow().is_some());
    }
}
