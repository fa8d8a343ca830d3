//! The task that takes spans from the queue and sends them, some hundred at a time. Its memory is one
//! batch and its JSON, whatever the collector does: while that is away or slow, spans stay in the
//! queue, and those that find it full are dropped. Spans that were dropped are counted, and the log
//! says so once a minute.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::collector::{Collector, Fault};
use super::otlp;
use super::span::Span;
use crate::observe::metrics::Metrics;

/// How many spans are sent at once: the default of OpenTelemetry. Their JSON has some 400 KiB.
const BATCH: usize = 512;

/// How long a span waits until others are sent with it.
const DELAY: Duration = Duration::from_secs(1);

/// How often the same spans are sent to a collector that is away or busy.
const TRIES: u32 = 3;

/// How long the task pauses after a failure. The pause doubles with each further one, up to ...
const PAUSE: Duration = Duration::from_secs(1);

/// ... this. A collector may ask for a longer one, but not for more than this.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long the last spans may take when the server stops, or sends spans elsewhere from now on.
pub(super) const FLUSH: Duration = Duration::from_secs(2);

/// How often the log says that spans are dropped.
const PERIOD: Duration = Duration::from_secs(60);

/// The task.
pub(super) struct Exporter {
    collector: Collector,
    spans: mpsc::Receiver<Span>,
    /// What is being sent.
    batch: Vec<Span>,
    overflow: Arc<AtomicU64>,
    /// How long to pause after the next failure.
    pause: Duration,
    trouble: Trouble,
    metrics: Arc<Metrics>,
}

/// What the log is told of spans that were dropped.
#[derive(Default)]
struct Trouble {
    /// Spans that were not told of yet.
    dropped: u64,
    /// The last fault of the collector.
    reason: Option<String>,
    told: Option<Instant>,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        spans: mpsc::Receiver<Span>,
        overflow: Arc<AtomicU64>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (batch, trouble) = (Vec::with_capacity(BATCH), Trouble::default());
        Self { collector, spans, batch, overflow, pause: PAUSE, trouble, metrics }
    }

    /// Sends spans until it is told to end, or nobody makes any. Then it sends the rest, for up to
    /// [`FLUSH`].
    pub(super) async fn run(mut self, mut is_ending: watch::Receiver<bool>) {
        tokio::select! {
            // An error means that nobody is left who could tell.
            _ = is_ending.wait_for(|is_ending| *is_ending) => {}
            never = self.serve() => match never {},
        }
        self.spans.close();
        if timeout(FLUSH, self.drain()).await.is_err() {
            while !self.batch.is_empty() || self.spans.recv_many(&mut self.batch, BATCH).await > 0 {
                self.drop_batch(format!("they were not sent within {} s", FLUSH.as_secs()));
            }
        }
        self.tell(true);
    }

    async fn serve(&mut self) -> Infallible {
        loop {
            self.fill().await;
            self.deliver().await;
            self.tell(false);
        }
    }

    /// Takes spans from the queue: as many as are sent at once, or those of some time.
    async fn fill(&mut self) {
        if self.spans.recv_many(&mut self.batch, BATCH).await == 0 {
            // All who make spans are gone, and the task is about to end.
            std::future::pending::<()>().await;
        }
        let end = Instant::now() + DELAY;
        while self.batch.len() < BATCH {
            let room = BATCH - self.batch.len();
            match timeout_at(end, self.spans.recv_many(&mut self.batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Sends the batch, again if it may be taken later, and pauses after each failure.
    async fn deliver(&mut self) {
        let body = Bytes::from(otlp::encode(&self.batch));
        for tries in 1.. {
            let Err(Fault { reason, may_pass, wait }) = self.send(body.clone()).await else {
                return;
            };
            let is_last = !may_pass || tries == TRIES;
            if is_last {
                self.drop_batch(reason);
                self.tell(false);
            }
            sleep(wait.unwrap_or_default().max(self.pause).min(MAX_PAUSE)).await;
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            if is_last {
                return;
            }
        }
    }

    /// Sends the batch once. It is empty if it was taken.
    async fn send(&mut self, body: Bytes) -> Result<(), Fault> {
        let rejected = self.collector.send(body).await?;
        let all = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        let rejected = rejected.min(all);
        self.batch.clear();
        self.pause = PAUSE;
        self.metrics.traces.exported.inc_by(all - rejected);
        if rejected > 0 {
            self.metrics.traces.rejected.inc_by(rejected);
            let reason = format!("{} rejected them", self.collector.origin());
            self.trouble.add(rejected, reason);
        }
        Ok(())
    }

    /// Sends all that is left, each batch once.
    async fn drain(&mut self) {
        while !self.batch.is_empty() || self.spans.recv_many(&mut self.batch, BATCH).await > 0 {
            let body = Bytes::from(otlp::encode(&self.batch));
            if let Err(fault) = self.send(body).await {
                self.drop_batch(fault.reason);
            }
        }
    }

    fn drop_batch(&mut self, reason: String) {
        let count = u64::try_from(self.batch.len()).unwrap_or(u64::MAX);
        self.batch.clear();
        self.metrics.traces.unsent.inc_by(count);
        self.trouble.add(count, reason);
    }

    /// Tells the log what was dropped, `now` or if it has not been told for a while.
    fn tell(&mut self, now: bool) {
        self.trouble.add(self.overflow.swap(0, Ordering::Relaxed), String::new());
        if let Some(text) = self.trouble.text(Instant::now(), now) {
            tracing::warn!(detail = %text, "spans of traces were dropped");
        }
    }
}

impl Trouble {
    /// Notes dropped spans; an empty reason is that there was no room for them.
    fn add(&mut self, count: u64, reason: String) {
        self.dropped = self.dropped.saturating_add(count);
        if count > 0 && !reason.is_empty() {
            self.reason = Some(reason);
        }
    }

    /// What is to be told.
    fn text(&mut self, now: Instant, is_urgent: bool) -> Option<String> {
        let is_due = self.told.is_none_or(|told| now.duration_since(told) >= PERIOD);
        if self.dropped == 0 || !(is_due || is_urgent) {
            return None;
        }
        self.told = Some(now);
        let dropped = std::mem::take(&mut self.dropped);
        let reason = self.reason.take();
        let reason = reason.as_deref().unwrap_or("they came faster than they could be sent");
        Some(format!("{dropped}; {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_told_once_a_minute() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(trouble.text(at(0), true), None);
        trouble.add(5, "away".to_owned());
        assert_eq!(trouble.text(at(0), false).as_deref(), Some("5; away"));
        trouble.add(2, "away".to_owned());
        trouble.add(3, String::new());
        assert_eq!(trouble.text(at(59), false), None);
        trouble.add(0, "never".to_owned());
        assert_eq!(trouble.text(at(60), false).as_deref(), Some("5; away"));
        trouble.add(1, String::new());
        let faster = "1; they came faster than they could be sent";
        assert_eq!(trouble.text(at(61), true).as_deref(), Some(faster));
        assert_eq!(trouble.text(at(200), false), None);
    }
}
