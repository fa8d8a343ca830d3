use std::sync::Arc;

use kes_keystore::pair::Notes;
use kes_keystore::{PairReport, Side, State};
use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::register::Register;

/// Two key stores at once.
pub(crate) struct Migration {
    /// What the stores count themselves, from one configuration to the next.
    pub(crate) notes: Arc<Notes>,
    differences: IntCounter,
    from_second: IntCounter,
    unfinished: IntGauge,
    /// Only set while there are two.
    stage: IntGaugeVec,
    reachable: IntGaugeVec,
    keys: IntGaugeVec,
}

impl Migration {
    pub(super) fn new(register: &Register) -> Self {
        Self {
            notes: Arc::default(),
            differences: register.counter(
                "kes_migration_differences",
                "Reads of keys that have different values in the two key stores",
            ),
            from_second: register.counter(
                "kes_migration_second_reads",
                "Reads that were answered by the key store that is asked second",
            ),
            unfinished: register.gauge(
                "kes_migration_unfinished",
                "Changes that were made in one key store and are still to be made in the other one",
            ),
            stage: register.gauges(
                "kes_migration_stage",
                "1 for the stage of the migration",
                &["read", "write", "compare"],
            ),
            reachable: register.gauges(
                "kes_migration_store_reachable",
                "Whether each of the two key stores answers",
                &["store"],
            ),
            keys: register.gauges(
                "kes_migration_keys",
                "Keys that the old key store alone has, the new one alone, and both, when they were \
                 last counted",
                &["in"],
            ),
        }
    }

    /// Sets them.
    pub(super) fn show(&self, report: Option<&PairReport>) {
        self.differences.reset();
        self.differences.inc_by(self.notes.differences());
        self.from_second.reset();
        self.from_second.inc_by(self.notes.from_second());
        self.unfinished.set(int(self.notes.unfinished()));
        for gauges in [&self.stage, &self.reachable, &self.keys] {
            gauges.reset();
        }
        let Some(PairReport { stage, stores, count, .. }) = report else { return };
        let compare = if stage.compare { "on" } else { "off" };
        self.stage.with_label_values(&[stage.read.word(), stage.write.word(), compare]).set(1);
        for (side, store) in [Side::Old, Side::New].into_iter().zip(stores) {
            let is_reachable = matches!(store.state, State::Reachable { .. });
            self.reachable.with_label_values(&[side.word()]).set(i64::from(is_reachable));
        }
        if let Some(count) = count {
            for (place, keys) in
                [("old", count.only_old), ("new", count.only_new), ("both", count.both)]
            {
                self.keys.with_label_values(&[place]).set(int(keys));
            }
        }
    }
}

fn int(value: usize) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
