//! What a server keeps in memory, and how soon it listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;

use crate::client::{self, Kind, Protocol, Sender, Template};
use crate::cpu;
use crate::report::Figure;
use crate::servers::{Servers, Subject};
use crate::setup::Setup;

/// The connections of a burst.
const BURST: usize = 5_000;

/// Memory counts as settled after connections were closed when it has not changed for so long:
/// what is given back may be given back late.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// How thoroughly is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) connections: usize,
    pub(crate) starts: usize,
    /// Memory counts as settled when it has not changed for so long.
    pub(crate) quiet: Duration,
}

/// How long it takes until a server says where it listens, and until it has answered a first
/// request: the shortest of several starts, since all that disturbs one makes it longer. A server
/// that puts work off until it is first called listens sooner and answers no sooner.
pub(crate) async fn starts(effort: Effort) -> Vec<Figure> {
    let many = Setup { policies: 1_000, identities: 10_000, ..Setup::default() };
    let mut figures = starts_with("", &Setup::default(), effort).await;
    figures.extend(starts_with(", 10,000 identities", &many, effort).await);
    figures
}

async fn starts_with(with: &str, setup: &Setup, effort: Effort) -> Vec<Figure> {
    let servers = Servers::start(setup);
    let figure = |name: &str, is_compared| Figure {
        name: format!("{name}{with}"),
        unit: "ms",
        values: Vec::new(),
        is_compared,
    };
    // Time on a clock is longer for who needs more of a core that others use as well: on a busy
    // machine its ratio says nothing.
    let mut figures = vec![
        figure("start to listening", false),
        figure("start to the first answer", false),
        figure("CPU time from start to the first answer", true),
    ];
    for subject in &servers.subjects {
        let mut shortest = [f64::INFINITY; 3];
        for _ in 0..effort.starts {
            let fresh = servers.anew(subject);
            let Some((begin, listens)) = fresh.start else { continue };
            describe(&servers.client(Protocol::H2.alpn()), Protocol::H2, &fresh).await;
            let answers = begin.elapsed();
            let cpu = Duration::from_nanos(cpu::time_ns(fresh.pid));
            for (shortest, time) in shortest.iter_mut().zip([listens, answers, cpu]) {
                *shortest = shortest.min(time.as_secs_f64() * 1_000.0);
            }
        }
        for (figure, shortest) in figures.iter_mut().zip(shortest) {
            figure.values.extend(shortest.is_finite().then_some((subject.name, shortest)));
        }
    }
    figures
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
    for subject in &servers.subjects {
        let fresh = servers.anew(subject);
        rest.push((subject.name, settled(&fresh, effort.quiet).await / 1024.0));
    }
    let figure = |name, unit, values| Figure { name, unit, values, is_compared: true };
    let mut figures = vec![figure("memory at rest".to_owned(), "MiB", rest)];
    for protocol in [Protocol::H2, Protocol::H1] {
        for used in [false, true] {
            let idle = Idle { protocol, used };
            let after = if used { "one request" } else { "the handshake" };
            let name = format!("each idle connection, {}, after {after}", protocol.alpn());
            let mut values = Vec::new();
            for subject in &servers.subjects {
                let fresh = servers.anew(subject);
                values.push((subject.name, idle.measure(servers, &fresh, effort).await));
            }
            figures.push(figure(name, "KiB", values));
        }
    }
    figures
}

impl Idle {
    /// KiB for each connection.
    async fn measure(self, servers: &Servers, subject: &Subject, effort: Effort) -> f64 {
        let config = servers.client(self.protocol.alpn());
        let describe = describe(&config, self.protocol, subject).await;
        let before = settled(subject, effort.quiet).await;
        let open = self.open(&config, &describe, subject, effort.connections).await;
        let after = settled(subject, effort.quiet).await;
        // One that the server had closed would fail here.
        for opened in open {
            opened.used().await.finish(&describe).await;
        }
        (after - before) / effort.connections as f64
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
    println!("\n{count} connections with a request each, all open and then closed, in MiB:");
    println!(
        "    {:6} {:>8} {:>8} {:>8} {:>8} {:>13}",
        "server", "before", "open", "highest", "after", "after/before"
    );
    for subject in &servers.subjects {
        let subject = servers.anew(subject);
        let config = servers.client(Protocol::H2.alpn());
        let describe = describe(&config, Protocol::H2, &subject).await;
        let before = settled(&subject, QUIET).await;
        let idle = Idle { protocol: Protocol::H2, used: true };
        let open = idle.open(&config, &describe, &subject, count).await;
        let during = cpu::resident_kib(subject.pid) as f64;
        drop(open);
        let after = settled(&subject, QUIET).await;
        let highest = cpu::peak_kib(subject.pid) as f64;
        let [b, d, h, a] = [before, during, highest, after].map(|kib| kib / 1024.0);
        let ratio = after / before;
        println!("    {:6} {b:>8.1} {d:>8.1} {h:>8.1} {a:>8.1} {ratio:>13.2}", subject.name);
    }
}

/// How many connections this process may have at once. The limit is raised first.
pub(crate) fn files() -> usize {
    const OWN: u64 = 100;
    let limit = getrlimit(Resource::Nofile);
    // Refused nowhere; where it is, the burst is smaller and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OWN)).unwrap_or(usize::MAX)
}

/// Resident KiB of a server once they have not changed for a while, or after some seconds all the
/// same.
pub(crate) async fn settled(subject: &Subject, quiet: Duration) -> f64 {
    const LOOK: Duration = Duration::from_millis(20);
    const AT_LAST: Duration = Duration::from_secs(20);
    let start = Instant::now();
    let mut last = (cpu::resident_kib(subject.pid), start);
    while last.1.elapsed() < quiet && start.elapsed() < AT_LAST {
        tokio::time::sleep(LOOK).await;
        let now = cpu::resident_kib(subject.pid);
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    last.0 as f64
}

/// Prints figures under a head.
pub(crate) fn print(figures: &[Figure]) {
    println!("\n{:58} {:6} {:>10} {:>6}", "start and memory", "server", "", "ratio");
    for figure in figures {
        figure.print();
    }
}
