//! Counters, and the Prometheus text (contract `api.md`, Metrics).
//!
//! A request updates atomics only. Values that are states rather than events are read when
//! the text is made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use kes_api::route::ROUTES;
use kes_api::{Identity, Operation};
use kes_keystore::StoreOperation;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use self::audience::BY_CODE;
pub(crate) use self::audience::{Audience, Format};
use self::audit_file::AuditFile;
pub(crate) use self::audit_file::Queued;
use self::by_class::Classes;
use self::by_code::ByCode;
use self::cache::Cache;
use self::client_certificates::ClientCertificates;
use self::exemplars::Exemplars;
pub(crate) use self::limited::{LimitKind, Limited};
use self::log_queues::LogQueues;
pub(crate) use self::log_queues::QueuedLines;
use self::migration::Migration;
#[cfg(test)]
pub(crate) use self::policy_refusals::NO_POLICY;
use self::policy_refusals::PolicyRefusals;
pub(crate) use self::readings::{Latency, Readings};
use self::register::Register;
pub(crate) use self::reloads::InUse;
use self::reloads::Reloads;
use self::snapshot::Snapshot;
pub(crate) use self::system::Gauges;
use self::system::System;
use self::traces::Traces;

/// Which metrics a client is sent.
mod audience;

/// Records in the audit file.
mod audit_file;

/// What each class of callers holds.
mod by_class;

/// Counters by status.
mod by_code;

/// Requests that a limit of their caller refused.
mod limited;

/// Lines that wait for who reads the logs.
mod log_queues;

/// Two key stores at once.
mod migration;

/// Requests that policies refused.
mod policy_refusals;

/// The counters of one moment.
mod readings;

/// Reloads.
mod reloads;

/// States of the process and of what it serves with.
mod system;

/// How metrics are made.
mod register;

/// Certificates of clients.
mod client_certificates;

/// What is counted of keys in memory.
mod cache;

/// The snapshot of the keys in use.
mod snapshot;

/// Traces of slow requests.
mod exemplars;

/// Spans of traces.
mod traces;

/// The text of OpenMetrics.
mod open_metrics;

/// The media type of the text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a client is sent.
pub(crate) struct Exposition {
    pub(crate) content_type: &'static str,
    pub(crate) text: String,
}

/// The metrics of the server.
pub(crate) struct Metrics {
    registry: Registry,
    success: ByCode,
    error: ByCode,
    failure: ByCode,
    /// The sum of the requests of all classes.
    active: IntGauge,
    pub(crate) classes: Classes,
    /// The sum of the bytes that requests of all classes hold for their bodies and answers.
    reserved_bytes: IntGauge,
    pub(crate) reserved_bytes_limit: IntGauge,
    pub(crate) reservations_refused: IntCounter,
    pub(crate) limited: Limited,
    pub(crate) policy_refusals: PolicyRefusals,
    response_time: Histogram,
    by_api: Box<[Histogram; Operation::COUNT]>,
    exemplars: Exemplars,
    pub(crate) error_events: IntCounter,
    pub(crate) audit_events: IntCounter,
    pub(crate) dropped_lines: IntCounter,
    pub(crate) lost_changes: IntCounter,
    pub(crate) audit_file: AuditFile,
    log_queues: LogQueues,
    pub(crate) migration: Migration,
    pub(crate) traces: Traces,
    pub(crate) merged_requests: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) max_connections: IntGauge,
    pub(crate) strangers: IntGauge,
    pub(crate) displaced_connections: IntCounter,
    pub(crate) handshake_errors: IntCounter,
    pub(crate) proxy_header_errors: IntCounter,
    pub(crate) client_certificates: ClientCertificates,
    pub(crate) reloads: Reloads,
    cache: Cache,
    snapshot: Snapshot,
    store_calls: [StoreCalls; 4],
    /// When the server's certificate ends, in seconds since 1970.
    pub(crate) certificate_end: AtomicI64,
    system: System,
    /// Held while the text is made, which sets gauges to the values of the moment.
    texts: Mutex<()>,
}

struct StoreCalls {
    errors: IntCounter,
    latency: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let register = Register(Registry::new());
        let by_api = register.histograms(
            BY_API,
            "Time from a request's arrival to its answer, in seconds, by API",
            "api",
            &FINE_BUCKETS,
        );
        let by_api = ROUTES.map(|route| by_api.with_label_values(&[route.path]));
        let store_errors = register.counters(
            "kes_keystore_errors",
            "Calls to the key store that failed (a missing or existing key is no failure)",
            "call",
        );
        let store_latency = register.histograms(
            "kes_keystore_response_time",
            "Time that calls to the key store took, in seconds",
            "call",
            &FINE_BUCKETS,
        );
        let store_calls = STORE_OPERATIONS.map(|call| StoreCalls {
            errors: store_errors.with_label_values(&[call.name()]),
            latency: store_latency.with_label_values(&[call.name()]),
        });
        let [success, error, failure] = BY_CODE;
        let by_code = |name, help, first| ByCode::new(register.counters(name, help, "code"), first);
        Self {
            success: by_code(success, "Requests answered with 2xx", 200),
            error: by_code(error, "Requests answered with 3xx or 4xx", 400),
            failure: by_code(failure, "Requests answered with 5xx", 500),
            active: register.gauge("kes_http_request_active", "Requests that are being served"),
            classes: Classes::new(&register),
            reserved_bytes: register.gauge(
                "kes_http_reserved_bytes",
                "Bytes that requests have reserved for large or unfinished bodies",
            ),
            reserved_bytes_limit: register.gauge(
                "kes_http_reserved_bytes_limit",
                "How many bytes all requests may reserve",
            ),
            reservations_refused: register.counter(
                "kes_http_reservations_refused",
                "Requests refused because no bytes were left for their bodies",
            ),
            limited: Limited::new(&register),
            policy_refusals: PolicyRefusals::new(&register),
            response_time: register.histogram(
                "kes_http_response_time",
                "Time from a request's arrival to its answer, in seconds",
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0],
            ),
            by_api: Box::new(by_api),
            exemplars: Exemplars::new(),
            error_events: register.counter("kes_log_error_events", "Lines of the error log"),
            audit_events: register.counter("kes_log_audit_events", "Audited requests"),
            dropped_lines: register.counter(
                "kes_log_dropped_lines",
                "Log lines that could not be written, or were left out because their reader was too slow",
            ),
            lost_changes: register.counter(
                "kes_log_lost_changes",
                "Lines of the audit log that could not be written although they are about changes to keys",
            ),
            audit_file: AuditFile::new(&register),
            log_queues: LogQueues::new(&register),
            migration: Migration::new(&register),
            traces: Traces::new(&register),
            merged_requests: register.counter(
                "kes_log_merged_requests",
                "Refused or failed requests that a line of either log tells together with others",
            ),
            connections: register.gauge("kes_tls_connections", "Open connections"),
            max_connections: register.gauge(
                "kes_tls_connections_limit",
                "How many connections may be open at once, by the limit of open files",
            ),
            strangers: register.gauge(
                "kes_tls_strangers",
                "Open connections of clients that no policy names",
            ),
            displaced_connections: register.counter(
                "kes_tls_displaced_connections",
                "Connections that ended because a new one found all in use",
            ),
            handshake_errors: register
                .counter("kes_tls_handshake_errors", "TLS handshakes that failed"),
            proxy_header_errors: register.counter(
                "kes_tls_proxy_header_errors",
                "Connections of load balancers without a valid PROXY protocol header",
            ),
            client_certificates: ClientCertificates::new(&register),
            reloads: Reloads::new(&register),
            cache: Cache::new(&register),
            snapshot: Snapshot::new(&register),
            store_calls,
            certificate_end: AtomicI64::new(0),
            system: System::new(&register),
            texts: Mutex::default(),
            registry: register.0,
        }
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, operation: Option<Operation>, status: u16, took: Duration) {
        let counter = match status {
            200..=299 => &self.success,
            500.. => &self.failure,
            _ => &self.error,
        };
        counter.inc(status);
        let seconds = took.as_secs_f64();
        self.response_time.observe(seconds);
        if let Some(api) = operation.and_then(|operation| self.by_api.get(operation.index())) {
            api.observe(seconds);
        }
    }

    /// Keeps the trace of a request that was answered, if it was slow.
    pub(crate) fn trace(&self, operation: Operation, took: Duration, headers: &HeaderMap) {
        self.exemplars.note(operation, took, headers);
    }

    /// The metrics for an audience. `is_known` tells which identities have a policy.
    pub(crate) fn text(
        &self,
        audience: Audience,
        gauges: &Gauges,
        is_known: impl Fn(&Identity) -> bool,
    ) -> Exposition {
        let _one_at_a_time = self.texts.lock();
        let active = self.classes.requests.sum();
        self.active.set(active);
        self.reserved_bytes.set(self.classes.reserved_bytes.sum());
        let in_use = self.connections.get().saturating_add(active);
        self.system.show(gauges, in_use, self.certificate_end.load(Ordering::Relaxed));
        self.audit_file.show(gauges.audit_queue);
        self.log_queues.show(gauges.log_queues);
        self.snapshot.show(gauges.snapshot.as_ref());
        self.migration.show(gauges.pair.as_ref());
        self.client_certificates.show(is_known, SystemTime::now());
        let mut families = self.registry.gather();
        families.retain(|family| audience.gets(family));
        let text = TextEncoder::new().encode_to_string(&families).unwrap_or_default();
        match audience {
            Audience::Everything(Format::OpenMetrics) => Exposition {
                content_type: open_metrics::CONTENT_TYPE,
                text: open_metrics::text(&text, &self.exemplars()),
            },
            Audience::Everything(Format::Text) | Audience::OneSeries => {
                Exposition { content_type: CONTENT_TYPE, text }
            }
        }
    }

    /// The exemplars, by the series of their buckets.
    fn exemplars(&self) -> HashMap<String, String> {
        let of_route = |route: &kes_api::Route| {
            let path = route.path;
            self.exemplars.of(route.operation).map(move |(le, exemplar)| {
                (format!("{BY_API}_bucket{{api=\"{path}\",le=\"{le}\"}}"), exemplar)
            })
        };
        ROUTES.iter().flat_map(of_route).collect()
    }
}

impl kes_keys::Observer for Metrics {
    fn cache_hit(&self) {
        self.cache.hits.inc();
    }

    fn cache_miss(&self) {
        self.cache.misses.inc();
    }

    fn negative_hit(&self) {
        self.cache.negative_hits.inc();
    }

    fn refreshed(&self, refresh: kes_keys::Refresh) {
        self.cache.refreshed(refresh);
    }

    fn snapshot_hit(&self) {
        self.snapshot.hits.inc();
    }

    fn snapshot_written(&self) {
        self.snapshot.writes.inc();
    }

    fn snapshot_failed(&self) {
        self.snapshot.errors.inc();
    }

    fn snapshot_refused(&self) {
        self.snapshot.refused.inc();
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
    fn invalid_record(&self) {
        self.store_calls[StoreOperation::Read as usize].errors.inc();
    }
}

impl kes_keystore::wrap::Meter for Metrics {
    fn store_call(
        &self,
        operation: StoreOperation,
        took: Duration,
        failure: Option<&kes_keystore::Error>,
    ) {
        #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
        let calls = &self.store_calls[operation as usize];
        calls.latency.observe(took.as_secs_f64());
        if failure.is_some_and(kes_keystore::Error::is_failure) {
            calls.errors.inc();
        }
    }
}

/// The histogram of each API.
const BY_API: &str = "kes_api_response_time";

/// From 50 µs: what a cached key takes.
const FINE_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 15.0,
];

/// In the order of the enum, which is that of `store_calls`.
const STORE_OPERATIONS: [StoreOperation; 4] =
    [StoreOperation::Create, StoreOperation::Read, StoreOperation::Delete, StoreOperation::List];
