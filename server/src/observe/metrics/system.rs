use std::time::{Duration, SystemTime};

use kes_keys::SnapshotStatus;
use kes_keystore::{CertificateEnds, Logins, PairReport};
use prometheus::{Gauge, GaugeVec, IntCounterVec, IntGauge, Opts};

use super::audit_file::Queued;
use super::log_queues::QueuedLines;
use super::register::Register;
use crate::observe::process::Process;

/// Values that are read when the text is made.
pub(crate) struct Gauges {
    pub(crate) uptime: Duration,
    pub(crate) cached_keys: usize,
    pub(crate) missing_names: usize,
    pub(crate) cache_age: Duration,
    pub(crate) pin_faults: usize,
    pub(crate) store_reachable: bool,
    pub(crate) logins: Option<Logins>,
    pub(crate) store_certificates: CertificateEnds,
    pub(crate) pair: Option<PairReport>,
    pub(crate) audit_queue: Queued,
    pub(crate) log_queues: QueuedLines,
    pub(crate) snapshot: Option<SnapshotStatus>,
}

/// Metrics of states, which are read when the text is made.
pub(super) struct System {
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
    missing_names: IntGauge,
    cache_age: Gauge,
    pin_faults: IntGauge,
    store_reachable: IntGauge,
    /// Only set for a key store that needs logins.
    logins: IntCounterVec,
    token_life: GaugeVec,
    /// Only set for a key store that is called with certificates.
    store_certificates: GaugeVec,
}

impl System {
    pub(super) fn new(register: &Register) -> Self {
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
            missing_names: register.gauge(
                "kes_cache_negative_names",
                "Names of keys that were missing just now and are remembered for a second",
            ),
            cache_age: register
                .float("kes_cache_age", "Seconds since the oldest key in memory was read"),
            pin_faults: register.gauge(
                "kes_keystore_pin_faults",
                "Pinned keys that the key store was found not to have, or with another fingerprint",
            ),
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
            store_certificates: register.add(GaugeVec::new(
                Opts::new(
                    "kes_keystore_certificate_expiry",
                    "Seconds until the first CA for the key store that is configured expires, and \
                     the client certificate for it; negative once it has",
                ),
                &["certificate"],
            )),
        }
    }

    /// Sets them. `in_use` counts open connections and running requests; `certificate_end` is in
    /// seconds since 1970.
    pub(super) fn show(&self, gauges: &Gauges, in_use: i64, certificate_end: i64) {
        let process = Process::now();
        self.up_time.set(gauges.uptime.as_secs_f64());
        self.num_cpu.set(int(process.cpus));
        self.num_cpu_used.set(int(process.cpus_used));
        self.num_threads.set(int(process.threads));
        self.heap_used.set(int(process.heap));
        self.stack_used.set(int(process.stack));
        self.resident.set(int(process.resident));
        self.heap_objects.set(int(gauges.cached_keys).saturating_add(in_use));
        let since_1970 = |time: SystemTime| {
            time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
        };
        let now = since_1970(SystemTime::now());
        #[allow(clippy::cast_precision_loss, reason = "seconds of some years")]
        self.certificate_expiry.set(certificate_end as f64 - now);
        self.cached_keys.set(int(gauges.cached_keys));
        self.missing_names.set(int(gauges.missing_names));
        self.cache_age.set(gauges.cache_age.as_secs_f64());
        self.pin_faults.set(int(gauges.pin_faults));
        self.store_reachable.set(i64::from(gauges.store_reachable));
        self.store_certificates.reset();
        let CertificateEnds { ca, client } = gauges.store_certificates;
        for (certificate, end) in [("ca", ca), ("client", client)] {
            if let Some(end) = end {
                let gauge = self.store_certificates.with_label_values(&[certificate]);
                gauge.set(since_1970(end) - now);
            }
        }
        self.logins.reset();
        self.token_life.reset();
        if let Some(logins) = gauges.logins {
            self.logins.with_label_values(&["success"]).inc_by(logins.succeeded);
            self.logins.with_label_values(&["error"]).inc_by(logins.failed);
            let life = match logins.token_life {
                Duration::MAX => f64::INFINITY,
                life => life.as_secs_f64(),
            };
            self.token_life.with_label_values::<&str>(&[]).set(life);
        }
    }
}

fn int(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
