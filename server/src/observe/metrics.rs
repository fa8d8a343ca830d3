//! Counters, and the Prometheus text (contract `api.md`, Metrics).
//!
//! A request updates atomic counters only. Values that are states rather than events are read when
//! the text is made.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use kes_api::Operation;
use kes_api::route::ROUTES;
use kes_keystore::{Logins, StoreOperation};
use parking_lot::Mutex;
use prometheus::{
    Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

pub(crate) use self::audience::Audience;
use self::audience::BY_CODE;
use self::by_class::Classes;
pub(crate) use self::limited::{LimitKind, Limited};
use self::register::Register;
use self::reloads::Reloads;
use super::process::Process;

/// Which metrics a client is sent.
mod audience;

/// What each class of callers holds.
mod by_class;

/// Requests that a limit of their caller refused.
mod limited;

/// Reloads.
mod reloads;

/// How metrics are made.
mod register;

/// The media type of the text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

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
    response_time: Histogram,
    by_api: Box<[Histogram; Operation::COUNT]>,
    pub(crate) error_events: IntCounter,
    pub(crate) audit_events: IntCounter,
    pub(crate) dropped_lines: IntCounter,
    pub(crate) lost_changes: IntCounter,
    pub(crate) merged_requests: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) max_connections: IntGauge,
    pub(crate) strangers: IntGauge,
    pub(crate) displaced_connections: IntCounter,
    pub(crate) handshake_errors: IntCounter,
    pub(crate) proxy_header_errors: IntCounter,
    pub(crate) reloads: Reloads,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    store_calls: [StoreCalls; 4],
    /// When the server's certificate ends, in seconds since 1970.
    pub(crate) certificate_end: AtomicI64,
    system: System,
    /// Held while the text is made, which sets gauges to the values of the moment.
    texts: Mutex<()>,
}

/// Values that are read when the text is made.
pub(crate) struct Gauges {
    pub(crate) uptime: Duration,
    pub(crate) cached_keys: usize,
    pub(crate) cache_age: Duration,
    pub(crate) store_reachable: bool,
    pub(crate) logins: Option<Logins>,
}

struct StoreCalls {
    errors: IntCounter,
    latency: Histogram,
}

struct System {
    up_time: Gauge,
    num_cpu: IntGauge,
    num_cpu_used: IntGauge,
    num_threads: IntGauge,
    heap_used: IntGauge,
    heap_objects: IntGauge,
    stack_used: IntGauge,
    resident: IntGauge,
    certificate_expiry: Gauge,
    cached_keys: IntGauge,
    cache_age: Gauge,
    store_reachable: IntGauge,
    /// Only set for a key store that needs logins.
    logins: IntCounterVec,
    token_life: GaugeVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let register = Register(Registry::new());
        let by_api = register.histograms(
            "kes_api_response_time",
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
        let store_calls = STORE_OPERATIONS.map(|(_, call)| StoreCalls {
            errors: store_errors.with_label_values(&[call]),
            latency: store_latency.with_label_values(&[call]),
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
            response_time: register.histogram(
                "kes_http_response_time",
                "Time from a request's arrival to its answer, in seconds",
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0],
            ),
            by_api: Box::new(by_api),
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
            reloads: Reloads::new(&register),
            cache_hits: register.counter("kes_cache_hits", "Requests for a key in memory"),
            cache_misses: register
                .counter("kes_cache_misses", "Requests for a key that was not in memory"),
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

    /// The text, version 0.0.4, with the metrics for an audience.
    pub(crate) fn text(&self, audience: Audience, gauges: &Gauges) -> String {
        let _one_at_a_time = self.texts.lock();
        let process = Process::now();
        let system = &self.system;
        system.up_time.set(gauges.uptime.as_secs_f64());
        system.num_cpu.set(int(process.cpus));
        system.num_cpu_used.set(int(process.cpus_used));
        system.num_threads.set(int(process.threads));
        system.heap_used.set(int(process.heap));
        system.stack_used.set(int(process.stack));
        system.resident.set(int(process.resident));
        let active = self.classes.requests.sum();
        self.active.set(active);
        self.reserved_bytes.set(self.classes.reserved_bytes.sum());
        let connections = self.connections.get().saturating_add(active);
        system.heap_objects.set(int(gauges.cached_keys).saturating_add(connections));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let end = self.certificate_end.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "seconds of some years")]
        system.certificate_expiry.set(end as f64 - now.as_secs_f64());
        system.cached_keys.set(int(gauges.cached_keys));
        system.cache_age.set(gauges.cache_age.as_secs_f64());
        system.store_reachable.set(i64::from(gauges.store_reachable));
        system.logins.reset();
        system.token_life.reset();
        if let Some(logins) = gauges.logins {
            system.logins.with_label_values(&["success"]).inc_by(logins.succeeded);
            system.logins.with_label_values(&["error"]).inc_by(logins.failed);
            let life = match logins.token_life {
                Duration::MAX => f64::INFINITY,
                life => life.as_secs_f64(),
            };
            system.token_life.with_label_values::<&str>(&[]).set(life);
        }
        let mut families = self.registry.gather();
        families.retain(|family| audience.gets(family));
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

impl kes_keys::Observer for Metrics {
    fn cache_hit(&self) {
        self.cache_hits.inc();
    }

    fn cache_miss(&self) {
        self.cache_misses.inc();
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
        use kes_keystore::Error as Store;
        #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
        let calls = &self.store_calls[operation as usize];
        calls.latency.observe(took.as_secs_f64());
        // A missing or existing key is an answer of the key store, not a failure.
        if let Some(
            Store::Corrupt { .. }
            | Store::Foreign { .. }
            | Store::Locked { .. }
            | Store::Unusable { .. }
            | Store::Unreachable { .. }
            | Store::Unavailable { .. },
        ) = failure
        {
            calls.errors.inc();
        }
    }
}

impl System {
    fn new(register: &Register) -> Self {
        Self {
            up_time: register.float("kes_system_up_time", "Seconds since the start"),
            num_cpu: register.gauge("kes_system_num_cpu", "Processors of the machine"),
            num_cpu_used: register
                .gauge("kes_system_num_cpu_used", "Processors that the server uses"),
            num_threads: register.gauge("kes_system_num_threads", "Threads of the process"),
            heap_used: register
                .gauge("kes_system_mem_heap_used", "Bytes of anonymous memory in use"),
            heap_objects: register.gauge(
                "kes_system_mem_heap_objects",
                "Keys in memory, open connections and running requests; \
                 the allocator counts no objects",
            ),
            stack_used: register.gauge("kes_system_mem_stack_used", "Bytes of stack in use"),
            resident: register.gauge("kes_system_mem_resident", "Bytes of memory in use in all"),
            certificate_expiry: register.float(
                "kes_tls_certificate_expiry",
                "Seconds until the first certificate of the server's chain expires; negative once \
                 it has",
            ),
            cached_keys: register.gauge("kes_cache_keys", "Keys in memory"),
            cache_age: register
                .float("kes_cache_age", "Seconds since the oldest key in memory was read"),
            store_reachable: register
                .gauge("kes_keystore_reachable", "Whether the key store answers"),
            logins: register.counters(
                "kes_keystore_logins",
                "Logins to the key store, by result",
                "result",
            ),
            token_life: register.add(GaugeVec::new(
                Opts::new(
                    "kes_keystore_token_life",
                    "Seconds until the token for the key store expires; 0 without one",
                ),
                &[],
            )),
        }
    }
}

/// From 50 µs: what a cached key takes.
const FINE_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 15.0,
];

/// In the order of the enum, which is that of `store_calls`.
const STORE_OPERATIONS: [(StoreOperation, &str); 4] = [
    (StoreOperation::Create, "create"),
    (StoreOperation::Read, "read"),
    (StoreOperation::Delete, "delete"),
    (StoreOperation::List, "list"),
];

fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A counter by status; common statuses are looked up once. A status that has not occurred has no
/// line in the text, except the first one of each counter: without any line the counter would be
/// missing, and MinIO's SDK would fail.
struct ByCode {
    counters: IntCounterVec,
    known: [OnceLock<IntCounter>; KNOWN_CODES.len()],
}

const KNOWN_CODES: [u16; 9] = [200, 400, 403, 404, 405, 429, 502, 503, 504];

impl ByCode {
    /// The counter has a line for the status `first` from the start.
    fn new(counters: IntCounterVec, first: u16) -> Self {
        let by_code = Self { counters, known: [const { OnceLock::new() }; KNOWN_CODES.len()] };
        by_code.counter(first);
        by_code
    }

    fn inc(&self, code: u16) {
        match KNOWN_CODES.iter().zip(&self.known).find(|(known, _)| **known == code) {
            Some((_, counter)) => counter.get_or_init(|| self.counter(code)).inc(),
            None => self.counter(code).inc(),
        }
    }

    fn counter(&self, code: u16) -> IntCounter {
        self.counters.with_label_values(&[&code.to_string()])
    }
}
