//! Lines to a file descriptor, from a thread of their own: a reader that stalls stalls nothing
//! else.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

/// Lines that may wait to be written. At 250 bytes each this is 4 MiB at the most.
const QUEUE: usize = 16 * 1024;

/// How long the end of the process waits for lines that are still to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A queue of lines and the thread that writes them.
pub(super) struct Writer {
    queue: SyncSender<Item>,
    dropped: IntCounter,
    /// Whether the lines go to the journal, which reads a priority off their start.
    journal: bool,
}

enum Item {
    Line(String),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

impl Writer {
    pub(super) fn stderr(dropped: IntCounter) -> Self {
        Self::start("log-stderr", io::stderr(), is_journal(io::stderr()), dropped)
    }

    pub(super) fn stdout(dropped: IntCounter) -> Self {
        Self::start("log-stdout", io::stdout(), is_journal(io::stdout()), dropped)
    }

    fn start(
        name: &str,
        target: impl Write + Send + 'static,
        journal: bool,
        dropped: IntCounter,
    ) -> Self {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(lines, target))
            .expect("the system starts a thread");
        Self { queue, dropped, journal }
    }

    /// Writes a line some time soon. `priority` is that of syslog (RFC 5424, 6.2.1).
    pub(super) fn line(&self, priority: u8, line: String) {
        let line = if self.journal { format!("<{priority}>{line}") } else { line };
        match self.queue.try_send(Item::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.inc(),
        }
    }

    /// Waits until all lines so far are written.
    pub(super) fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_TIME);
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the queue")]
fn write(lines: Receiver<Item>, mut target: impl Write) {
    for item in lines.iter() {
        match item {
            // A log that cannot be written has nowhere to complain to.
            Item::Line(line) => {
                let _ = target.write_all(line.as_bytes()).and_then(|()| target.flush());
            }
            Item::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Whether a stream is the one that systemd says goes to the journal (systemd.exec(5),
/// `JOURNAL_STREAM`): the variable is inherited also by processes whose output goes elsewhere.
fn is_journal(stream: impl std::os::fd::AsFd) -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}
