//! One reading of the metrics in its JSON form (contract `cli.md`, Metrics): first the
//! reference's fields in its order, always all of them, then all other metrics.

use std::collections::BTreeMap;

use kes_api::Timestamp;
use serde::Serialize;
use serde_json::Number;

/// The metrics at one point in time. The names in JSON are the metrics' names.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    #[serde(rename = "kes_http_request_success")]
    pub(super) success: u64,
    #[serde(rename = "kes_http_request_error")]
    pub(super) error: u64,
    #[serde(rename = "kes_http_request_failure")]
    pub(super) failure: u64,
    #[serde(rename = "kes_http_request_active")]
    pub(super) active: u64,
    /// Upper bound in nanoseconds to number of requests. The SDK stores bounds as Go's durations,
    /// which are nanoseconds in JSON.
    #[serde(rename = "kes_http_response_time")]
    pub(super) response_time: BTreeMap<u64, u64>,
    #[serde(rename = "kes_log_error_events")]
    pub(super) error_events: u64,
    #[serde(rename = "kes_log_audit_events")]
    pub(super) audit_events: u64,
    /// In nanoseconds, as in the SDK.
    #[serde(rename = "kes_system_up_time")]
    pub(super) up_time: u64,
    #[serde(rename = "kes_system_num_cpu")]
    pub(super) num_cpu: u64,
    #[serde(rename = "kes_system_num_cpu_used")]
    pub(super) num_cpu_used: u64,
    #[serde(rename = "kes_system_num_threads")]
    pub(super) num_threads: u64,
    #[serde(rename = "kes_system_mem_heap_used")]
    pub(super) mem_heap_used: u64,
    #[serde(rename = "kes_system_mem_heap_objects")]
    pub(super) mem_heap_objects: u64,
    #[serde(rename = "kes_system_mem_stack_used")]
    pub(super) mem_stack_used: u64,
    /// When it was read.
    pub(super) time: Timestamp,
    /// All others, each summed over its labels; count and sum of histograms.
    #[serde(flatten)]
    pub(super) others: BTreeMap<String, Number>,
}

const RESPONSE_TIME: &str = "kes_http_response_time_bucket";
const NANOSECONDS: f64 = 1e9;

impl Sample {
    /// Parses the text format 0.0.4 of Prometheus. Other lines are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        let mut response_time: BTreeMap<u64, u64> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some(name) = line.split(['{', ' ']).next() else { continue };
            // A label's value may contain a blank; the metric's value is the last word.
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            let Some(value) = value.filter(|_| !name.is_empty()) else { continue };
            if name == RESPONSE_TIME {
                if let Some(bound) = upper_bound(line) {
                    let count = response_time.entry(whole(bound * NANOSECONDS)).or_default();
                    // A server may print any number.
                    *count = count.saturating_add(whole(value));
                }
            } else if !name.ends_with("_bucket") {
                *sums.entry(name).or_default() += value;
            }
        }
        let mut take = |name| sums.remove(name).unwrap_or_default();
        Self {
            success: whole(take("kes_http_request_success")),
            error: whole(take("kes_http_request_error")),
            failure: whole(take("kes_http_request_failure")),
            active: whole(take("kes_http_request_active")),
            response_time,
            error_events: whole(take("kes_log_error_events")),
            audit_events: whole(take("kes_log_audit_events")),
            up_time: whole(take("kes_system_up_time") * NANOSECONDS),
            num_cpu: whole(take("kes_system_num_cpu")),
            num_cpu_used: whole(take("kes_system_num_cpu_used")),
            num_threads: whole(take("kes_system_num_threads")),
            mem_heap_used: whole(take("kes_system_mem_heap_used")),
            mem_heap_objects: whole(take("kes_system_mem_heap_objects")),
            mem_stack_used: whole(take("kes_system_mem_stack_used")),
            time: Timestamp::now(),
            others: sums
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), number(value)?)))
                .collect(),
        }
    }
}

/// The upper bound of a bucket, in seconds; `None` for the last one, which is infinite.
fn upper_bound(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("le=\"")?;
    let (bound, _) = rest.split_once('"')?;
    bound.parse::<f64>().ok().filter(|bound| bound.is_finite())
}

/// The nearest whole number; 0 for NaN.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` takes negative numbers to 0, those that are too large to the largest"
)]
pub(super) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A number, without `.0` if it is whole; `None` if JSON cannot express it.
fn number(value: f64) -> Option<Number> {
    let text = value.to_string();
    text.parse::<u64>().ok().map(Number::from).or_else(|| Number::from_f64(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_reading(text: String) {
            serde_json::to_string(&Sample::parse(&text)).unwrap();
        }
    }

    #[test]
    fn buckets_of_any_size_are_summed() {
        let bucket = "kes_http_response_time_bucket{le=\"1\"} 1e20\n";
        let sample = Sample::parse(&bucket.repeat(2));
        assert_eq!(sample.response_time, [(1_000_000_000, u64::MAX)].into());
    }

    fn json(text: &str) -> String {
        let json = serde_json::to_string(&Sample::parse(text)).unwrap();
        let (before, after) = json.split_once(",\"time\":\"").unwrap();
        let (_, after) = after.split_once('"').unwrap();
        format!("{before}{after}")
    }

    #[test]
    fn the_fields_of_the_reference_are_always_there_and_in_order() {
        let empty = r#"{"kes_http_request_success":0,"kes_http_request_error":0,"kes_http_request_failure":0,"kes_http_request_active":0,"kes_http_response_time":{},"kes_log_error_events":0,"kes_log_audit_events":0,"kes_system_up_time":0,"kes_system_num_cpu":0,"kes_system_num_cpu_used":0,"kes_system_num_threads":0,"kes_system_mem_heap_used":0,"kes_system_mem_heap_objects":0,"kes_system_mem_stack_used":0}"#;
        assert_eq!(json(""), empty);
    }

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "\
# HELP kes_http_request_success ok
# TYPE kes_http_request_success counter
kes_http_request_success{code=\"200\"} 3
kes_http_request_success{code=\"204\",path=\"a b\"} 4
# TYPE kes_http_response_time histogram
kes_http_response_time_bucket{le=\"0.01\"} 5
kes_http_response_time_bucket{le=\"1.5\"} 6
kes_http_response_time_bucket{le=\"+Inf\"} 7
kes_http_response_time_sum 0.25
kes_http_response_time_count 7
kes_system_up_time 2.5
kes_cache_hits 12
kes_store_time_bucket{le=\"1\"} 1
kes_up NaN
nonsense
";
        let expected = r#"{"kes_http_request_success":7,"kes_http_request_error":0,"kes_http_request_failure":0,"kes_http_request_active":0,"kes_http_response_time":{"10000000":5,"1500000000":6},"kes_log_error_events":0,"kes_log_audit_events":0,"kes_system_up_time":2500000000,"kes_system_num_cpu":0,"kes_system_num_cpu_used":0,"kes_system_num_threads":0,"kes_system_mem_heap_used":0,"kes_system_mem_heap_objects":0,"kes_system_mem_stack_used":0,"kes_cache_hits":12,"kes_http_response_time_count":7,"kes_http_response_time_sum":0.25}"#;
        assert_eq!(json(text), expected);
    }
}
