//! How many log lines the refused and failed requests of a client may write.
//!
//! Anybody can have requests refused as often as they like. The first of a kind are written one by
//! one; further ones are counted, and one line tells their number, the times of the first and the
//! last of them, and all of the last one. Requests that were served and changes of keys are never
//! merged, and those who follow the audit log are sent every request.
//!
//! Each class of callers has a table of its own, so that strangers cannot take the room of others.

use std::time::Instant;

use parking_lot::Mutex;

use self::table::{Limits, Table};
use crate::observe::logging::Logs;
use crate::observe::logging::audit::Audited;
use crate::observe::metrics::Metrics;
use crate::transport::Class;

/// Counts the requests of a class of callers.
mod table;

/// For clients that no policy names. One that is configured wrongly asks for few things; with these
/// limits all strangers together write less than 50 lines a second.
const STRANGERS: Limits = Limits { kinds: 128, of_client: 8 };

/// For clients with a policy, whose number the configuration limits.
const KNOWN: Limits = Limits { kinds: 512, of_client: 16 };

/// For the admin.
const ADMIN: Limits = Limits { kinds: 64, of_client: 64 };

/// The refused and failed requests of late.
pub(crate) struct Refusals {
    /// In the audit log.
    audited: ByClass,
    /// In the error log.
    failed: ByClass,
}

struct ByClass {
    strangers: Mutex<Table>,
    known: Mutex<Table>,
    admin: Mutex<Table>,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self { audited: ByClass::new(), failed: ByClass::new() }
    }

    /// Records a request in the audit log, by itself or together with others. The class of its
    /// caller, which takes a look at the policies, is asked for only if it was refused.
    pub(super) fn audit(
        &self,
        logs: &Logs,
        metrics: &Metrics,
        class: impl FnOnce() -> Class,
        audited: &Audited<'_>,
    ) {
        if audited.is_refusal() && logs.writes_audit(audited) {
            let class = class();
            if self.audited.of(class).lock().is_merged(audited, Instant::now()) {
                count(metrics, class);
            } else {
                logs.write_audit(audited);
            }
            logs.send_audit(audited);
        } else {
            logs.audit(audited);
        }
    }

    /// Writes the line of a failed request to the error log, or counts it.
    pub(super) fn fail(&self, metrics: &Metrics, class: Class, failed: &Audited<'_>) {
        if self.failed.of(class).lock().is_merged(failed, Instant::now()) {
            count(metrics, class);
        } else {
            log_failure(failed);
        }
    }

    /// Writes the lines of requests that were counted, once they are due, or all of them.
    pub(crate) fn write_due(&self, logs: &Logs, all: bool) {
        let now = Instant::now();
        for merged in self.audited.due(now, all) {
            merged.tell(|audited| logs.write_audit(audited));
        }
        for merged in self.failed.due(now, all) {
            merged.tell(log_failure);
        }
    }
}

impl ByClass {
    fn new() -> Self {
        let table = |limits| Mutex::new(Table::new(limits));
        Self { strangers: table(STRANGERS), known: table(KNOWN), admin: table(ADMIN) }
    }

    const fn of(&self, class: Class) -> &Mutex<Table> {
        match class {
            Class::Stranger => &self.strangers,
            Class::Known => &self.known,
            Class::Admin => &self.admin,
        }
    }

    fn due(&self, now: Instant, all: bool) -> Vec<table::Merged> {
        let tables = [&self.strangers, &self.known, &self.admin];
        tables.into_iter().flat_map(|table| table.lock().due(now, all)).collect()
    }
}

/// Counts a request that is merged with others.
fn count(metrics: &Metrics, class: Class) {
    metrics.merged_requests.inc();
    metrics.classes.merged_requests.of(class.index()).inc();
}

/// Writes a line of the error log for a request that failed through no fault of its client, or for
/// several. Clients that follow that log are sent the message alone.
fn log_failure(failed: &Audited<'_>) {
    let message = failed.refusal.unwrap_or_default();
    let times = failed.several.map(|several| format!(" ({} times)", several.count));
    tracing::error!(
        req.method = %failed.method,
        req.path = %failed.path,
        req.ip = %failed.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        req.identity = %failed.identity.map(|identity| identity.to_string()).unwrap_or_default(),
        count = failed.several.map(|several| several.count),
        first = failed.several.map(|several| tracing::field::display(several.first_text())),
        last = failed.several.map(|several| tracing::field::display(several.last_text())),
        "{message}{}", times.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use kes_api::{Identity, Operation};

    use super::*;
    use crate::observe::logging::stream::{Lines, Place};
    use crate::transport::Peer;

    const CLASSES: [Class; 3] = [Class::Stranger, Class::Known, Class::Admin];

    struct World {
        metrics: Arc<Metrics>,
        logs: Arc<Logs>,
        refusals: Refusals,
    }

    impl World {
        fn new() -> Self {
            let metrics = Arc::new(Metrics::new());
            let logs = Logs::start(Arc::clone(&metrics));
            Self { metrics, logs, refusals: Refusals::new() }
        }

        fn audit(&self, class: Class, audited: &Audited<'_>) {
            self.refusals.audit(&self.logs, &self.metrics, || class, audited);
        }

        fn follow(&self) -> Lines {
            let reader = Peer::unconnected(Ok(Identity::of_public_key(b"reader")));
            self.logs.audit_stream.follow(Arc::new(reader), Place::Admin).unwrap()
        }

        /// How many requests were merged, of a class and in all.
        fn merged(&self, class: Class) -> (u64, u64) {
            let of_class = self.metrics.classes.merged_requests.of(class.index()).get();
            (of_class, self.metrics.merged_requests.get())
        }
    }

    fn answered(status: u16) -> Audited<'static> {
        Audited {
            operation: Operation::CreateKey,
            method: "PUT",
            path: "/v1/key/create/k",
            resource: "k",
            ip: None,
            identity: None,
            status,
            is_suspicious: false,
            changed_nothing: false,
            took: Duration::ZERO,
            refusal: (status >= 400).then_some("no"),
            reason: None,
            several: None,
        }
    }

    /// How many lines a follower was sent.
    fn sent(lines: &mut Lines) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| lines.poll_next(&mut context).is_ready().then_some(())).count()
    }

    #[test]
    fn further_refusals_of_a_class_are_merged_and_followers_are_sent_all() {
        let world = World::new();
        let mut follower = world.follow();
        for (before, class) in (0..).zip(CLASSES) {
            for _ in 0..100 {
                world.audit(class, &answered(403));
            }
            assert_eq!(world.merged(class), (84, 84 * (before + 1)), "{class:?}");
        }
        assert_eq!(sent(&mut follower), 300);
        // Each class has a line that tells the number.
        let due = || world.refusals.audited.due(Instant::now(), true).len();
        assert_eq!((due(), due()), (3, 0));
    }

    #[test]
    fn changes_of_keys_are_never_merged() {
        let world = World::new();
        let mut follower = world.follow();
        for status in [200, 500] {
            (0..100).for_each(|_| world.audit(Class::Known, &answered(status)));
        }
        assert_eq!(world.merged(Class::Known), (0, 0));
        assert_eq!(sent(&mut follower), 200);
    }

    #[test]
    fn what_was_merged_is_written_when_it_is_due() {
        let world = World::new();
        for _ in 0..100 {
            world.audit(Class::Stranger, &answered(403));
            world.refusals.fail(&world.metrics, Class::Known, &answered(503));
        }
        assert_eq!(world.merged(Class::Stranger), (84, 168));
        assert_eq!(world.merged(Class::Known), (84, 168));
        world.refusals.write_due(&world.logs, true);
        for table in [&world.refusals.audited, &world.refusals.failed] {
            assert!(table.due(Instant::now(), true).is_empty());
        }
    }
}
