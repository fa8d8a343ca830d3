//! The rows of load: the same work for each server, in turn for several rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;

use crate::client::{Protocol, Sender, Template};
use crate::load::{Done, GENERATE, Load, Work, works};
use crate::report::{Cell, Row};
use crate::servers::{OURS, Servers, Subject, count_lines, lines_of};
use crate::setup::Setup;
use crate::{collector, cpu};

/// A work, and what ours is started with for it.
pub(crate) struct Scenario {
    pub(crate) work: Work,
    setup: Setup,
    log: Log,
}

/// What is read of the audit log of ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Nothing,
    /// The lines in standard output, which is a file in the folder of temporary files: each costs
    /// a write to the system, none a disk.
    File,
    /// The records in the audit file, which is in the same folder.
    Records,
    /// The stream of the API, by one more client on the core of the load.
    Stream,
}

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
}

/// All rows: those of a plain server, then what ours is to bear without getting slower.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let plain = |work| Scenario { work, setup: Setup::default(), log: Log::Nothing };
    let named = |name| plain(Work { name, ..GENERATE });
    let more = |text: &str| Setup { more: text.to_owned(), ..Setup::default() };
    let mut all: Vec<Scenario> = works().into_iter().map(plain).collect();
    all.extend([
        // At this level a line is written for what changes keys and for what is refused.
        Scenario { setup: more("log: { audit: on }"), ..named("audit on") },
        Scenario {
            setup: more("log: { audit: debug }"),
            log: Log::File,
            ..named("audit of every request")
        },
        Scenario {
            setup: more(
                "log: { audit: off, audit_file: { path: audit.jsonl, key: audit.key, max_size: 1GiB } }",
            ),
            log: Log::Records,
            ..named("audit file")
        },
        Scenario { log: Log::Stream, ..named("audit stream open") },
        // The key comes into use once, so that the file is written once, and then seen to once a second.
        Scenario {
            setup: more("cache: { snapshot: { path: keys.snapshot, key: audit.key } }"),
            ..named("snapshot of the keys in use")
        },
        // To a collector on the core of the load. At full load most spans are dropped.
        Scenario { setup: more(&traces(0.0)), ..named("traces on, none sampled") },
        Scenario { setup: more(&traces(0.01)), ..named("traces of 1 %") },
        Scenario { setup: more(&traces(1.0)), ..named("traces of every request") },
        Scenario {
            setup: Setup { policies: 1_000, identities: 10_000, ..Setup::default() },
            ..named("1,000 policies, 10,000 identities")
        },
        Scenario {
            setup: Setup { keys: 10_000, ..Setup::default() },
            ..plain(Work { name: "10,000 keys in use", keys: 10_000, ..GENERATE })
        },
    ]);
    all
}

fn traces(sample: f64) -> String {
    format!("traces: {{ endpoint: 'http://{}', sample: {sample} }}", collector::address())
}

impl Scenario {
    /// Whether a running server does for it.
    pub(crate) fn suits(&self, servers: &Servers) -> bool {
        servers.setup == self.setup
    }

    /// Starts the servers that it is about.
    pub(crate) fn start(&self) -> Servers {
        Servers::start(&self.setup)
    }

    /// Loads each server in turn, for several rounds.
    pub(crate) async fn measure(&self, servers: &Servers, effort: Effort) -> Row {
        let mut loads = Vec::new();
        for subject in &servers.subjects {
            let load = Load::prepare(&self.work, servers, subject).await;
            // Warm: the allocator has its pages.
            load.run(subject, effort.time / 2).await;
            loads.push((subject, load, Rounds::default()));
        }
        let follower = match self.log {
            Log::Stream => Some(Follower::start(servers).await),
            Log::Nothing | Log::File | Log::Records => None,
        };
        let before = self.lines(servers, follower.as_ref());
        let mut ours = 0;
        for _ in 0..effort.rounds {
            for (subject, load, rounds) in &mut loads {
                let done = load.run(subject, effort.time).await;
                if subject.name == OURS {
                    ours += done.requests;
                }
                rounds.add(done);
            }
            // Whoever comes second in a round may find another machine than who comes first.
            loads.reverse();
        }
        loads.sort_by_key(|(subject, ..)| {
            servers.subjects.iter().position(|other| other.name == subject.name)
        });
        let note = before.map(|before| {
            let lines = self.lines(servers, follower.as_ref()).unwrap_or_default() - before;
            assert!(lines > 0, "{}: no line was seen", self.work.name);
            let share = lines as f64 * 100.0 / ours as f64;
            format!("{share:.1} % of the requests of the rounds are in the log that was read")
        });
        let cells = loads.into_iter().map(|(subject, _, rounds)| rounds.cell(subject)).collect();
        Row { name: self.work.name, cells, note }
    }

    /// How many lines of the audit log were seen so far, if any are looked for.
    fn lines(&self, servers: &Servers, follower: Option<&Follower>) -> Option<u64> {
        match self.log {
            Log::Nothing => None,
            Log::File => Some(servers.ours().lines()),
            Log::Records => Some(lines_of(&servers.folder().join("audit.jsonl"))),
            Log::Stream => follower.map(Follower::lines),
        }
    }
}

#[derive(Default)]
struct Rounds {
    cpu_us: Vec<f64>,
    per_second: Vec<f64>,
    latencies: Vec<u32>,
}

/// The middle one, or the upper of the two.
/// The one in the middle; they are sorted. 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Rounds {
    fn add(&mut self, done: Done) {
        self.cpu_us.push(done.cpu_ns as f64 / 1_000.0 / done.requests as f64);
        self.per_second.push(done.requests as f64 / done.elapsed.as_secs_f64());
        self.latencies.extend(done.latencies);
    }

    fn cell(mut self, subject: &Subject) -> Cell {
        self.latencies.sort_unstable();
        let at = |per_mille: usize| {
            let last = self.latencies.len().saturating_sub(1);
            self.latencies.get(last * per_mille / 1_000).copied().unwrap_or_default()
        };
        Cell {
            subject: subject.name,
            cpu_us: median(&mut self.cpu_us),
            per_second: median(&mut self.per_second),
            latencies: [at(500), at(990), at(999)],
            memory: cpu::resident_kib(subject.pid) as f64 / 1024.0,
        }
    }
}

/// A client that reads the stream of the audit log; it goes with this value.
struct Follower {
    lines: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Follower {
    async fn start(servers: &Servers) -> Self {
        let address = &servers.ours().address;
        let protocol = Protocol::H2;
        let mut sender = Sender::open(address, &servers.client(protocol.alpn())).await;
        let follow = Template::new(protocol, address, Method::GET, "/v1/log/audit", "");
        let mut stream = sender.send(&follow).await;
        let lines = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            while let Some(frame) = stream.frame().await {
                let frame = frame.unwrap();
                let text = frame.data_ref().map_or(&[] as &[u8], |data| data);
                seen.fetch_add(count_lines(text), Ordering::Relaxed);
            }
        });
        Self { lines, task }
    }

    fn lines(&self) -> u64 {
        assert!(!self.task.is_finished(), "the stream of the audit log has ended");
        self.lines.load(Ordering::Relaxed)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}
