//! Writes lines to a file descriptor in a thread of its own, so that a slow reader delays nothing
//! else. Lines that cannot be written are counted, and logged where that is possible.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::rate_limit::RateLimit;

/// How many lines may wait to be written: some 4 MiB at 250 bytes each.
const QUEUE: usize = 16 * 1024;

/// How often lost lines are logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How long the process waits for lines to be written before it ends.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A queue of lines and the thread that writes them.
pub(super) struct Writer {
    queue: SyncSender<Item>,
    /// The name of the target, for messages.
    what: &'static str,
    dropped: IntCounter,
    /// For messages about a full queue.
    losses_logged: Mutex<RateLimit>,
    /// Whether the target is the journal, which takes a priority at the start of a line.
    journal: bool,
}

enum Item {
    Line(String),
    /// Answered once all earlier lines are written.
    Flush(SyncSender<()>),
}

impl Writer {
    pub(super) fn stderr(dropped: IntCounter) -> Self {
        Self::start("standard error", "log-stderr", io::stderr(), is_journal(io::stderr()), dropped)
    }

    pub(super) fn stdout(dropped: IntCounter) -> Self {
        Self::start(
            "standard output",
            "log-stdout",
            io::stdout(),
            is_journal(io::stdout()),
            dropped,
        )
    }

    fn start(
        what: &'static str,
        name: &str,
        target: impl Write + Send + 'static,
        journal: bool,
        dropped: IntCounter,
    ) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn({
                let target = Target { inner: target, is_broken: false };
                let losses = Losses::new(what, dropped.clone());
                move || write(lines, target, losses)
            })
            .expect("the system starts a thread");
        Self {
            queue,
            what,
            dropped,
            losses_logged: Mutex::new(RateLimit::new(LOG_INTERVAL)),
            journal,
        }
    }

    /// Queues a line. `priority` is that of syslog (RFC 5424, 6.2.1).
    pub(super) fn line(&self, priority: u8, line: String) {
        let line = if self.journal { format!("<{priority}>{line}") } else { line };
        match self.queue.try_send(Item::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.inc();
                // The lock is released first: this message may come here itself.
                let allowed = self.losses_logged.lock().allows();
                if allowed {
                    let what = self.what;
                    tracing::error!("log lines are lost: the reader of {what} is too slow");
                }
            }
        }
    }

    /// Waits until all queued lines are written.
    pub(super) fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
fn write(lines: Receiver<Item>, mut target: Target<impl Write>, mut losses: Losses) {
    for item in lines.iter() {
        match item {
            Item::Line(line) => match target.write(&line) {
                Ok(()) => losses.end(),
                Err(error) => losses.add(error),
            },
            Item::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// The target that lines are written to.
struct Target<W> {
    inner: W,
    /// Whether the last line was written only in part.
    is_broken: bool,
}

impl<W: Write> Target<W> {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.is_broken {
            // Ends the partial line, which would become the start of this one.
            self.inner.write_all(b"\n")?;
        }
        self.is_broken = true;
        self.inner.write_all(line.as_bytes()).and_then(|()| self.inner.flush())?;
        self.is_broken = false;
        Ok(())
    }
}

/// Lines that could not be written.
struct Losses {
    /// The name of their target.
    what: &'static str,
    dropped: IntCounter,
    /// Lost lines that were not logged yet.
    unreported: u64,
    logged: RateLimit,
}

impl Losses {
    fn new(what: &'static str, dropped: IntCounter) -> Self {
        Self { what, dropped, unreported: 0, logged: RateLimit::new(LOG_INTERVAL) }
    }

    /// Counts a lost line, and logs it. If the target is standard error, the clients that follow
    /// `/v1/log/error` can still read that.
    #[expect(clippy::needless_pass_by_value, reason = "as the system gives it")]
    fn add(&mut self, error: io::Error) {
        self.dropped.inc();
        self.unreported += 1;
        if self.logged.allows() {
            let (what, unreported) = (self.what, self.unreported);
            tracing::error!(
                "log lines are lost, {unreported} so far: {what} cannot be written: {error}"
            );
            self.unreported = 0;
        }
    }

    /// Logs the losses once a line was written again.
    fn end(&mut self) {
        if self.unreported > 0 {
            let (what, unreported) = (self.what, self.unreported);
            tracing::error!("{what} can be written again; {unreported} more log lines were lost");
            self.unreported = 0;
        }
    }
}

/// Whether a stream is the one that systemd connected to the journal (systemd.exec(5),
/// `JOURNAL_STREAM`). Processes whose output goes elsewhere inherit the variable as well.
fn is_journal(stream: impl std::os::fd::AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, and then fails.
    #[derive(Default)]
    struct Disk {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= len;
            self.bytes.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted_and_do_not_spoil_those_after_them() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let mut losses = Losses::new("a disk", dropped.clone());
        let mut target = Target { inner: Disk { room: 10, ..Disk::default() }, is_broken: false };
        let mut line = |target: &mut Target<Disk>, text: &str| match target.write(text) {
            Ok(()) => losses.end(),
            Err(error) => losses.add(error),
        };
        line(&mut target, "first\n");
        line(&mut target, "second\n");
        line(&mut target, "third\n");
        assert_eq!(dropped.get(), 2);
        target.inner.room = 100;
        line(&mut target, "fourth\n");
        line(&mut target, "fifth\n");
        assert_eq!(String::from_utf8(target.inner.bytes).unwrap(), "first\nseco\nfourth\nfifth\n");
        assert_eq!(dropped.get(), 2);
    }
}
