use prometheus::IntCounterVec;
use prometheus::core::Collector as _;

use super::register::Register;

/// The label of identities without a policy. The API accepts no policy of this name, and an empty label
/// would be none.
pub(crate) const NO_POLICY: &str = "<none>";

/// How many requests the policies have refused, by API and policy. There is a series for what was
/// refused once.
pub(crate) struct PolicyRefusals(IntCounterVec);

const LABELS: [&str; 2] = ["api", "policy"];

impl PolicyRefusals {
    pub(super) fn new(register: &Register) -> Self {
        Self(register.counters_by(
            "kes_policy_refusals",
            "Requests that the policies refused, by API and by the policy of their identity",
            &LABELS,
        ))
    }

    pub(crate) fn inc(&self, api: &str, policy: Option<&str>) {
        self.0.with_label_values(&[api, policy.unwrap_or(NO_POLICY)]).inc();
    }

    /// Drops the series of policies that are gone: a reload may bring others as often as it likes.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        for family in self.0.collect() {
            for series in family.get_metric() {
                let value = |name| series.get_label().iter().find(|label| label.name() == name);
                if let [Some(api), Some(policy)] = LABELS.map(value)
                    && policy.value() != NO_POLICY
                    && !is_there(policy.value())
                {
                    // It was there a moment ago.
                    let _ = self.0.remove_label_values(&[api.value(), policy.value()]);
                }
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn get(&self, api: &str, policy: &str) -> u64 {
        self.0.with_label_values(&[api, policy]).get()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn policies_that_are_gone_have_no_series() {
        let refusals = PolicyRefusals::new(&Register(Registry::new()));
        for policy in [Some("a"), Some("a"), Some("b"), None] {
            refusals.inc("/v1/status", policy);
        }
        refusals.keep(|policy| policy == "a");
        let mut left: Vec<_> = refusals.0.collect()[0]
            .get_metric()
            .iter()
            .map(|series| {
                (series.get_label()[1].value().to_owned(), series.get_counter().get_value())
            })
            .collect();
        left.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(left, [(NO_POLICY.to_owned(), 1.0), ("a".to_owned(), 2.0)]);
    }
}
