//! What the view shows of one reading: the metrics that it knows, by the labels that it knows.
//!
//! A server may send any text. What is kept of it is limited by what is known here, by [`MAX_APIS`]
//! and [`MAX_CODES`]; the client reads 4 MiB at most.

use std::collections::BTreeMap;

use super::histogram::Histogram;

/// The most APIs and calls of which durations are kept. A key server has 25, and 4.
const MAX_APIS: usize = 64;

/// The most statuses that are counted.
const MAX_CODES: usize = 64;

/// The most bytes of the name of an API. None has more than 30.
const MAX_NAME: usize = 64;

/// Metrics that are summed over their labels.
const SUMS: [&str; 36] = [
    "kes_audit_file_lost_records",
    "kes_audit_file_queued_records",
    "kes_cache_age",
    "kes_cache_hits",
    "kes_cache_keys",
    "kes_cache_misses",
    "kes_cache_negative_hits",
    "kes_class_log_followers_refused",
    "kes_class_store_calls",
    "kes_class_store_calls_refused",
    "kes_http_limited_requests",
    "kes_http_request_active",
    "kes_http_request_error",
    "kes_http_request_failure",
    "kes_http_request_success",
    "kes_http_reservations_refused",
    "kes_http_reserved_bytes",
    "kes_http_reserved_bytes_limit",
    "kes_keystore_errors",
    "kes_keystore_pin_faults",
    "kes_keystore_reachable",
    "kes_keystore_token_life",
    "kes_log_audit_events",
    "kes_log_dropped_lines",
    "kes_log_error_events",
    "kes_policy_refusals",
    "kes_system_mem_resident",
    "kes_system_num_cpu_used",
    "kes_system_num_threads",
    "kes_system_up_time",
    "kes_tls_certificate_expiry",
    "kes_tls_connections",
    "kes_tls_connections_limit",
    "kes_tls_displaced_connections",
    "kes_tls_handshake_errors",
    "kes_tls_strangers",
];

/// The metrics of one reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    sums: BTreeMap<&'static str, f64>,
    /// Refused and failed requests by their status.
    pub(super) codes: BTreeMap<u16, f64>,
    /// All requests.
    pub(super) requests: Histogram,
    /// Requests by the path of their API.
    pub(super) apis: BTreeMap<String, Histogram>,
    /// Calls to the key store by what they do.
    pub(super) calls: BTreeMap<String, Histogram>,
}

impl Figures {
    /// Reads the text format 0.0.4 of Prometheus. Whatever else is there is left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = series(line) {
                figures.take(name, labels, value);
            }
        }
        figures
    }

    fn take(&mut self, name: &str, labels: &str, value: f64) {
        let bound = || label(labels, "le").and_then(|bound| bound.parse::<f64>().ok());
        match name {
            "kes_http_response_time_bucket" => {
                if let Some(bound) = bound() {
                    self.requests.add(bound, value.max(0.0));
                }
            }
            "kes_api_response_time_bucket" => {
                let api = label(labels, "api").and_then(|api| entry(&mut self.apis, api));
                if let (Some(api), Some(bound)) = (api, bound()) {
                    api.add(bound, value.max(0.0));
                }
            }
            "kes_keystore_response_time_bucket" => {
                let call = label(labels, "call").and_then(|call| entry(&mut self.calls, call));
                if let (Some(call), Some(bound)) = (call, bound()) {
                    call.add(bound, value.max(0.0));
                }
            }
            _ => {
                let Ok(at) = SUMS.binary_search(&name) else { return };
                *self.sums.entry(SUMS[at]).or_default() += value;
                if matches!(name, "kes_http_request_error" | "kes_http_request_failure") {
                    let code = label(labels, "code").and_then(|code| code.parse::<u16>().ok());
                    if let Some(code) = code
                        && (self.codes.len() < MAX_CODES || self.codes.contains_key(&code))
                    {
                        *self.codes.entry(code).or_default() += value.max(0.0);
                    }
                }
            }
        }
    }

    /// The sum of a metric of [`SUMS`]; `None` if the server does not tell it.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        debug_assert!(SUMS.contains(&name), "{name} is not read");
        self.sums.get(name).copied()
    }

    /// All requests that were answered.
    pub(super) fn answered(&self) -> Option<f64> {
        let counts = [
            self.sum("kes_http_request_success"),
            self.sum("kes_http_request_error"),
            self.sum("kes_http_request_failure"),
        ];
        counts.into_iter().flatten().reduce(|sum, count| sum + count)
    }

    /// The durations of all requests, in the finest buckets that there are.
    pub(super) fn durations(&self) -> Histogram {
        if self.apis.is_empty() {
            return self.requests.clone();
        }
        let mut all = Histogram::default();
        for api in self.apis.values() {
            all.merge(api);
        }
        all
    }
}

/// The histogram of a name, as long as there are not too many.
fn entry<'a>(of: &'a mut BTreeMap<String, Histogram>, name: &str) -> Option<&'a mut Histogram> {
    if !of.contains_key(name) {
        if of.len() >= MAX_APIS || name.len() > MAX_NAME {
            return None;
        }
        of.insert(name.to_owned(), Histogram::default());
    }
    of.get_mut(name)
}

/// The name, the labels and the value of a line. `None` if it has no such form, or its value is not
/// finite.
fn series(line: &str) -> Option<(&str, &str, f64)> {
    let (name, rest) = line.split_at_checked(line.find(['{', ' '])?)?;
    let (labels, value) = match rest.strip_prefix('{') {
        None => ("", rest),
        Some(rest) => {
            let end = outside_quotes(rest, b'}')?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
    };
    // A time may follow it.
    let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
    value.is_finite().then_some((name, labels, value))
}

/// The value of a label as it is written, with escapes.
fn label<'a>(mut labels: &'a str, wanted: &str) -> Option<&'a str> {
    loop {
        let (name, rest) = labels.split_once("=\"")?;
        let end = closing(rest)?;
        let value = rest.get(..end)?;
        if name.trim_start_matches([',', ' ']) == wanted {
            return Some(value);
        }
        labels = rest.get(end + 1..)?;
    }
}

/// Where a quoted text ends.
fn closing(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// Where a byte stands first that is not within quotes.
fn outside_quotes(text: &str, wanted: u8) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.bytes().position(|byte| {
        if byte == b'"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = byte == b'\\' && !is_escaped;
        byte == wanted && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_read_is_in_order() {
        assert!(SUMS.is_sorted());
    }

    #[test]
    fn metrics_are_read_with_their_labels() {
        let figures = Figures::parse(
            "# HELP kes_http_request_error refused\n\
             kes_http_request_error{code=\"403\"} 3\n\
             kes_http_request_error{code=\"404\"} 4 1712345678\n\
             kes_http_request_failure{x=\"}, code=\\\"\",code=\"502\"} 1\n\
             kes_api_response_time_bucket{api=\"/v1/key/decrypt/\",le=\"0.001\"} 5\n\
             kes_api_response_time_bucket{api=\"/v1/key/decrypt/\",le=\"+Inf\"} 6\n\
             kes_keystore_response_time_bucket{call=\"read\",le=\"+Inf\"} 7\n\
             kes_cache_hits NaN\n\
             kes_cache_misses -Inf\n\
             kes_tls_certificate_expiry -5\n\
             kes_secret 8\n\
             nonsense\n{}\n{ 1\nkes_cache_keys{ 2\n",
        );
        assert_eq!(figures.sum("kes_http_request_error"), Some(7.0));
        assert_eq!(figures.answered(), Some(8.0));
        let codes: Vec<_> = figures.codes.clone().into_iter().collect();
        assert_eq!(codes, [(403, 3.0), (404, 4.0), (502, 1.0)]);
        assert_eq!(figures.apis["/v1/key/decrypt/"].count(), 6.0);
        assert_eq!(figures.calls["read"].count(), 7.0);
        assert_eq!(figures.sum("kes_cache_hits"), None);
        assert_eq!(figures.sum("kes_cache_misses"), None);
        assert_eq!(figures.sum("kes_cache_keys"), None);
        assert_eq!(figures.sum("kes_tls_certificate_expiry"), Some(-5.0));
        assert_eq!(figures.durations().count(), 6.0);
        // A server without durations by API.
        let coarse = Figures::parse("kes_http_response_time_bucket{le=\"+Inf\"} 9\n");
        assert_eq!(coarse.durations().count(), 9.0);
        assert_eq!(coarse.answered(), None);
    }

    #[test]
    fn what_is_kept_of_a_text_is_limited() {
        let mut text = String::new();
        for number in 0..20_000 {
            for line in [
                format!("kes_api_response_time_bucket{{api=\"/{number}\",le=\"{number}\"}} 1\n"),
                format!("kes_keystore_response_time_bucket{{call=\"{number}\",le=\"1\"}} 1\n"),
                format!("kes_http_request_error{{code=\"{number}\"}} 1\n"),
                format!("kes_other_{number} 1\n"),
            ] {
                text += &line;
            }
        }
        text +=
            &format!("kes_api_response_time_bucket{{api=\"{}\",le=\"1\"}} 1\n", "x".repeat(100));
        let figures = Figures::parse(&text);
        assert_eq!((figures.apis.len(), figures.calls.len()), (MAX_APIS, MAX_APIS));
        assert_eq!((figures.codes.len(), figures.sums.len()), (MAX_CODES, 1));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(kes_api_response_time_bucket|kes_cache_hits|\\PC{0,5})[{}=\",\\\\ a-z0-9]{0,40}") {
            Figures::parse(&text);
        }
    }
}
