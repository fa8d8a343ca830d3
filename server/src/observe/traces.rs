//! Traces, as OpenTelemetry has them: a span for each request that is sampled, and below it one for
//! each call to the key store that it makes or waits for.
//!
//! A request puts a record of fixed size into a bounded queue, and drops it if that is full: it waits
//! for nobody. A record has numbers and words of the program. It has no room for the name of a key,
//! an identity, a context, or a text from outside. The task of `exporter` takes records from the
//! queue, `otlp` writes them as JSON, and `collector` sends that (OTLP over HTTP).
//!
//! Requests that are not sampled cost the parsing of `traceparent`, if they have it, and a hash; where
//! traces are off, a comparison with nothing. A client that the policies know decides by its
//! `traceparent` whether its requests are sampled. That of a stranger is not read, and strangers can
//! fill half of the queue.
//!
//! This is not done with the crates of OpenTelemetry for Rust (`opentelemetry-otlp` 0.33): they bring
//! prost into the program, and their processor of batches a thread of its own; a span allocates its
//! attributes on the path of its request, and waits in a queue that is limited in spans and not in bytes.
//! What is needed of the protocol is small.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::request::Parts;
use kes_api::Operation;
use kes_keystore::Kind;
use kes_policy::{StoreCall, StoreTrace};
use tokio::sync::{mpsc, watch};

pub(crate) use self::collector::Collector;
use self::exporter::Exporter;
use self::span::{Call, Ids, Served, Span, What, method, nanoseconds, version};
use super::metrics::Metrics;
use super::traceparent::Parent;

/// Records of spans.
mod span;

/// The JSON of spans.
mod otlp;

/// Where spans are sent.
mod collector;

/// The task that sends them.
mod exporter;

/// The size of the queue in bytes: what a server whose every request is sampled makes in a tenth of
/// a second, and what one whose hundredth is makes while a collector restarts.
const QUEUE_BYTES: usize = 1 << 20;

/// How many spans fit into it.
const QUEUE: usize = QUEUE_BYTES / size_of::<Span>();

/// Makes the spans of the requests of one configuration.
pub(crate) struct Tracer {
    export: Arc<Export>,
    sampler: Sampler,
    store: Kind,
}

/// The way of spans to one collector. The task at its end goes on until this is dropped, or until it
/// is told to end.
struct Export {
    queue: mpsc::Sender<Span>,
    /// Closed when the task has ended.
    ending: watch::Sender<bool>,
    /// Spans that found the queue full and were not told of yet.
    overflow: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    ids: Numbers,
}

/// Which requests are sampled that are part of no trace.
#[derive(Clone, Copy)]
enum Sampler {
    None,
    /// Those whose random number is no larger.
    UpTo(u64),
    All,
}

/// IDs that differ from each other and from those of other processes, without a call to the system or
/// a lock: keyed hashes of numbers that are used once.
struct Numbers {
    key: RandomState,
    calls: AtomicU64,
}

/// What a hashed number is for.
#[derive(Clone, Copy, Hash)]
enum Use {
    Sample,
    UpperTrace,
    LowerTrace,
    Request,
    Call,
}

/// The trace of a request that is sampled. It may outlive the request, because a call to the key store
/// may.
pub(crate) struct Trace {
    export: Arc<Export>,
    ids: Ids,
    is_of_stranger: bool,
    store: Kind,
    began: SystemTime,
}

impl Tracer {
    /// Starts a task that sends spans. `sample` is the share of requests that are sampled of those
    /// that are part of no trace, from 0 to 1. Must be called within a tokio runtime.
    pub(crate) fn start(
        collector: Collector,
        sample: f64,
        store: Kind,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (ending, is_ending) = watch::channel(false);
        let overflow = Arc::new(AtomicU64::new(0));
        let exporter = Exporter::new(collector, spans, Arc::clone(&overflow), Arc::clone(metrics));
        tokio::spawn(exporter.run(is_ending));
        let (metrics, ids) = (Arc::clone(metrics), Numbers::new());
        let export = Arc::new(Export { queue, ending, overflow, metrics, ids });
        Self { export, sampler: Sampler::of(sample), store }
    }

    /// The same, for a configuration that sends them to the same place.
    pub(crate) fn going_on(&self, store: Kind) -> Self {
        Self { export: Arc::clone(&self.export), sampler: self.sampler, store }
    }

    /// Begins the trace of a request that has just arrived; `None` if it is not sampled. `number` is
    /// that of the request since the start of the server.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        is_of_stranger: bool,
        number: u64,
    ) -> Option<Arc<Trace>> {
        let export = &self.export;
        let parent = if is_of_stranger { None } else { Parent::of(headers) };
        let is_sampled = match (&parent, self.sampler) {
            (Some(parent), _) => parent.is_sampled,
            (None, Sampler::None) => false,
            (None, Sampler::UpTo(most)) => export.ids.number(Use::Sample, number) <= most,
            (None, Sampler::All) => true,
        };
        if !is_sampled {
            return None;
        }
        let trace = parent.as_ref().map_or_else(|| export.ids.trace(number), |one| one.trace);
        let span = export.ids.number(Use::Request, number);
        let parent = parent.and_then(|parent| NonZeroU64::new(parent.span));
        Some(Arc::new(Trace {
            export: Arc::clone(export),
            ids: Ids { trace, span, parent },
            is_of_stranger,
            store: self.store,
            began: SystemTime::now(),
        }))
    }

    /// Sends what is in the queue, and makes no more spans: for a server that stops. It takes no
    /// longer than [`FLUSH`](exporter::FLUSH), whatever the collector does.
    pub(crate) async fn end(&self) {
        self.export.ending.send_replace(true);
        self.export.ending.closed().await;
    }
}

impl Export {
    /// Puts a span into the queue, unless that is full.
    fn put(&self, span: Span, is_of_stranger: bool) {
        let has_room = !is_of_stranger || self.queue.capacity() > QUEUE / 2;
        if !has_room || self.queue.try_send(span).is_err() {
            self.metrics.traces.overflowed.inc();
            self.overflow.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Trace {
    /// Ends the span of the request.
    pub(crate) fn end(&self, operation: Operation, head: &Parts, status: u16, took: Duration) {
        let what = What::Served(Served {
            operation,
            method: method(&head.method),
            version: version(head.version),
            status,
        });
        let began = nanoseconds(self.began);
        let span = Span { ids: self.ids, began, ended: began.saturating_add(nanos(took)), what };
        self.export.put(span, self.is_of_stranger);
    }
}

impl StoreTrace for Trace {
    fn call_begins(&self) -> u64 {
        self.export.ids.call()
    }

    fn traceparent(&self, span: u64) -> String {
        Parent { trace: self.ids.trace, span, is_sampled: true }.text()
    }

    fn call_ended(&self, call: &StoreCall) {
        let StoreCall { span, operation, result, is_failure, is_shared, began, took } = *call;
        let Ids { trace, span: parent, .. } = self.ids;
        let ids = Ids { trace, span, parent: NonZeroU64::new(parent) };
        let (began, store) = (nanoseconds(began), self.store);
        let what = What::Call(Call { operation, store, result, is_failure, is_shared });
        let span = Span { ids, began, ended: began.saturating_add(nanos(took)), what };
        self.export.put(span, self.is_of_stranger);
    }
}

impl Sampler {
    fn of(share: f64) -> Self {
        if share >= 1.0 {
            return Self::All;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the share is less than 1")]
        let most = (share * u64::MAX as f64) as u64;
        if most == 0 { Self::None } else { Self::UpTo(most) }
    }
}

impl Numbers {
    fn new() -> Self {
        Self { key: RandomState::new(), calls: AtomicU64::new(0) }
    }

    /// A random number; never zero.
    fn number(&self, of: Use, number: u64) -> u64 {
        self.key.hash_one((of, number)).max(1)
    }

    /// The ID of a trace that begins with a request.
    fn trace(&self, number: u64) -> u128 {
        let [upper, lower] =
            [Use::UpperTrace, Use::LowerTrace].map(|half| self.number(half, number));
        u128::from(upper) << 64 | u128::from(lower)
    }

    /// The ID of the span of a call.
    fn call(&self) -> u64 {
        self.number(Use::Call, self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
