//! What a server keeps in memory, and how soon it listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;

use crate::client::{self, Kind, Protocol, Sender, Template};
use crate::cpu;
use crate::report::Figure;
use crate::rows::median;
use crate::servers::{Servers, Subject};
use crate::setup::Setup;

/// The connections of a burst.
const BURST: usize = 5_000;

/// How many measurements make a figure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) connections: usize,
    pub(crate) starts: usize,
}

/// How long it takes until a server says where it listens: the median of several starts.
pub(crate) fn starts(effort: Effort) -> Vec<Figure> {
    let many = Setup { policies: 1_000, identities: 10_000, ..Setup::default() };
    let named = [
        ("start to listening", Setup::default()),
        ("start to listening, 1,000 policies, 10,000 identities", many),
    ];
    named.map(|(name, setup)| starts_with(name, &setup, effort)).into()
}

fn starts_with(name: &str, setup: &Setup, effort: Effort) -> Figure {
    let servers = Servers::start(setup);
    let mut times: Vec<(&'static str, Vec<f64>)> = Vec::new();
    for _ in 0..effort.starts {
        for subject in servers.again() {
            let Some(start) = subject.start else { continue };
            let ms = start.as_secs_f64() * 1_000.0;
            match times.iter_mut().find(|(name, _)| *name == subject.name) {
                Some((_, times)) => times.push(ms),
                None => times.push((subject.name, vec![ms])),
            }
        }
    }
    let values = times.iter_mut().map(|(name, times)| (*name, median(times))).collect();
    Figure { name: name.to_owned(), unit: "ms", values }
}

/// How a connection came to be idle.
#[derive(Clone, Copy)]
struct Idle {
    protocol: Protocol,
    /// Whether it has had a request; otherwise TLS alone was spoken.
    used: bool,
}

/// Memory at rest, and of each idle connection: each with a server that has done nothing else.
pub(crate) async fn figures(servers: &Servers, effort: Effort) -> Vec<Figure> {
    let mut rest = Vec::new();
    for subject in servers.again() {
        rest.push((subject.name, settled(&subject).await / 1024.0));
    }
    let mut figures = vec![Figure { name: "memory at rest".to_owned(), unit: "MiB", values: rest }];
    for protocol in [Protocol::H2, Protocol::H1] {
        for used in [false, true] {
            let idle = Idle { protocol, used };
            let after = if used { "one request" } else { "the handshake" };
            let name = format!("each idle connection, {}, after {after}", protocol.alpn());
            let mut values = Vec::new();
            for subject in servers.again() {
                let each = idle.measure(servers, &subject, effort.connections).await;
                values.push((subject.name, each));
            }
            figures.push(Figure { name, unit: "KiB", values });
        }
    }
    figures
}

impl Idle {
    /// KiB for each connection.
    async fn measure(self, servers: &Servers, subject: &Subject, count: usize) -> f64 {
        let config = servers.client(self.protocol.alpn());
        let describe = describe(&config, self.protocol, subject).await;
        let before = settled(subject).await;
        let open = self.open(&config, &describe, subject, count).await;
        let after = settled(subject).await;
        // One that the server had closed would fail here.
        for opened in open {
            opened.used().await.finish(&describe).await;
        }
        (after - before) / count as f64
    }

    async fn open(
        self,
        config: &Arc<ClientConfig>,
        describe: &Template,
        subject: &Subject,
        count: usize,
    ) -> Vec<Opened> {
        // So many at once as a cluster that starts has nodes.
        const AT_ONCE: usize = 64;
        let mut open = Vec::with_capacity(count);
        while open.len() < count {
            let more = AT_ONCE.min(count - open.len());
            open.extend(
                join_all((0..more).map(|_| self.open_one(config, describe, subject))).await,
            );
        }
        open
    }

    async fn open_one(
        self,
        config: &Arc<ClientConfig>,
        describe: &Template,
        subject: &Subject,
    ) -> Opened {
        let opened = Opened::Fresh(Box::new(client::connect(&subject.address, config).await));
        if !self.used {
            return opened;
        }
        let mut sender = opened.used().await;
        sender.finish(describe).await;
        Opened::Used(sender)
    }
}

/// A connection that is kept.
enum Opened {
    Fresh(Box<client::Tls>),
    Used(Sender),
}

impl Opened {
    async fn used(self) -> Sender {
        match self {
            Self::Fresh(tls) => Sender::over(*tls).await,
            Self::Used(sender) => sender,
        }
    }
}

/// The request of these connections, sent once: what the first request makes is there then.
async fn describe(config: &Arc<ClientConfig>, protocol: Protocol, subject: &Subject) -> Template {
    let mut sender = Sender::open(&subject.address, config).await;
    assert!(sender.protocol() == protocol, "the server speaks another protocol");
    Kind::Describe.templates(&mut sender, subject, 1).await.remove(0)
}

/// Many connections, a request on each, and what is left when they are closed.
pub(crate) async fn burst(servers: &Servers) {
    let count = BURST.min(files());
    println!("\nmemory before, at the peak of and after {count} connections with a request each:");
    for subject in servers.again() {
        let config = servers.client(Protocol::H2.alpn());
        let describe = describe(&config, Protocol::H2, &subject).await;
        let before = settled(&subject).await;
        let idle = Idle { protocol: Protocol::H2, used: true };
        let open = idle.open(&config, &describe, &subject, count).await;
        let peak = cpu::resident_kib(subject.pid) as f64;
        drop(open);
        let after = settled(&subject).await;
        println!(
            "    {:6} {:>6.1} MiB, {:>6.1} MiB, {:>6.1} MiB: {:.2} of what it was before",
            subject.name,
            before / 1024.0,
            peak / 1024.0,
            after / 1024.0,
            after / before,
        );
    }
}

/// How many connections this process may have at once. The limit is raised first.
fn files() -> usize {
    const OWN: u64 = 100;
    let limit = getrlimit(Resource::Nofile);
    // Refused nowhere; where it is, the burst is smaller and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OWN)).unwrap_or(usize::MAX)
}

/// Resident KiB of a server once they no longer change, or after some seconds all the same.
async fn settled(subject: &Subject) -> f64 {
    const LOOK: Duration = Duration::from_millis(50);
    const SAME: u32 = 10;
    const AT_LAST: Duration = Duration::from_secs(10);
    let start = Instant::now();
    let mut last = cpu::resident_kib(subject.pid);
    let mut same = 0;
    while same < SAME && start.elapsed() < AT_LAST {
        tokio::time::sleep(LOOK).await;
        let now = cpu::resident_kib(subject.pid);
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last as f64
}

/// Prints figures under a head.
pub(crate) fn print(figures: &[Figure]) {
    println!("\n{:58} {:6} {:>10} {:>6}", "start and memory", "server", "", "ratio");
    for figure in figures {
        figure.print();
    }
}
