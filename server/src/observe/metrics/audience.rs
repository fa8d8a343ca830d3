//! Which metrics a client is sent (contract `api.md`, Metrics).
//!
//! MinIO's SDK sends no `Accept` header, and fails on any metric that does not have exactly one
//! series, except the three counters of requests by status. Prometheus and other readers of the
//! text format name that format in `Accept`.

use http::HeaderMap;
use http::header::ACCEPT;
use prometheus::proto::MetricFamily;

/// The counters that the SDK accepts with any number of series.
pub(super) const BY_CODE: [&str; 3] =
    ["kes_http_request_success", "kes_http_request_error", "kes_http_request_failure"];

/// What a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All metrics: the client names a text format in `Accept`, or asks for `?all`.
    Everything,
    /// One series for each metric: the client may be the SDK.
    OneSeries,
}

impl Audience {
    /// Decides by the headers and the query of a request.
    pub(crate) fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        if asks_for_all(query) || accepted.any(names_a_text_format) {
            Self::Everything
        } else {
            Self::OneSeries
        }
    }

    /// Whether a metric is sent.
    pub(super) fn gets(self, family: &MetricFamily) -> bool {
        match self {
            Self::Everything => true,
            // A metric with labels is left out even while it has one series: the set of metrics
            // must not depend on what the server was used for.
            Self::OneSeries => {
                BY_CODE.contains(&family.name())
                    || matches!(family.get_metric(), [one] if one.get_label().is_empty())
            }
        }
    }
}

/// Whether a query has the parameter `all`, unless its value means no.
fn asks_for_all(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name == "all" && !matches!(value, "0" | "false" | "no")
    })
}

/// Whether a value of `Accept` has `text/plain` with a version, or OpenMetrics. A client that wants
/// any text sends `text/plain` without a version.
fn names_a_text_format(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let (mut has_version, mut is_refused) = (false, false);
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let (name, value) = (name.trim(), value.trim());
            has_version |= name.eq_ignore_ascii_case("version");
            is_refused |= name.eq_ignore_ascii_case("q")
                && value.parse::<f32>().is_ok_and(|quality| quality <= 0.0);
        }
        let is_text_format = media_type.eq_ignore_ascii_case("application/openmetrics-text")
            || (media_type.eq_ignore_ascii_case("text/plain") && has_version);
        is_text_format && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(accept: &[&str], query: Option<&str>) -> Audience {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        Audience::of(&headers, query)
    }

    #[test]
    fn who_names_a_text_format_is_told_everything() {
        for accept in [
            // Prometheus 2 and 3, VictoriaMetrics, Telegraf.
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
             version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;\
             version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
            "text/plain; version=0.0.4",
            "*/*, Text/Plain ; Version = 0.0.4 ; q=1",
            "application/openmetrics-text",
        ] {
            assert_eq!(audience(&[accept], None), Audience::Everything, "{accept}");
            assert_eq!(audience(&["*/*", accept], None), Audience::Everything, "{accept}");
        }
        for query in ["all", "all=", "all=1", "all=true", "x=1&all", "all&x"] {
            assert_eq!(audience(&[], Some(query)), Audience::Everything, "{query}");
            assert_eq!(audience(&["*/*"], Some(query)), Audience::Everything, "{query}");
        }
    }

    #[test]
    fn anybody_else_may_be_an_sdk() {
        assert_eq!(audience(&[], None), Audience::OneSeries);
        for accept in [
            "",
            ",;,",
            "*/*",
            "text/plain",
            "text/plain;q=0.5",
            "text/*;version=0.0.4",
            "application/json",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain;version=0.0.4;q=0",
            "application/openmetrics-text;q=0.0",
            "application/x-ndjson;version=1",
        ] {
            assert_eq!(audience(&[accept], None), Audience::OneSeries, "{accept}");
        }
        for query in ["", "a", "al", "alls", "x=all", "ALL", "all=0", "all=false", "all=no"] {
            assert_eq!(audience(&[], Some(query)), Audience::OneSeries, "{query}");
        }
    }
}
