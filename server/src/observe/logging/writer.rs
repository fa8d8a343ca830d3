//! Writes lines to a file descriptor in a thread of its own, so that a slow reader delays nothing
//! else. Lines that cannot be written are counted, told in the error log, and told in the log
//! itself at the place where they are missing.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use kes_api::Timestamp;
use tokio::runtime;

use super::line::Line;
use super::losses::Losses;
use super::queue::{Limits, Queued, Receiver, Refused, Sender, queue};
use super::receipt::{Receipt, Signature, receipt};
use crate::observe::metrics::Metrics;
use crate::observe::process::files_hint;

/// How much may wait to be written: lines of some 250 bytes. Anybody who can connect can cause
/// them.
const LINES: Limits = Limits { lines: 16 * 1024, bytes: 4 * 1024 * 1024 };

/// How much of changes to keys may wait beside that. Only who may change keys can cause them, and
/// each takes a call to the key store: these are some minutes of changes.
const CHANGES: Limits = Limits { lines: 8 * 1024, bytes: 4 * 1024 * 1024 };

/// How long the process waits for lines to be written before it ends.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How often a full queue is tried again before the process ends.
const FLUSH_RETRY: Duration = Duration::from_millis(10);

/// Two queues of lines and the thread that writes them.
pub(super) struct Writer {
    lines: Sender<Entry>,
    changes: Sender<Entry>,
    /// How many entries both queues were given.
    entries: AtomicU64,
    losses: Arc<Losses>,
    /// Whether the target is the journal, which takes a priority at the start of a line.
    journal: bool,
    /// Whether the target is the null device.
    discards: bool,
}

/// An item of either queue.
struct Entry {
    /// Its place among the entries of both queues.
    order: u64,
    item: Item,
}

enum Item {
    /// A line, and what is signed once it is written.
    Line(String, Option<Signature>),
    /// Answered once all earlier lines are written.
    Flush(SyncSender<()>),
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A change of a key.
    Change,
    Other,
}

impl Writer {
    pub(super) fn stderr(json: &Arc<AtomicBool>, metrics: &Metrics) -> Self {
        let losses = Losses::new("standard error", metrics);
        Self::start("log-stderr", io::stderr(), Arc::clone(json), losses)
    }

    pub(super) fn stdout(json: &Arc<AtomicBool>, metrics: &Metrics) -> Self {
        let losses = Losses::new("standard output", metrics);
        Self::start("log-stdout", io::stdout(), Arc::clone(json), losses)
    }

    #[expect(clippy::expect_used, reason = "a server that cannot write its log does not start")]
    fn start(
        name: &str,
        target: impl AsFd + Send + 'static,
        json: Arc<AtomicBool>,
        losses: Losses,
    ) -> Self {
        let (journal, discards) = (is_journal(&target), is_null(&target));
        let losses = Arc::new(losses);
        let (lines, line_items) = queue(LINES);
        let (changes, change_items) = queue(CHANGES);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn({
                let target = Target::new(Unbuffered(target), Gap::new(json, journal));
                let losses = Arc::clone(&losses);
                let runtime = runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime without input and output is made");
                move || runtime.block_on(write(change_items, line_items, target, &losses))
            })
            .expect("the system starts a thread");
        Self { lines, changes, entries: AtomicU64::new(0), losses, journal, discards }
    }

    /// Queues a line. `priority` is that of syslog (RFC 5424, 6.2.1).
    pub(super) fn line(&self, priority: u8, line: String) {
        let line = self.for_target(priority, line);
        let bytes = line.capacity();
        if self.lines.send(self.entry(Item::Line(line, None)), bytes).is_err() {
            self.losses.by_slow_reader();
        }
    }

    /// Queues a line about a change of a key, which other lines cannot displace.
    pub(super) fn change(&self, priority: u8, line: String) {
        self.queue_change(priority, line, None);
    }

    /// The same for a line that must not be lost.
    pub(super) fn change_with_receipt(&self, priority: u8, line: String) -> Receipt {
        let (signature, receipt) = receipt();
        self.queue_change(priority, line, Some(signature));
        if self.discards { Receipt::discarded() } else { receipt }
    }

    /// How many bytes of lines wait to be written.
    pub(super) fn queued_bytes(&self) -> usize {
        self.lines.held() + self.changes.held()
    }

    /// Whether what is written is kept nowhere.
    pub(super) const fn discards(&self) -> bool {
        self.discards
    }

    fn queue_change(&self, priority: u8, line: String, signature: Option<Signature>) {
        let line = self.for_target(priority, line);
        let bytes = line.capacity();
        if let Err(Refused::Full(entry) | Refused::Closed(entry)) =
            self.changes.send(self.entry(Item::Line(line, signature)), bytes)
        {
            self.losses.by_slow_reader();
            if let Item::Line(line, _) = entry.item {
                self.losses.of_change(&line);
            }
        }
    }

    fn entry(&self, item: Item) -> Entry {
        Entry { order: self.entries.fetch_add(1, Ordering::Relaxed), item }
    }

    fn for_target(&self, priority: u8, line: String) -> String {
        if self.journal { format!("<{priority}>{line}") } else { line }
    }

    /// Waits until all queued lines are written.
    pub(super) fn flush(&self) {
        let end = Instant::now() + FLUSH_TIME;
        let (done, wait) = mpsc::sync_channel(1);
        while let Err(Refused::Full(_)) =
            self.lines.try_send(self.entry(Item::Flush(done.clone())), 0)
        {
            if Instant::now() >= end {
                return;
            }
            thread::sleep(FLUSH_RETRY);
        }
        let _ = wait.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

/// Writes what the queues hold, in the order in which it was queued, until both are closed.
async fn write(
    mut changes: Receiver<Entry>,
    mut lines: Receiver<Entry>,
    mut target: Target<impl Write>,
    losses: &Losses,
) {
    // The next entry of each queue.
    let (mut change, mut line) = (None, None);
    loop {
        change = change.or_else(|| changes.try_recv());
        line = line.or_else(|| lines.try_recv());
        if line.is_some() {
            // A change that was queued before this line may have come after the look above.
            change = change.or_else(|| changes.try_recv());
        }
        // No entry of an empty queue will tell them.
        if change.is_none() {
            target.gap.add(Kind::Change, changes.left_out_at_end(), TOO_SLOW);
        }
        if line.is_none() {
            target.gap.add(Kind::Other, lines.left_out_at_end(), TOO_SLOW);
            if change.is_none() {
                let _ = target.write_gap();
            }
        }
        let (kind, queued) = match (change.take(), line.take()) {
            (Some(first), Some(second)) if first.item.order < second.item.order => {
                line = Some(second);
                (Kind::Change, first)
            }
            (second, Some(first)) => {
                change = second;
                (Kind::Other, first)
            }
            (Some(first), None) => (Kind::Change, first),
            (None, None) => {
                // The other queue may have an earlier one by now: both are looked at again.
                tokio::select! {
                    Some(queued) = changes.recv() => change = Some(queued),
                    Some(queued) = lines.recv() => line = Some(queued),
                    else => return,
                }
                continue;
            }
        };
        let Queued { item: Entry { item, .. }, left_out, .. } = queued;
        target.gap.add(kind, left_out, TOO_SLOW);
        match item {
            Item::Line(line, signature) => match target.write(&line) {
                Ok(()) => {
                    losses.end();
                    if let Some(signature) = signature {
                        signature.sign();
                    }
                }
                Err(error) => {
                    losses.by_failure(&error);
                    if kind == Kind::Change {
                        losses.of_change(&line);
                    }
                    target.gap.add(kind, 1, &format!("{error}{}", files_hint(&error)));
                }
            },
            Item::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Why lines did not fit into a queue.
const TOO_SLOW: &str = "they were not read in time";

/// The target that lines are written to.
struct Target<W> {
    inner: W,
    /// Whether the last line was written only in part.
    is_broken: bool,
    gap: Gap,
}

/// Lines that are missing since the last one that was written.
struct Gap {
    lines: u64,
    /// Those of them that are about changes of keys.
    changes: u64,
    /// Why the last of them is missing.
    reason: String,
    /// The form of the line that tells it.
    json: Arc<AtomicBool>,
    journal: bool,
}

impl<W: Write> Target<W> {
    fn new(inner: W, gap: Gap) -> Self {
        Self { inner, is_broken: false, gap }
    }

    /// Writes a line, and before it how many are missing there.
    fn write(&mut self, line: &str) -> io::Result<()> {
        self.write_gap()?;
        self.write_alone(line)
    }

    fn write_gap(&mut self) -> io::Result<()> {
        if self.gap.lines > 0 {
            let line = self.gap.line();
            self.write_alone(&line)?;
            (self.gap.lines, self.gap.changes) = (0, 0);
        }
        Ok(())
    }

    fn write_alone(&mut self, line: &str) -> io::Result<()> {
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

impl Gap {
    fn new(json: Arc<AtomicBool>, journal: bool) -> Self {
        Self { lines: 0, changes: 0, reason: String::new(), json, journal }
    }

    fn add(&mut self, kind: Kind, lines: u64, reason: &str) {
        if lines > 0 {
            self.lines += lines;
            self.changes += if kind == Kind::Change { lines } else { 0 };
            reason.clone_into(&mut self.reason);
        }
    }

    fn line(&self) -> String {
        let Self { lines, changes, reason, .. } = self;
        let mut line = Line::new(self.json.load(Ordering::Relaxed), Timestamp::now(), "WARN");
        let message = format_args!(
            "log lines are missing here: {lines}, of them about changes to keys: {changes}; {reason}"
        );
        line.field("msg", message);
        let line = line.finish();
        if self.journal { format!("<4>{line}") } else { line }
    }
}

/// A file descriptor without the buffer of the standard library, which keeps a line that could not
/// be written, and writes it again before the next one.
struct Unbuffered<T>(T);

impl<T: AsFd> Write for Unbuffered<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a stream is the one that systemd connected to the journal (systemd.exec(5),
/// `JOURNAL_STREAM`). Processes whose output goes elsewhere inherit the variable as well.
fn is_journal(stream: impl AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Whether a stream is `/dev/null`, which the runtime also opens in place of a stream that was closed
/// when the process started. Its number is 1:3 on every Linux (admin-guide/devices.txt).
fn is_null(stream: impl AsFd) -> bool {
    rustix::fs::fstat(stream).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_char_device()
            && stat.st_rdev == rustix::fs::makedev(1, 3)
    })
}

#[cfg(test)]
mod tests;
