//! What is known of the servers: their last readings, what happened between the last two, and the
//! rates of those before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use kes_api::Timestamp;
use kes_api::route::ROUTES;

use super::figures::Figures;
use super::histogram::Percentile;
use crate::output::clean;

/// How many readings of the past are kept: as many as the widest chart has columns.
pub(super) const HISTORY: usize = 256;

/// The most lines of an error that are kept.
const MAX_REASON_LINES: usize = 6;

/// The most characters of a line of an error that are kept.
const MAX_REASON_LINE: usize = 400;

/// The parts of all requests whose times are told.
pub(super) const PARTS: [f64; 3] = [0.5, 0.9, 0.99];

/// All servers.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) servers: Vec<Server>,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    /// `host:port`
    pub(super) name: String,
    pub(super) standing: Standing,
    /// The last reading, and when it was.
    pub(super) last: Option<(Figures, Timestamp)>,
    /// What happened between the last two readings; `None` if there are no two since the server
    /// was started.
    pub(super) between: Option<Between>,
    /// Requests a second.
    pub(super) requests: History,
    /// The operations that were asked for since the server was started, the most frequent first.
    pub(super) operations: Vec<Operation>,
    /// Requests a second by API.
    past: BTreeMap<String, History>,
}

/// Whether a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was not heard of yet.
    Unknown,
    /// Its last reading succeeded.
    Up,
    /// It is being asked and does not answer, since then.
    Silent(Timestamp),
    /// It answers, but not with metrics.
    Refuses(Timestamp, String),
    /// It cannot be reached.
    Away(Timestamp, String),
}

/// What happened between two readings.
#[derive(Debug)]
pub(super) struct Between {
    /// The time between them, in seconds.
    seconds: f64,
    before: Figures,
    /// [`PARTS`] of the durations of all requests.
    pub(super) latency: [Option<Percentile>; 3],
    /// Refused and failed requests a second by status, without those that are 0.
    pub(super) codes: Vec<(u16, f64)>,
    /// Calls to the key store: what they do, how many a second, and the 99th percentile of their
    /// durations; without those that are 0.
    pub(super) calls: Vec<(String, f64, Option<Percentile>)>,
}

/// An operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// Its name, or the path of one that is not known.
    pub(super) name: String,
    /// Requests a second; `None` as for [`Server::between`].
    pub(super) rate: Option<f64>,
    /// [`PARTS`] of the durations.
    pub(super) latency: [Option<Percentile>; 3],
    /// Requests a second.
    pub(super) history: History,
}

/// A value for each of the last [`HISTORY`] readings, the newest last; `None` where there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Option<f64>>);

impl Model {
    /// Servers of which nothing is known.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let server = |name: String| Server {
            name: clean(&name).into_owned(),
            standing: Standing::Unknown,
            last: None,
            between: None,
            requests: History::default(),
            operations: Vec::new(),
            past: BTreeMap::new(),
        };
        Self { servers: names.into_iter().map(server).collect() }
    }
}

impl Server {
    /// Takes a reading, so long after the one before.
    pub(super) fn read(&mut self, text: &str, since: Duration, now: Timestamp) {
        let figures = Figures::parse(text);
        let before = self.last.take().map(|(before, _)| before);
        // One that was started again counts from 0.
        let before = before.filter(|before| !is_restarted(before, &figures));
        if before.is_none() {
            self.past.clear();
        }
        self.standing = Standing::Up;
        self.operations = self.operations_of(&figures, before.as_ref(), since.as_secs_f64());
        self.between = before.and_then(|before| Between::of(before, &figures, since));
        let answered = self.between.as_ref().and_then(|between| between.answered(&figures));
        self.requests.push(answered);
        self.last = Some((figures, now));
    }

    /// It does not answer a request that was sent a while ago.
    pub(super) fn waits(&mut self, now: Timestamp) {
        self.standing = Standing::Silent(self.gone_since().unwrap_or(now));
    }

    /// A reading failed. One that refuses is there.
    pub(super) fn fails(&mut self, reason: &str, is_there: bool, now: Timestamp) {
        let since = self.gone_since().unwrap_or(now);
        let lines = reason.lines().take(MAX_REASON_LINES);
        let lines = lines.map(|line| clean(line).chars().take(MAX_REASON_LINE).collect::<String>());
        let reason = lines.collect::<Vec<_>>().join("\n");
        self.standing = match is_there {
            true => Standing::Refuses(since, reason),
            false => Standing::Away(since, reason),
        };
        self.between = None;
        self.requests.push(None);
        for operation in &mut self.operations {
            operation.rate = None;
            operation.latency = [None; 3];
            operation.history.push(None);
        }
        self.past.values_mut().for_each(|history| history.push(None));
    }

    /// How many of a counter were added in a second, between the last two readings.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        let (figures, _) = self.last.as_ref()?;
        self.between.as_ref()?.rate(name, figures)
    }

    /// A value of the last reading.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.last.as_ref()?.0.sum(name)
    }

    /// Requests answered in a second, between the last two readings.
    pub(super) fn answered(&self) -> Option<f64> {
        let (figures, _) = self.last.as_ref()?;
        self.between.as_ref()?.answered(figures)
    }

    /// Since when there is no reading.
    fn gone_since(&self) -> Option<Timestamp> {
        match &self.standing {
            Standing::Unknown | Standing::Up => None,
            Standing::Silent(since) | Standing::Refuses(since, _) | Standing::Away(since, _) => {
                Some(*since)
            }
        }
    }

    fn operations_of(
        &mut self,
        now: &Figures,
        before: Option<&Figures>,
        seconds: f64,
    ) -> Vec<Operation> {
        // As `Figures` is limited, so is what is remembered here.
        self.past.retain(|path, _| now.apis.contains_key(path));
        let mut counted = Vec::new();
        for (path, durations) in &now.apis {
            let count = durations.count();
            if count < 1.0 {
                continue;
            }
            let more = before.map(|before| match before.apis.get(path) {
                Some(before) => durations.since(before),
                None => durations.clone(),
            });
            let rate = more.as_ref().and_then(|more| per_second(more.count(), seconds));
            let history = self.past.entry(path.clone()).or_default();
            history.push(rate);
            let route = ROUTES.iter().find(|route| route.path == path);
            let operation = Operation {
                name: route.map_or_else(
                    || clean(path).into_owned(),
                    |route| route.operation.name().to_owned(),
                ),
                rate,
                latency: PARTS.map(|part| more.as_ref().and_then(|more| more.percentile(part))),
                history: history.clone(),
            };
            counted.push((count, operation));
        }
        counted.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        counted.into_iter().map(|(_, operation)| operation).collect()
    }
}

impl Between {
    fn of(before: Figures, now: &Figures, since: Duration) -> Option<Self> {
        let seconds = since.as_secs_f64();
        per_second(0.0, seconds)?;
        let more = now.durations().since(&before.durations());
        let codes = now.codes.iter().filter_map(|(code, count)| {
            let had = before.codes.get(code).copied().unwrap_or_default();
            let rate = per_second(count - had, seconds)?;
            (rate > 0.0).then_some((*code, rate))
        });
        let calls = now.calls.iter().filter_map(|(call, durations)| {
            let more = match before.calls.get(call) {
                Some(before) => durations.since(before),
                None => durations.clone(),
            };
            let rate = per_second(more.count(), seconds)?;
            (rate > 0.0).then(|| (clean(call).into_owned(), rate, more.percentile(0.99)))
        });
        Some(Self {
            latency: PARTS.map(|part| more.percentile(part)),
            codes: codes.collect(),
            calls: calls.collect(),
            seconds,
            before,
        })
    }

    fn rate(&self, name: &str, now: &Figures) -> Option<f64> {
        // A series with labels begins when it first counts something.
        let had = self.before.sum(name).unwrap_or_default();
        per_second(now.sum(name)? - had, self.seconds)
    }

    fn answered(&self, now: &Figures) -> Option<f64> {
        per_second(now.answered()? - self.before.answered()?, self.seconds)
    }
}

impl FromIterator<Option<f64>> for History {
    fn from_iter<T: IntoIterator<Item = Option<f64>>>(values: T) -> Self {
        let mut history = Self::default();
        values.into_iter().for_each(|value| history.push(value));
        history
    }
}

impl History {
    fn push(&mut self, value: Option<f64>) {
        if self.0.len() >= HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest values, as many as this, the newest last; filled up with `None` in front.
    pub(super) fn newest(&self, count: usize) -> impl Iterator<Item = Option<f64>> {
        let lacking = count.saturating_sub(self.0.len());
        let skipped = self.0.len().saturating_sub(count);
        std::iter::repeat_n(None, lacking).chain(self.0.iter().skip(skipped).copied())
    }

    /// The largest value.
    pub(super) fn peak(&self) -> Option<f64> {
        self.0.iter().flatten().copied().reduce(f64::max)
    }
}

/// Whether a server was started anew between two readings.
fn is_restarted(before: &Figures, now: &Figures) -> bool {
    let fell = |before: Option<f64>, now: Option<f64>| before.zip(now).is_some_and(|(b, n)| n < b);
    let up = "kes_system_up_time";
    fell(before.sum(up), now.sum(up)) || fell(before.answered(), now.answered())
}

/// A number of things as a rate, which is not below 0. `None` if no time has passed.
fn per_second(count: f64, seconds: f64) -> Option<f64> {
    let rate = count / seconds;
    (seconds > 0.0 && rate.is_finite()).then(|| rate.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn text(up: u32, success: u32, refused: u32) -> String {
        format!(
            "kes_system_up_time {up}\n\
             kes_http_request_success{{code=\"200\"}} {success}\n\
             kes_http_request_error{{code=\"403\"}} {refused}\n\
             kes_api_response_time_bucket{{api=\"/v1/key/decrypt/\",le=\"0.01\"}} {success}\n\
             kes_api_response_time_bucket{{api=\"/v1/key/decrypt/\",le=\"+Inf\"}} {success}\n\
             kes_api_response_time_bucket{{api=\"/v9\\u001b\",le=\"+Inf\"}} {refused}\n\
             kes_api_response_time_bucket{{api=\"/v1/ready\",le=\"+Inf\"}} 0\n\
             kes_keystore_response_time_bucket{{call=\"read\",le=\"0.01\"}} {refused}\n"
        )
    }

    fn server() -> Server {
        Model::new(["a:1".to_owned()]).servers.remove(0)
    }

    fn past(server: &Server) -> Vec<Option<f64>> {
        server.requests.0.iter().copied().collect()
    }

    #[test]
    fn two_readings_make_rates() {
        let (mut server, now) = (server(), Timestamp::now());
        server.read(&text(5, 100, 1), SECOND, now);
        assert_eq!((server.answered(), server.between.is_none()), (None, true));
        assert_eq!(server.value("kes_system_up_time"), Some(5.0));

        server.read(&text(7, 140, 3), 2 * SECOND, now);
        assert_eq!(server.answered(), Some(21.0));
        assert_eq!(server.rate("kes_http_request_error"), Some(1.0));
        let between = server.between.as_ref().unwrap();
        assert_eq!(between.codes, [(403, 1.0)]);
        assert_eq!(between.calls.len(), 1);
        assert_eq!((between.calls[0].0.as_str(), between.calls[0].1), ("read", 1.0));
        let names: Vec<&str> = server.operations.iter().map(|one| &*one.name).collect();
        assert_eq!(names, ["DecryptKey", "/v9\\u001b"]);
        assert_eq!(server.operations[0].rate, Some(20.0));
        assert_eq!(server.operations[0].latency[0], Some(Percentile::At(0.005)));
        assert_eq!(past(&server), [None, Some(21.0)]);
        assert_eq!(
            server.operations[0].history.newest(3).collect::<Vec<_>>()[1..],
            [None, Some(20.0)]
        );
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_rates_at_first() {
        let (mut server, now) = (server(), Timestamp::now());
        server.read(&text(5, 100, 0), SECOND, now);
        server.read(&text(6, 110, 0), SECOND, now);
        // It has answered more than before already.
        server.read(&text(1, 400, 0), SECOND, now);
        assert_eq!(server.answered(), None);
        assert_eq!(server.operations[0].rate, None);
        server.read(&text(2, 405, 0), SECOND, now);
        assert_eq!(server.answered(), Some(5.0));
        assert_eq!(past(&server), [None, Some(10.0), None, Some(5.0)]);
    }

    #[test]
    fn one_that_is_away_keeps_its_last_reading_and_tells_since_when() {
        let (mut server, now) = (server(), Timestamp::now());
        let later = Timestamp::from_unix(now.unix_seconds() + 9, 0).unwrap();
        server.read(&text(5, 100, 0), SECOND, now);
        server.read(&text(6, 110, 0), SECOND, now);
        server.waits(now);
        assert_eq!(server.standing, Standing::Silent(now));
        assert_eq!(server.answered(), Some(10.0));
        server.fails("no\u{1b}[2J\nroute", false, later);
        assert_eq!(server.standing, Standing::Away(now, "no\\u{1b}[2J\nroute".to_owned()));
        assert_eq!((server.answered(), server.operations[0].rate), (None, None));
        assert_eq!(server.value("kes_http_request_success"), Some(110.0));
        server.fails(&"x".repeat(10_000).repeat(3), true, later);
        let Standing::Refuses(since, reason) = &server.standing else { panic!() };
        assert_eq!((*since, reason.len()), (now, MAX_REASON_LINE));
        server.read(&text(7, 120, 0), 5 * SECOND, later);
        assert_eq!((server.standing.clone(), server.answered()), (Standing::Up, Some(2.0)));
        assert_eq!(past(&server), [None, Some(10.0), None, None, Some(2.0)]);
    }

    #[test]
    fn what_is_remembered_is_limited() {
        let (mut server, now) = (server(), Timestamp::now());
        for reading in 0..HISTORY * 2 {
            let of = |api: usize| {
                let path = format!("/{reading}/{api}");
                format!("kes_api_response_time_bucket{{api=\"{path}\",le=\"1\"}} {reading}\n")
            };
            let text: String = (0..100).map(of).collect();
            server.read(&text, SECOND, now);
        }
        assert_eq!((server.requests.0.len(), server.past.len()), (HISTORY, 64));
        // No time has passed, as far as the clock can tell.
        server.read(&text(1, 5, 0), Duration::ZERO, now);
        server.read(&text(1, 9, 0), Duration::ZERO, now);
        assert_eq!((server.answered(), server.operations[0].rate), (None, None));
    }
}
