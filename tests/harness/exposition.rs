use std::collections::BTreeMap;

use super::Protocol;
use super::{Client, Server, Who};

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The counters that MinIO's SDK reads with any number of series: one for each status.
pub(crate) const BY_CODE: [&str; 3] =
    ["kes_http_request_success", "kes_http_request_error", "kes_http_request_failure"];

/// What Prometheus accepts.
pub(crate) const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;\
    escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// Metrics in the Prometheus text format 0.0.4 or in OpenMetrics, read strictly: a `HELP` and a `TYPE`
/// before the samples of a metric, all of them together, each with a number, histograms cumulative,
/// with all their parts, and with the same buckets in each series. Counters are of the type `unknown`
/// in OpenMetrics, and only buckets have exemplars.
#[derive(Debug)]
pub(crate) struct Exposition {
    kinds: BTreeMap<String, Kind>,
    /// Name with labels, as in the text, to value.
    samples: BTreeMap<String, f64>,
    /// Name with labels to what stands behind the value.
    exemplars: BTreeMap<String, String>,
}

impl Exposition {
    /// Asks a server for all metrics, as Prometheus does.
    pub(crate) async fn of(client: &mut Client) -> Self {
        Self::asked_for(client, "/v1/metrics", &[("accept", PROMETHEUS)]).await
    }

    /// Asks a server as MinIO's SDK does, which sends no `Accept`; panics where the SDK would
    /// fail.
    pub(crate) async fn as_the_sdk(client: &mut Client) -> Self {
        let read = Self::asked_for(client, "/v1/metrics", &[]).await;
        read.assert_read_by_the_sdk();
        read
    }

    /// Asks a server with header fields.
    pub(crate) async fn asked_for(
        client: &mut Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let reply = client.try_send("GET", path, headers, "".into()).await.unwrap();
        assert_eq!(reply.status, 200);
        let text = std::str::from_utf8(&reply.body).unwrap();
        match reply.header("content-type") {
            "text/plain; version=0.0.4; charset=utf-8" => Self::parse(text),
            "application/openmetrics-text; version=1.0.0; charset=utf-8" => {
                let text = text.strip_suffix("# EOF\n").expect("the end is marked");
                Self::read(text, true)
            }
            other => panic!("{other}"),
        }
    }

    /// Asks a server on a connection of its own, as the admin.
    pub(crate) async fn from(server: &Server) -> Self {
        Self::of(&mut server.client(Who::Admin, Protocol::H2).await).await
    }

    /// Reads a text in the format 0.0.4.
    pub(crate) fn parse(text: &str) -> Self {
        Self::read(text, false)
    }

    fn read(text: &str, is_open_metrics: bool) -> Self {
        let mut read =
            Self { kinds: BTreeMap::new(), samples: BTreeMap::new(), exemplars: BTreeMap::new() };
        let mut family: Option<(String, Kind)> = None;
        let mut helped = None;
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(!words.is_empty(), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                let kind = match kind {
                    "counter" if !is_open_metrics => Kind::Counter,
                    "unknown" if is_open_metrics => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    "histogram" => Kind::Histogram,
                    _ => panic!("unknown kind: {line}"),
                };
                assert_eq!(helped.take().as_deref(), Some(name), "no help before {line}");
                let again = read.kinds.insert(name.to_owned(), kind);
                assert_eq!(again, None, "a second time: {line}");
                family = Some((name.to_owned(), kind));
            } else {
                let (name, kind) = family.as_ref().unwrap_or_else(|| panic!("no type: {line}"));
                let line = match line.split_once(" # ") {
                    Some((line, exemplar)) => {
                        let (series, _) = line.rsplit_once(' ').unwrap();
                        assert!(is_open_metrics && series.contains("_bucket{"), "{line}");
                        read.exemplars.insert(series.to_owned(), exemplar.to_owned());
                        line
                    }
                    None => line,
                };
                read.sample(line, name, *kind);
            }
        }
        read.check_histograms();
        read
    }

    fn sample(&mut self, line: &str, family: &str, kind: Kind) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let name = series.split('{').next().unwrap();
        let parts: &[&str] = match kind {
            Kind::Histogram => &["_bucket", "_sum", "_count"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        let is_ours = parts.iter().any(|part| name.strip_suffix(part) == Some(family));
        assert!(is_ours, "'{line}' stands among {family}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            for label in inner.unwrap_or_else(|| panic!("labels: {line}")).split(',') {
                let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
                let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
                assert!(is_word && value.len() > 2, "{line}");
                assert!(value.starts_with('"') && value.ends_with('"'), "{line}");
            }
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let again = self.samples.insert(series.to_owned(), value);
        assert_eq!(again, None, "a second time: {line}");
    }

    /// Panics where MinIO's SDK fails: on a metric that has not exactly one series, unless it is
    /// one of the counters by status, each of whose series has a `code` and nothing else.
    fn assert_read_by_the_sdk(&self) {
        for name in BY_CODE {
            let series = self.series(name);
            assert!(!series.is_empty(), "no series of {name}");
            for labels in series {
                let code = labels
                    .strip_prefix("{code=\"")
                    .and_then(|labels| labels.strip_suffix("\"}"))
                    .and_then(|code| code.parse::<u16>().ok());
                assert!(code.is_some_and(|code| (100..600).contains(&code)), "{name}{labels}");
            }
        }
        for name in self.names().filter(|name| !BY_CODE.contains(name)) {
            assert_eq!(
                self.series(name),
                [""],
                "{name} has not exactly one series, without labels"
            );
        }
    }

    /// The labels of each series of a metric, braces included; of a histogram without `le`.
    pub(crate) fn series(&self, name: &str) -> Vec<&str> {
        let part = match self.kind(name) {
            Some(Kind::Histogram) => format!("{name}_count"),
            _ => name.to_owned(),
        };
        let samples = self.samples.keys().filter_map(|series| series.strip_prefix(&part));
        samples.filter(|labels| labels.is_empty() || labels.starts_with('{')).collect()
    }

    fn check_histograms(&self) {
        for (name, kind) in &self.kinds {
            if *kind != Kind::Histogram {
                continue;
            }
            let (mut bounds, mut samples) = (None, 0);
            for labels in self.series(name) {
                let count = self.samples[&format!("{name}_count{labels}")];
                let buckets = self.buckets(name, labels);
                assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}{labels}");
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}{labels}");
                assert!(
                    self.samples.contains_key(&format!("{name}_sum{labels}")),
                    "{name}{labels}"
                );
                samples += buckets.len() + 2;
                let own: Vec<f64> = buckets.into_iter().map(|(bound, _)| bound).collect();
                assert_eq!(bounds.get_or_insert_with(|| own.clone()), &own, "{name}{labels}");
            }
            // No sample belongs to a series that has no count.
            let all = self.samples.keys().filter(|series| {
                let series = series.split('{').next().unwrap_or_default();
                let part = series.strip_prefix(name.as_str());
                part.is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
            });
            assert_eq!(all.count(), samples, "{name}");
        }
    }

    /// Upper bounds and cumulative counts of a histogram, in order of the bounds; `labels` as in
    /// the text, braces included.
    pub(crate) fn buckets(&self, name: &str, labels: &str) -> Vec<(f64, f64)> {
        let own = labels.trim_start_matches('{').trim_end_matches('}');
        let start = match own {
            "" => format!("{name}_bucket{{le=\""),
            own => format!("{name}_bucket{{{own},le=\""),
        };
        let bound = |series: &str| -> Option<f64> {
            let bound = series.strip_prefix(&start)?.strip_suffix("\"}")?;
            Some(if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() })
        };
        let mut buckets: Vec<_> = self
            .samples
            .iter()
            .filter_map(|(series, count)| Some((bound(series)?, *count)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// The kind of a metric that the text has.
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        self.kinds.get(name).copied()
    }

    /// The exemplars, by the name with labels of their buckets.
    pub(crate) fn exemplars(&self) -> &BTreeMap<String, String> {
        &self.exemplars
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }

    /// A sample by its name with labels, such as `kes_http_request_success{code="200"}`; 0 if
    /// there is none yet.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.samples.get(series).copied().unwrap_or_default()
    }
}
