//! What is counted, and the lines that are printed: JSON, one object a line.
//!
//! Equal differences become one line until the next summary, which has their number: a difference
//! that each request shows would fill the disk.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use kes_api::{Identity, Timestamp};
use kes_client::{Endpoint, Error};
use parking_lot::Mutex;
use serde::Serialize;

use crate::mask;
use crate::plan::Reason;
use crate::sides::{Side, Sides};
use crate::verdict::{Difference, Differs, Seen, Verdict};

/// Lines that wait to be printed. More are lost, and counted: whoever reads them must not delay an
/// answer.
const LINES: usize = 1_024;

/// Differences, and other events, that are told apart. More are counted alone.
const KINDS: usize = 256;

/// How long the last lines may take to be printed.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Counts and prints.
pub(crate) struct Report {
    names: bool,
    since: Timestamp,
    lost: AtomicU64,
    counted: Mutex<Counted>,
    lines: Mutex<Option<SyncSender<String>>>,
    printed: Mutex<Receiver<()>>,
}

#[derive(Default)]
struct Counted {
    operations: BTreeMap<&'static str, Tally>,
    /// The kinds of events since the last summary.
    kinds: HashMap<Kind, u64>,
    different: u64,
}

/// What became of the requests for one operation.
#[derive(Clone, Default, Serialize)]
struct Tally {
    requests: u64,
    equal: u64,
    different: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    known: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_compared: BTreeMap<Reason, u64>,
}

/// An event, without its time. Equal ones are one kind.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Kind {
    /// Two answers differ.
    Difference {
        operation: &'static str,
        differs: Differs,
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
        old: Answered,
        new: Answered,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A server gives no answer.
    NoAnswer { server: Side, reason: String },
    /// A client whose requests are not passed on.
    Stranger {
        #[serde(skip_serializing_if = "Option::is_none")]
        identity: Option<Identity>,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
struct Answered {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Serialize)]
struct Line<T> {
    time: Timestamp,
    #[serde(flatten)]
    of: T,
}

#[derive(Serialize)]
struct Start<'a> {
    event: &'static str,
    listens: Vec<String>,
    answers: Side,
    old: Server<'a>,
    new: Server<'a>,
}

#[derive(Serialize)]
struct Server<'a> {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_answer: Option<String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    since: Timestamp,
    different: u64,
    #[serde(skip_serializing_if = "is_zero")]
    lines_lost: u64,
    operations: &'a BTreeMap<&'static str, Tally>,
    /// What was told since the last summary, and how often it happened.
    events: Vec<Counts<'a>>,
}

#[derive(Serialize)]
struct Counts<'a> {
    count: u64,
    #[serde(flatten)]
    of: &'a Kind,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    pub(crate) fn new(names: bool, mut print: impl FnMut(&str) + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel::<String>(LINES);
        let (end, printed) = sync_channel(1);
        std::thread::spawn(move || {
            for line in waiting {
                print(&line);
            }
            let _ = end.send(());
        });
        Self {
            names,
            since: Timestamp::now(),
            lost: AtomicU64::new(0),
            counted: Mutex::default(),
            lines: Mutex::new(Some(lines)),
            printed: Mutex::new(printed),
        }
    }

    /// Tells where it listens, and what the servers say of themselves.
    pub(crate) fn start(
        &self,
        addresses: &[SocketAddr],
        servers: &Sides<Endpoint>,
        versions: &Sides<Result<String, Error>>,
        answers: Side,
    ) {
        let server = |side| Server {
            server: servers.get(side).to_string(),
            version: versions.get(side).as_deref().ok(),
            no_answer: versions.get(side).as_ref().err().map(ToString::to_string),
        };
        let listens = addresses.iter().map(|address| format!("https://{address}")).collect();
        let (old, new) = (server(Side::Old), server(Side::New));
        self.print(Start { event: "start", listens, answers, old, new });
    }

    /// Counts a request.
    pub(crate) fn request(&self, operation: &'static str) {
        self.counted.lock().operations.entry(operation).or_default().requests += 1;
    }

    /// Counts a request that is not compared.
    pub(crate) fn not_compared(&self, operation: &'static str, reason: Reason) {
        self.verdict(operation, "", Verdict::Not(reason));
    }

    /// Counts what came of a comparison, and tells a difference. `key` is the name in the request.
    pub(crate) fn verdict(&self, operation: &'static str, key: &str, verdict: Verdict) {
        let mut counted = self.counted.lock();
        let tally = counted.operations.entry(operation).or_default();
        match verdict {
            Verdict::Equal => tally.equal += 1,
            Verdict::Known(known) => *tally.known.entry(known).or_default() += 1,
            Verdict::Not(reason) => *tally.not_compared.entry(reason).or_default() += 1,
            Verdict::Differs(difference) => {
                tally.different += 1;
                counted.different += 1;
                drop(counted);
                let Difference { differs, detail, seen } = difference;
                let told = |Seen { status, message }: Seen| Answered {
                    status,
                    message: message.map(|message| match self.names {
                        true => message.chars().take(LONGEST_MESSAGE).collect(),
                        false => mask::masked(&message),
                    }),
                };
                let detail = mask::field(&detail).to_owned();
                let (old, new) = (told(seen.old), told(seen.new));
                let key = (self.names && !key.is_empty()).then(|| key.to_owned());
                self.tell(Kind::Difference { operation, differs, detail, old, new, key });
            }
        }
    }

    /// Tells that a server gives no answer.
    pub(crate) fn no_answer(&self, server: Side, error: &Error) {
        self.tell(Kind::NoAnswer { server, reason: error.to_string() });
    }

    /// Tells of a client whose requests are not passed on.
    pub(crate) fn stranger(&self, identity: Identity) {
        self.tell(Kind::Stranger { identity: self.names.then_some(identity) });
    }

    /// Prints what was counted so far.
    pub(crate) fn summary(&self) {
        let (operations, kinds, different) = {
            let mut counted = self.counted.lock();
            let kinds = std::mem::take(&mut counted.kinds);
            (counted.operations.clone(), kinds, counted.different)
        };
        let mut events: Vec<Counts<'_>> =
            kinds.iter().map(|(of, count)| Counts { count: *count, of }).collect();
        events.sort_by_key(|counts| std::cmp::Reverse(counts.count));
        self.print(Summary {
            event: "summary",
            since: self.since,
            different,
            lines_lost: self.lost.load(Ordering::Relaxed),
            operations: &operations,
            events,
        });
    }

    /// Prints the last summary, and waits until all lines are printed, for 2 s.
    pub(crate) fn end(&self) {
        self.summary();
        self.lines.lock().take();
        let _ = self.printed.lock().recv_timeout(LAST_LINES);
    }

    /// Prints the first event of its kind, and counts the others.
    fn tell(&self, kind: Kind) {
        {
            let mut counted = self.counted.lock();
            if let Some(count) = counted.kinds.get_mut(&kind) {
                *count += 1;
                return;
            }
            if counted.kinds.len() >= KINDS {
                return;
            }
            counted.kinds.insert(kind.clone(), 1);
        }
        self.print(kind);
    }

    fn print(&self, of: impl Serialize) {
        let Ok(line) = serde_json::to_string(&Line { time: Timestamp::now(), of }) else { return };
        let lines = self.lines.lock();
        if let Some(Err(TrySendError::Full(_))) = lines.as_ref().map(|lines| lines.try_send(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The longest message that is told with its names, in characters.
const LONGEST_MESSAGE: usize = 500;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    /// The lines that a report prints.
    fn lines(names: bool, fill: impl FnOnce(&Report)) -> Vec<Value> {
        let printed: Arc<Mutex<Vec<Value>>> = Arc::default();
        let sink = Arc::clone(&printed);
        let report = Report::new(names, move |line| {
            sink.lock().push(serde_json::from_str(line).unwrap());
        });
        fill(&report);
        report.end();
        let printed = printed.lock();
        printed.clone()
    }

    fn difference() -> Verdict {
        let message = "key name 'my-key' is empty".to_owned();
        let old = Seen { status: 400, message: Some(message) };
        let new = Seen { status: 200, message: None };
        let seen = Sides { old, new };
        Verdict::Differs(Difference { differs: Differs::Status, detail: String::new(), seen })
    }

    #[test]
    fn equal_differences_are_one_line_and_a_number() {
        let printed = lines(false, |report| {
            for _ in 0..3 {
                report.request("DescribeKey");
                report.verdict("DescribeKey", "my-key", difference());
            }
            report.request("Hmac");
            report.verdict("Hmac", "my-key", Verdict::Equal);
            report.verdict("Hmac", "my-key", Verdict::Known("x"));
            report.not_compared("Hmac", Reason::NoAnswer);
        });
        assert_eq!(printed.len(), 2, "{printed:?}");
        let (line, summary) = (&printed[0], &printed[1]);
        assert_eq!(line["event"], "difference");
        assert_eq!(line["operation"], "DescribeKey");
        assert_eq!(line["differs"], "status");
        assert_eq!(line["old"]["message"], "key name '…' is empty");
        assert_eq!(line["new"]["status"], 200);
        assert_eq!(summary["event"], "summary");
        assert_eq!(summary["different"], 3);
        assert_eq!(summary["operations"]["DescribeKey"]["different"], 3);
        assert_eq!(summary["operations"]["Hmac"]["equal"], 1);
        assert_eq!(summary["operations"]["Hmac"]["known"]["x"], 1);
        assert_eq!(summary["operations"]["Hmac"]["not_compared"]["no_answer"], 1);
        assert_eq!(summary["events"][0]["count"], 3);
        assert!(!format!("{printed:?}").contains("my-key"), "{printed:?}");
    }

    #[test]
    fn names_are_told_to_who_asks_for_them() {
        let identity = Identity::of_public_key(b"x");
        let fill = |report: &Report| {
            report.verdict("DescribeKey", "my-key", difference());
            report.stranger(identity);
        };
        let printed = lines(true, fill);
        assert_eq!(printed[0]["key"], "my-key");
        assert_eq!(printed[0]["old"]["message"], "key name 'my-key' is empty");
        assert_eq!(printed[1]["identity"], identity.to_string());
        let printed = lines(false, fill);
        assert!(!format!("{printed:?}").contains(&identity.to_string()), "{printed:?}");
    }

    #[test]
    fn who_does_not_read_the_lines_holds_up_nothing() {
        let (hold, held) = sync_channel::<()>(0);
        let report = Report::new(true, move |_| {
            let _ = held.recv();
        });
        for number in 0..KINDS {
            report.verdict("DescribeKey", &number.to_string(), difference());
        }
        for _ in 0..2 * LINES {
            report.summary();
        }
        assert!(report.lost.load(Ordering::Relaxed) > 0);
        assert!(report.counted.lock().kinds.is_empty());
        drop(hold);
        report.end();
    }
}
