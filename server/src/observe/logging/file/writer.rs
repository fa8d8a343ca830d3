use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_audit::file::{AuditFile, CommitError};
use kes_audit::note::{LOGGED, LoggedHead};
use kes_audit::record::Gap;

use super::queue::{Batch, Control, Item, Queue, Texts, take_control};
use super::{CLOSE_PATIENCE, Target};
use crate::observe::logging::rate_limit::RateLimit;
use crate::observe::logging::receipt::Signature;
use crate::observe::metrics::Metrics;

/// How often a head is logged, and a checkpoint written, if there is a new one.
const HEAD_INTERVAL: Duration = Duration::from_secs(60);

/// How often a file is looked for that another process still writes.
const RETRY: Duration = Duration::from_millis(100);

/// How often the same failure is logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How many bytes of lines are written in one go.
const WRITE: usize = 1024 * 1024;

/// Why records did not fit into the queue.
const TOO_SLOW: &str = "they were not written in time";

/// Writes what is in the queue, without end.
pub(super) fn run(queue: &Arc<Queue>, metrics: &Arc<Metrics>) {
    let mut writer = Writer::new(Arc::clone(queue), Arc::clone(metrics));
    loop {
        let Err(_panic) = catch_unwind(AssertUnwindSafe(|| writer.run()));
        tracing::error!(
            "a bug of the server: the writer of the audit file panicked; it opens the file anew"
        );
        writer.file = None;
        std::thread::sleep(RETRY);
    }
}

struct Writer {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    target: Option<Target>,
    /// `None` while another process has it, or it cannot be opened.
    file: Option<AuditFile>,
    /// Records that are missing before the next one that is written.
    gap: Gap,
    reason: String,
    /// Lost since the last message about it.
    untold: u64,
    failures: RateLimit,
    waits: RateLimit,
    next_head: Instant,
    last_head: Option<LoggedHead>,
}

/// What was added and is not written yet.
#[derive(Default)]
struct Group(Vec<Added>);

enum Added {
    Gap(Gap),
    Record { is_change: bool, signature: Option<Signature> },
}

impl Writer {
    fn new(queue: Arc<Queue>, metrics: Arc<Metrics>) -> Self {
        Self {
            queue,
            metrics,
            target: None,
            file: None,
            gap: Gap::default(),
            reason: String::new(),
            untold: 0,
            failures: RateLimit::new(LOG_INTERVAL),
            waits: RateLimit::new(LOG_INTERVAL),
            next_head: Instant::now(),
            last_head: None,
        }
    }

    fn run(&mut self) -> std::convert::Infallible {
        let mut batch = Batch::default();
        loop {
            let (mut items, texts) = batch.split();
            loop {
                self.wait_for_file(&mut items);
                if items.is_empty() {
                    break;
                }
                self.write(&mut items, &texts);
            }
            batch.reuse(items, texts);
            self.look_after();
            self.queue.take(&mut batch, self.next_head);
        }
    }

    /// Opens the file. While another process has it, all that comes waits until there is no room for
    /// it, and what is said about the file itself is heard.
    fn wait_for_file(&mut self, items: &mut Vec<Item>) {
        while self.file.is_none()
            && let Some(target) = self.target.clone()
        {
            self.open(&target);
            if self.file.is_some() {
                return;
            }
            match self.next_control(items, Instant::now() + RETRY) {
                None => {}
                Some(Control::Configure(target)) => self.target = *target,
                Some(Control::Close(done)) => {
                    let end = Instant::now() + CLOSE_PATIENCE;
                    while self.file.is_none() && Instant::now() < end {
                        std::thread::sleep(RETRY);
                        self.open(&target);
                    }
                    if self.file.is_none() {
                        self.target = None;
                    }
                    // After all that waits.
                    self.queue.control(Control::Close(done));
                }
            }
        }
    }

    /// Takes out the next control of what waits here and in the queue.
    fn next_control(&self, items: &mut Vec<Item>, until: Instant) -> Option<Control> {
        match take_control(items) {
            Some(control) => Some(control),
            None => self.queue.take_control(until),
        }
    }

    fn open(&mut self, target: &Target) {
        match AuditFile::open(target.settings.clone()) {
            Ok(Some(file)) => {
                let text = format!("'{}', segment {}", target.path.display(), file.segment());
                tracing::info!(detail = %text, "the audit file is open");
                self.file = Some(file);
                self.next_head = Instant::now();
            }
            Ok(None) => {
                if self.waits.allows() {
                    let text = target.path.blame("another process writes it");
                    tracing::warn!(detail = %text, "records wait for the audit file");
                }
            }
            Err(error) => {
                if self.waits.allows() {
                    let text = target.path.blame(error);
                    tracing::error!(detail = %text, "records wait for the audit file");
                }
            }
        }
    }

    /// Writes what comes before the next control, and does what that says.
    fn write(&mut self, items: &mut Vec<Item>, texts: &Texts) {
        let mut group = Group::default();
        let control = items.iter().position(|item| matches!(item, Item::Control(_)));
        for item in items.drain(..control.map_or(items.len(), |control| control + 1)) {
            match item {
                Item::Write(waiting) => {
                    self.begin(&mut group);
                    let request = Batch::request(texts, &waiting);
                    if let Some(file) = &mut self.file {
                        file.add(&request);
                    }
                    let (is_change, signature) = (waiting.is_change, waiting.signature);
                    group.0.push(Added::Record { is_change, signature });
                }
                Item::Gap(gap) => {
                    self.commit(&mut group);
                    self.count_lost(gap);
                    self.add_gap(gap, TOO_SLOW);
                }
                Item::Control(control) => {
                    self.commit(&mut group);
                    self.control(control);
                }
            }
            if self.file.as_ref().is_some_and(|file| file.added() > WRITE) {
                self.commit(&mut group);
            }
        }
        self.commit(&mut group);
        if self.gap != Gap::default() && self.file.is_some() {
            self.begin(&mut group);
            self.commit(&mut group);
        }
    }

    /// What is missing is told before the next record.
    fn begin(&mut self, group: &mut Group) {
        if group.0.is_empty()
            && self.gap != Gap::default()
            && let Some(file) = &mut self.file
        {
            let gap = std::mem::take(&mut self.gap);
            file.add_gap(gap, &self.reason);
            group.0.push(Added::Gap(gap));
        }
    }

    fn add_gap(&mut self, gap: Gap, reason: &str) {
        self.gap.records += gap.records;
        self.gap.changes += gap.changes;
        reason.clone_into(&mut self.reason);
    }

    /// Writes the group. What is waited for is on the disk before it is signed.
    fn commit(&mut self, group: &mut Group) {
        let added = std::mem::take(&mut group.0);
        let is_waited_for =
            added.iter().any(|added| matches!(added, Added::Record { signature: Some(_), .. }));
        let result = match &mut self.file {
            Some(file) => file.commit(is_waited_for),
            None if added.is_empty() => return,
            None => {
                let reason = std::io::Error::other("it is not open");
                Err(CommitError { written: 0, reason })
            }
        };
        match result {
            Ok(()) => {
                let is_record = |added: &&Added| matches!(added, Added::Record { .. });
                let records = u64::try_from(added.iter().filter(is_record).count());
                let records = records.unwrap_or_default();
                self.metrics.audit_file.records.inc_by(records);
                for added in added {
                    if let Added::Record { signature: Some(signature), .. } = added {
                        signature.sign();
                    }
                }
                if records > 0 && self.untold > 0 {
                    let untold = std::mem::take(&mut self.untold);
                    tracing::error!(
                        "the audit file can be written again; {untold} more records were lost"
                    );
                }
            }
            Err(error) => self.failed(added, &error),
        }
    }

    fn failed(&mut self, added: Vec<Added>, error: &CommitError) {
        let mut lost = Gap::default();
        for (number, added) in added.iter().enumerate() {
            match added {
                _ if number < error.written => {}
                Added::Gap(gap) => self.add_gap(*gap, &error.to_string()),
                Added::Record { is_change, .. } => {
                    lost.records += 1;
                    lost.changes += u64::from(*is_change);
                }
            }
        }
        let written = u64::try_from(error.written).unwrap_or_default();
        self.metrics.audit_file.records.inc_by(written);
        self.add_gap(lost, &error.to_string());
        self.count_lost(lost);
        // Whoever waits for one of them is told once it is counted.
        drop(added);
        if self.failures.allows() {
            let untold = std::mem::take(&mut self.untold);
            tracing::error!(
                "records are lost, {untold} so far: the audit file cannot be written: {error}"
            );
        }
    }

    fn count_lost(&mut self, lost: Gap) {
        self.metrics.audit_file.lost.inc_by(lost.records);
        self.metrics.lost_changes.inc_by(lost.changes);
        self.untold += lost.records;
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Configure(target) => {
                let goes_on = (*target).as_ref().zip(self.file.as_mut());
                let is_same = goes_on
                    .is_some_and(|(target, file)| file.reconfigure(&target.settings).is_some());
                if !is_same {
                    self.close();
                }
                self.target = *target;
                if !is_same && let Some(target) = self.target.clone() {
                    self.open(&target);
                }
            }
            Control::Close(done) => {
                self.close();
                self.target = None;
                // Nobody may wait any longer.
                let _ = done.send(());
            }
        }
    }

    fn close(&mut self) {
        let Some(file) = self.file.take() else { return };
        match file.close() {
            Ok(head) => tracing::info!("{LOGGED}{head}, and it is closed"),
            Err(error) => tracing::error!("the audit file cannot be closed: {error}"),
        }
        self.last_head = None;
    }

    /// Rotates the file, and tells its head to those who keep it.
    fn look_after(&mut self) {
        let is_due = Instant::now() >= self.next_head;
        if is_due {
            self.next_head = Instant::now() + HEAD_INTERVAL;
        }
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.rotate_if_due()
            && self.waits.allows()
        {
            tracing::error!("the audit file cannot be rotated: {error}");
        }
        for problem in file.problems() {
            tracing::warn!("audit file: {problem}");
        }
        let head = file.head();
        if is_due && self.last_head != Some(head) {
            self.last_head = Some(head);
            tracing::info!("{LOGGED}{head}, segment {}", file.segment());
            if let Err(error) = file.checkpoint() {
                tracing::error!("the checkpoint of the audit file cannot be written: {error}");
            }
        }
    }
}
