//! `kes metric`, as JSON lines.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kes_api::Timestamp;
use serde::Serialize;
use serde_json::Number;
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval};

use super::connect::client;
use crate::args::MetricArgs;
use crate::error::usage;
use crate::output::Output;

/// The metrics at one point in time.
#[derive(Serialize)]
struct Sample {
    time: Timestamp,
    #[serde(flatten)]
    metrics: BTreeMap<String, Number>,
}

/// Prints a line of JSON at each tick, until Ctrl-C or until nobody reads any more.
pub(super) async fn run(args: MetricArgs) -> Result<()> {
    if args.rate < Duration::from_millis(1) {
        return Err(usage("--rate is below 1ms", "kes metric"));
    }
    let mut output = Output::new();
    if output.is_terminal() {
        bail!(
            "the live view of 'kes metric' is not available in this version: \
             its output into a pipe or a file is JSON lines"
        );
    }
    let client = client(&args.connect)?;
    let mut ticks = interval(args.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            signal = ctrl_c() => return Ok(signal?),
        }
        let text = client.metrics().await.context("failed to get the metrics")?;
        output.json(&Sample { time: Timestamp::now(), metrics: sums(&text) })?;
    }
}

/// Reads the text format 0.0.4 of Prometheus. A metric with labels is the sum over them; of a
/// histogram there are count and sum.
fn sums(text: &str) -> BTreeMap<String, Number> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(name) = line.split(['{', ' ']).next() else { continue };
        // A label's value may hold a blank; nothing stands after the value of the metric.
        let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value.filter(|_| !name.is_empty() && !name.ends_with("_bucket")) {
            *sums.entry(name).or_default() += value;
        }
    }
    sums.into_iter().filter_map(|(name, value)| Some((name.to_owned(), number(value)?))).collect()
}

/// A number without `.0` where it is whole; none if JSON has no word for it.
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
        fn any_text_has_its_sums(text: String) {
            let _ = serde_json::to_string(&sums(&text)).unwrap();
        }
    }

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "\
# HELP kes_http_request_success ok
# TYPE kes_http_request_success counter
kes_http_request_success{code=\"200\"} 3
kes_http_request_success{code=\"204\",path=\"a b\"} 4
# TYPE kes_http_response_time histogram
kes_http_response_time_bucket{le=\"0.01\"} 7
kes_http_response_time_sum 0.25
kes_http_response_time_count 7
kes_up NaN
nonsense
";
        let json = serde_json::to_string(&sums(text)).unwrap();
        assert_eq!(
            json,
            r#"{"kes_http_request_success":7,"kes_http_response_time_count":7,"kes_http_response_time_sum":0.25}"#
        );
    }
}
