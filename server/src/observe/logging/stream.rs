//! The streams that clients follow a log with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use kes_api::Identity;
use parking_lot::Mutex;
use prometheus::IntCounter;

use super::queue::{Limits, Receiver, Refused, Sender, queue};

/// How much may wait for one follower: an audit line has some 250 bytes. With all followers of both
/// logs these are 32 MiB.
const QUEUE: Limits = Limits { lines: 1024, bytes: 256 * 1024 };

/// How many clients may follow one log. For each, a line costs a reference-counted copy.
const MAX_FOLLOWERS: usize = 64;

/// How many of them may be strangers, who follow a log only if its API has `skip_auth`.
const STRANGER_FOLLOWERS: usize = 8;

/// How many of them may be others than the admin, so that there is always room for the admin.
const OTHER_FOLLOWERS: usize = 56;

/// Whose place among the followers a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stranger,
    Known,
    Admin,
}

/// What a client that follows a log is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// All of each line.
    Whole,
    /// What others than the admin may know.
    Public,
}

/// A client that follows a log. Whether it may is decided when it begins to, and anew after each
/// change of what the decision depends on.
pub(crate) trait Reader: Send + Sync {
    /// Its identity, if it has one.
    fn identity(&self) -> Option<Identity>;

    /// The identity of the TLS proxy that it comes through, if any.
    fn proxy(&self) -> Option<Identity>;

    /// Whether its connection is no longer accepted.
    fn has_lapsed(&self) -> bool;
}

/// A log that can be followed.
pub(crate) struct Stream {
    followers: Mutex<Vec<Follower>>,
    /// The length of the list, so that a line without followers costs one load.
    count: AtomicUsize,
    dropped: IntCounter,
}

struct Follower {
    reader: Arc<dyn Reader>,
    place: Place,
    reads: Reads,
    lines: Sender<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
}

/// The lines for one follower. They end when the server shuts down, or when the follower may no
/// longer read them.
pub(crate) struct Lines {
    lines: Receiver<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Begins the time in which a follower has to take a line. The time ends when the result is dropped.
type BeginTime = Box<dyn Fn() -> Box<dyn Send> + Send>;

/// The lines that wait for a follower. The follower may take its time with all of them, but has to
/// take one from time to time: its connection, and its place among the followers, are of use to
/// others.
#[derive(Default)]
struct Waiting {
    count: usize,
    begin_time: Option<BeginTime>,
    /// The time for the next line, while one waits.
    time: Option<Box<dyn Send>>,
}

impl Stream {
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self { followers: Mutex::default(), count: AtomicUsize::new(0), dropped }
    }

    /// Adds a follower; `None` if there are too many.
    pub(crate) fn follow(&self, reader: Arc<dyn Reader>, place: Place) -> Option<Lines> {
        let mut followers = self.followers.lock();
        followers.retain(|follower| !follower.lines.is_closed());
        let count = |place| followers.iter().filter(|follower| follower.place == place).count();
        let strangers = count(Place::Stranger);
        let others = strangers + count(Place::Known);
        let is_full = match place {
            Place::Admin => false,
            Place::Known => others >= OTHER_FOLLOWERS,
            Place::Stranger => strangers >= STRANGER_FOLLOWERS || others >= OTHER_FOLLOWERS,
        };
        if is_full || followers.len() >= MAX_FOLLOWERS {
            return None;
        }
        let (sender, lines) = queue(QUEUE);
        let waiting = Arc::<Mutex<Waiting>>::default();
        let reads = if place == Place::Admin { Reads::Whole } else { Reads::Public };
        let follower =
            Follower { reader, place, reads, lines: sender, waiting: Arc::clone(&waiting) };
        followers.push(follower);
        self.count.store(followers.len(), Ordering::Relaxed);
        Some(Lines { lines, waiting })
    }

    /// Whether there is a follower.
    pub(super) fn is_followed(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Sends a line to all followers. A follower with a full queue loses it.
    pub(super) fn send(&self, line: &Bytes) {
        self.send_apart(line, Some(line));
    }

    /// Sends a line to those who may read all of it, and what is public of it to the others.
    pub(super) fn send_apart(&self, whole: &Bytes, public: Option<&Bytes>) {
        let mut followers = self.followers.lock();
        followers.retain(|follower| {
            let line = match follower.reads {
                Reads::Whole => Some(whole),
                Reads::Public => public,
            };
            match line.map_or(Ok(()), |line| follower.send(line)) {
                Ok(()) => true,
                Err(Refused::Full(_)) => {
                    self.dropped.inc();
                    true
                }
                Err(Refused::Closed(_)) => false,
            }
        });
        self.count.store(followers.len(), Ordering::Relaxed);
    }

    /// Decides anew what each follower may read, and ends the stream of those that may no longer read.
    /// What was sent before still arrives.
    pub(crate) fn readmit(&self, decide: impl Fn(&dyn Reader) -> Option<Reads>) {
        let has_ended = |follower: &mut Follower| match decide(&*follower.reader) {
            Some(reads) => {
                follower.reads = reads;
                false
            }
            None => true,
        };
        // What ends is dropped after the lock was released: dropping it wakes a task.
        let ended: Vec<_> = {
            let mut followers = self.followers.lock();
            let ended = followers.extract_if(.., has_ended).collect();
            self.count.store(followers.len(), Ordering::Relaxed);
            ended
        };
        for Follower { reader, .. } in &ended {
            let identity = reader.identity().map(|identity| identity.to_string());
            tracing::info!(
                req.identity = %identity.unwrap_or_default(),
                "the stream of a log is ended: its reader may no longer follow it"
            );
        }
    }

    /// Ends the stream of all followers.
    pub(super) fn close(&self) {
        self.followers.lock().clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Follower {
    fn send(&self, line: &Bytes) -> Result<(), Refused<Bytes>> {
        // Held while the line is queued: it may be taken as soon as it is.
        let mut waiting = self.waiting.lock();
        self.lines.send(line.clone(), line.len())?;
        waiting.count += 1;
        if waiting.time.is_none() {
            waiting.renew_time();
        }
        Ok(())
    }
}

impl Waiting {
    /// A line was taken, or the first one waits: the time for the next one begins.
    fn renew_time(&mut self) {
        let begin_time = self.begin_time.as_ref().filter(|_| self.count > 0);
        self.time = begin_time.map(|begin_time| begin_time());
    }
}

impl Lines {
    /// The next line; `None` when the server ends the stream.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let queued = ready!(self.lines.poll_recv(cx));
        let mut waiting = self.waiting.lock();
        waiting.count = waiting.count.saturating_sub(1);
        waiting.renew_time();
        Poll::Ready(queued.map(|queued| queued.item))
    }

    /// Has the follower take a line in time, whenever lines wait. `begin_time` begins that time.
    pub(crate) fn limit_wait<T: Send + 'static>(
        &mut self,
        begin_time: impl Fn() -> T + Send + 'static,
    ) {
        let mut waiting = self.waiting.lock();
        waiting.begin_time = Some(Box::new(move || Box::new(begin_time())));
        waiting.renew_time();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        *self.waiting.lock() = Waiting::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Somebody(u8);

    impl Reader for Somebody {
        fn identity(&self) -> Option<Identity> {
            Some(Identity::of_public_key(&[self.0]))
        }

        fn proxy(&self) -> Option<Identity> {
            None
        }

        fn has_lapsed(&self) -> bool {
            false
        }
    }

    fn reader(number: u8) -> Arc<dyn Reader> {
        Arc::new(Somebody(number))
    }

    async fn next(lines: &mut Lines) -> Bytes {
        std::future::poll_fn(|cx| lines.poll_next(cx)).await.unwrap()
    }

    #[tokio::test]
    async fn a_slow_follower_loses_lines_and_stops_nobody() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let stream = Stream::new(dropped.clone());
        let mut slow = stream.follow(reader(0), Place::Admin).unwrap();
        let mut quick = stream.follow(reader(0), Place::Admin).unwrap();
        for n in 0..QUEUE.lines + 10 {
            stream.send(&Bytes::from(n.to_string()));
            assert_eq!(next(&mut quick).await, n.to_string());
        }
        assert_eq!(dropped.get(), 10);
        assert_eq!(next(&mut slow).await, "0");
    }

    #[tokio::test]
    async fn long_lines_fill_the_queue_by_their_bytes() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let stream = Stream::new(dropped.clone());
        let _slow = stream.follow(reader(0), Place::Admin).unwrap();
        let line = Bytes::from(vec![b'x'; 8 * 1024]);
        (0..QUEUE.bytes / line.len() + 10).for_each(|_| stream.send(&line));
        assert_eq!(dropped.get(), 10);
    }

    /// A line that waits has a time, which begins anew whenever one is taken; without a line there is
    /// none, and after the end of the stream neither.
    #[test]
    fn who_takes_no_line_in_time_can_be_told() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let mut lines = stream.follow(reader(0), Place::Admin).unwrap();
        let (times, begun) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        lines.limit_wait({
            let (times, begun) = (Arc::clone(&times), Arc::clone(&begun));
            move || {
                begun.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&times)
            }
        });
        // How many times run, and how many have begun.
        let counts = || (Arc::strong_count(&times) - 2, begun.load(Ordering::Relaxed));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(counts(), (0, 0), "an idle stream has all the time");
        stream.send(&Bytes::from("1"));
        stream.send(&Bytes::from("2"));
        assert_eq!(counts(), (1, 1), "that of the first line");
        assert!(lines.poll_next(&mut cx).is_ready());
        assert_eq!(counts(), (1, 2), "that of the second line");
        assert!(lines.poll_next(&mut cx).is_ready() && lines.poll_next(&mut cx).is_pending());
        assert_eq!(counts(), (0, 2));
        stream.send(&Bytes::from("3"));
        assert_eq!(counts(), (1, 3));
        drop(lines);
        assert_eq!(Arc::strong_count(&times), 1, "nobody waits any more");
        stream.send(&Bytes::from("4"));
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn who_leaves_makes_room() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let followers: Vec<_> =
            (0..MAX_FOLLOWERS).map(|_| stream.follow(reader(0), Place::Admin).unwrap()).collect();
        assert!(stream.follow(reader(0), Place::Admin).is_none());
        drop(followers);
        assert!(stream.follow(reader(0), Place::Admin).is_some());
    }

    #[test]
    fn a_part_of_a_line_is_for_the_admin_alone() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let mut admin = stream.follow(reader(1), Place::Admin).unwrap();
        let mut other = stream.follow(reader(2), Place::Known).unwrap();
        let mut next = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            (admin.poll_next(&mut cx), other.poll_next(&mut cx))
        };
        let line = |text: &'static str| Poll::Ready(Some(Bytes::from(text)));
        let (whole, public) = (Bytes::from("a: b"), Bytes::from("a"));
        stream.send_apart(&whole, Some(&public));
        assert_eq!(next(), (line("a: b"), line("a")));
        stream.send_apart(&whole, None);
        assert_eq!(next(), (line("a: b"), Poll::Pending));
        // Another one is the admin from now on.
        let admin = Some(Identity::of_public_key(&[2]));
        let reads = |is_admin| if is_admin { Reads::Whole } else { Reads::Public };
        stream.readmit(|reader| Some(reads(reader.identity() == admin)));
        stream.send_apart(&whole, Some(&public));
        assert_eq!(next(), (line("a"), line("a: b")));
    }

    /// No line is made if there is none.
    #[test]
    fn it_is_known_whether_there_is_a_follower() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let follow = || stream.follow(reader(0), Place::Admin).unwrap();
        assert!(!stream.is_followed());
        let [one, two] = [follow(), follow()];
        assert!(stream.is_followed());
        drop(one);
        stream.send(&Bytes::from("1"));
        assert!(stream.is_followed());
        drop(two);
        stream.send(&Bytes::from("2"));
        assert!(!stream.is_followed(), "they have gone");
        let _lines = follow();
        stream.readmit(|_| Some(Reads::Whole));
        assert!(stream.is_followed());
        stream.readmit(|_| None);
        assert!(!stream.is_followed(), "it may no longer read");
        let _lines = follow();
        stream.close();
        assert!(!stream.is_followed(), "the stream has ended");
    }

    #[test]
    fn no_class_takes_the_places_of_a_higher_one() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let fill = |place| -> Vec<_> {
            std::iter::from_fn(|| stream.follow(reader(0), place)).take(1000).collect()
        };
        let strangers = fill(Place::Stranger);
        let known = fill(Place::Known);
        let admin = fill(Place::Admin);
        let counts = [strangers.len(), known.len(), admin.len()];
        assert_eq!(counts, [STRANGER_FOLLOWERS, OTHER_FOLLOWERS - STRANGER_FOLLOWERS, 8]);
        drop(strangers);
        assert_eq!(fill(Place::Admin).len(), STRANGER_FOLLOWERS);
    }

    #[test]
    fn who_may_no_longer_read_gets_what_was_sent_and_no_more() {
        let stream = Stream::new(IntCounter::new("dropped", "dropped").unwrap());
        let mut kept = stream.follow(reader(1), Place::Admin).unwrap();
        let mut ended = stream.follow(reader(2), Place::Admin).unwrap();
        let mut next = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            (kept.poll_next(&mut cx), ended.poll_next(&mut cx))
        };
        stream.send(&Bytes::from("before"));
        let may = Identity::of_public_key(&[1]);
        stream.readmit(|reader| (reader.identity() == Some(may)).then_some(Reads::Whole));
        stream.send(&Bytes::from("after"));
        let line = |text: &'static str| Poll::Ready(Some(Bytes::from(text)));
        assert_eq!(next(), (line("before"), line("before")));
        assert_eq!(next(), (line("after"), Poll::Ready(None)));
        assert!(stream.is_followed());
        stream.readmit(|_| None);
        assert!(!stream.is_followed());
        assert_eq!(next().0, Poll::Ready(None));
    }
}
