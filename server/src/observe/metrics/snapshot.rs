use kes_api::Timestamp;
use kes_keys::SnapshotStatus;
use prometheus::{Gauge, IntCounter, IntGauge};

use super::register::Register;

/// The snapshot of the keys in use.
pub(super) struct Snapshot {
    pub(super) hits: IntCounter,
    pub(super) writes: IntCounter,
    pub(super) errors: IntCounter,
    pub(super) refused: IntCounter,
    keys: IntGauge,
    age: Gauge,
    is_used: IntGauge,
}

impl Snapshot {
    pub(super) fn new(register: &Register) -> Self {
        Self {
            hits: register.counter(
                "kes_snapshot_hits",
                "Requests for a key that was taken from the snapshot, because the key store could not \
                 be reached",
            ),
            writes: register.counter("kes_snapshot_writes", "Snapshots that were written"),
            errors: register.counter("kes_snapshot_errors", "Snapshots that could not be written"),
            refused: register.counter(
                "kes_snapshot_refused",
                "Snapshots that were found and not used: damaged, old, copied, or of another server",
            ),
            keys: register.gauge("kes_snapshot_keys", "Keys in the snapshot"),
            age: register.float(
                "kes_snapshot_age",
                "Seconds since the snapshot was written; 0 without one",
            ),
            is_used: register.gauge(
                "kes_snapshot_used",
                "Whether keys come from the snapshot now, because the key store cannot be reached",
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn show(&self, status: Option<&SnapshotStatus>) {
        let age = |written: Timestamp| {
            let age = Timestamp::now().unix_seconds().saturating_sub(written.unix_seconds());
            u32::try_from(age.max(0)).map_or(f64::INFINITY, f64::from)
        };
        let written = status.and_then(|status| status.written);
        self.age.set(written.map_or(0.0, age));
        let keys = status.map_or(0, |status| status.keys);
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.is_used.set(i64::from(status.is_some_and(|status| status.is_used)));
    }
}
