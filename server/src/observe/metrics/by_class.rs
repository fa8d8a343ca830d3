use prometheus::{IntCounter, IntGauge};

use super::register::Register;

/// The classes of callers, in the order of their index (`transport::Class`).
const CLASSES: [&str; 3] = ["stranger", "known", "admin"];

/// The kinds of calls to the key store, in the order of their index (`service::store_calls`).
const CALLS: [&str; 3] = ["read", "change", "list"];

/// A metric with a series for each class of callers.
pub(crate) struct ByClass<M>([M; CLASSES.len()]);

/// What the callers of each class hold of what is limited, and how often they were refused it.
pub(crate) struct Classes {
    pub(crate) connections: ByClass<IntGauge>,
    pub(crate) displaced_connections: ByClass<IntCounter>,
    pub(crate) requests: ByClass<IntGauge>,
    pub(crate) reserved_bytes: ByClass<IntGauge>,
    pub(crate) reservations_refused: ByClass<IntCounter>,
    store_calls: [ByClass<IntGauge>; CALLS.len()],
    store_calls_refused: [ByClass<IntCounter>; CALLS.len()],
    pub(crate) log_followers_refused: ByClass<IntCounter>,
    pub(crate) merged_requests: ByClass<IntCounter>,
}

impl<M> ByClass<M> {
    fn new(make: impl Fn(&'static str) -> M) -> Self {
        Self(CLASSES.map(make))
    }

    /// The series of the class with an index.
    #[expect(clippy::indexing_slicing, reason = "there is one for each class")]
    pub(crate) fn of(&self, class: usize) -> &M {
        &self.0[class]
    }
}

impl ByClass<IntGauge> {
    /// The value for all classes together.
    pub(crate) fn sum(&self) -> i64 {
        self.0.iter().map(IntGauge::get).sum()
    }
}

impl Classes {
    pub(super) fn new(register: &Register) -> Self {
        let gauges = |name, help| {
            let gauges = register.gauges(name, help, &["class"]);
            ByClass::new(move |class| gauges.with_label_values(&[class]))
        };
        let counters = |name, help| {
            let counters = register.counters(name, help, "class");
            ByClass::new(move |class| counters.with_label_values(&[class]))
        };
        let store_calls = register.gauges(
            "kes_class_store_calls",
            "Calls to the key store that are under way, by class of caller and kind of call",
            &["class", "call"],
        );
        let store_calls_refused = register.counters_by(
            "kes_class_store_calls_refused",
            "Requests refused because too many calls to the key store were under way, by class of \
             caller and kind of call",
            &["class", "call"],
        );
        Self {
            connections: gauges("kes_class_connections", "Open connections, by class of client"),
            displaced_connections: counters(
                "kes_class_displaced_connections",
                "Connections that ended because a new one found all in use, by class of client; a \
                 client whose handshake is not finished is a stranger",
            ),
            requests: gauges(
                "kes_class_requests",
                "Requests that are being served, by class of caller",
            ),
            reserved_bytes: gauges(
                "kes_class_reserved_bytes",
                "Bytes that requests have reserved for large or unfinished bodies, by class of caller",
            ),
            reservations_refused: counters(
                "kes_class_reservations_refused",
                "Requests refused because no bytes were left for their bodies, by class of caller",
            ),
            store_calls: CALLS
                .map(|call| ByClass::new(|class| store_calls.with_label_values(&[class, call]))),
            store_calls_refused: CALLS.map(|call| {
                ByClass::new(|class| store_calls_refused.with_label_values(&[class, call]))
            }),
            log_followers_refused: counters(
                "kes_class_log_followers_refused",
                "Requests to follow a log that were refused because too many clients followed it, by \
                 class of caller",
            ),
            merged_requests: counters(
                "kes_class_merged_requests",
                "Refused or failed requests that a line of either log tells together with others, by \
                 class of caller",
            ),
        }
    }

    /// The calls to the key store of a class, of the kind with an index, that are under way.
    #[expect(clippy::indexing_slicing, reason = "there is one for each kind of call")]
    pub(crate) fn store_calls(&self, class: usize, call: usize) -> &IntGauge {
        self.store_calls[call].of(class)
    }

    /// Those that were refused.
    #[expect(clippy::indexing_slicing, reason = "there is one for each kind of call")]
    pub(crate) fn store_calls_refused(&self, class: usize, call: usize) -> &IntCounter {
        self.store_calls_refused[call].of(class)
    }
}
