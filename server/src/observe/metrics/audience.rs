//! Which metrics a client is sent (contract `api.md`, Metrics).
//!
//! MinIO's SDK sends no `Accept` header, and fails on any metric that does not have exactly one
//! series, except the three counters of requests by status. Prometheus and other readers of the
//! text format name that format in `Accept`, and may prefer OpenMetrics to it.

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
    Everything(Format),
    /// One series for each metric: the client may be the SDK.
    OneSeries,
}

/// A text of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The one that a client prefers; the text format if it does not say. `None` if it names
    /// neither.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = accepted.flat_map(|value| value.split(',')).filter_map(range);
        // The last of the best ones: OpenMetrics has to be preferred.
        let best = ranges.max_by(|(one, a), (other, b)| {
            a.total_cmp(b).then((*one == Self::Text).cmp(&(*other == Self::Text)))
        });
        best.map(|(format, _)| format)
    }

    /// The one for a client that is sent everything whatever it asks for.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::accepted(headers).unwrap_or(Self::Text)
    }
}

impl Audience {
    /// Decides by the headers and the query of a request.
    pub(crate) fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        match Format::accepted(headers) {
            Some(format) => Self::Everything(format),
            None if asks_for_all(query) => Self::Everything(Format::Text),
            None => Self::OneSeries,
        }
    }

    /// Whether a metric is sent.
    pub(super) fn gets(self, family: &MetricFamily) -> bool {
        match self {
            Self::Everything(_) => true,
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

/// The format that a range of `Accept` names, with its quality: `text/plain` with a version, or
/// OpenMetrics. A client that wants any text sends `text/plain` without a version. OpenMetrics of
/// another version than 1.0 counts as the text format.
fn range(range: &str) -> Option<(Format, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let (mut version, mut quality) = (None, 1.0);
    for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("version") {
            version = Some(value.trim_matches('"'));
        } else if name.eq_ignore_ascii_case("q") {
            quality = value.parse::<f32>().unwrap_or(1.0);
        }
    }
    let format = if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
        if matches!(version, None | Some("1.0.0")) { Format::OpenMetrics } else { Format::Text }
    } else if media_type.eq_ignore_ascii_case("text/plain") && version.is_some() {
        Format::Text
    } else {
        return None;
    };
    (quality > 0.0).then_some((format, quality))
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
    fn who_names_a_text_format_is_told_everything_in_the_one_that_it_prefers() {
        use Format::{OpenMetrics, Text};
        for (accept, format) in [
            // Prometheus 2 and 3, VictoriaMetrics, Telegraf.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                 version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;\
                 version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
                Text,
            ),
            // Prometheus until 2.31.
            (
                "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Text,
            ),
            ("text/plain; version=0.0.4", Text),
            ("*/*, Text/Plain ; Version = 0.0.4 ; q=1", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text, text/plain;version=0.0.4", Text),
            ("text/plain;version=0.0.4, application/openmetrics-text", Text),
            ("application/openmetrics-text;q=0.2, text/plain;version=0.0.4;q=0.3", Text),
            ("application/openmetrics-text;q=0, text/plain;version=0.0.4;q=0.3", Text),
        ] {
            let everything = Audience::Everything(format);
            assert_eq!(audience(&[accept], None), everything, "{accept}");
            assert_eq!(audience(&["*/*", accept], None), everything, "{accept}");
            assert_eq!(audience(&[accept], Some("all")), everything, "{accept}");
        }
        for query in ["all", "all=", "all=1", "all=true", "x=1&all", "all&x"] {
            let everything = Audience::Everything(Text);
            assert_eq!(audience(&[], Some(query)), everything, "{query}");
            assert_eq!(audience(&["*/*"], Some(query)), everything, "{query}");
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
