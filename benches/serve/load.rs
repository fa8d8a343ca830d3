//! The load: the same requests, over the same connections, to whichever server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::client::{Kind, Protocol, Sender, Template};
use crate::cpu;
use crate::servers::{Servers, Subject};

/// What clients do at once.
#[derive(Clone)]
pub(crate) struct Work {
    /// The row of the table.
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) connections: usize,
    /// Requests at once on each connection; one with HTTP/1.1.
    pub(crate) streams: usize,
    pub(crate) request: Kind,
    /// How many keys the requests go round.
    pub(crate) keys: usize,
    /// Whether each request has a connection of its own.
    pub(crate) anew: bool,
}

/// The work of the rows that differ in what ours is started with.
pub(crate) const GENERATE: Work = Work {
    name: "generate, h2, 1 x 64",
    protocol: Protocol::H2,
    connections: 1,
    streams: 64,
    request: Kind::Generate,
    keys: 1,
    anew: false,
};

/// The rows of the plain server.
pub(crate) fn works() -> Vec<Work> {
    use Kind::{Decrypt, Describe, Encrypt, Generate};
    use Protocol::{H1, H2};
    let work = |name, protocol, connections, streams, request| Work {
        name,
        protocol,
        connections,
        streams,
        request,
        ..GENERATE
    };
    vec![
        GENERATE,
        work("decrypt, h2, 1 x 64", H2, 1, 64, Decrypt),
        work("encrypt 32 B, h2, 1 x 64", H2, 1, 64, Encrypt(32)),
        work("describe, h2, 1 x 64", H2, 1, 64, Describe),
        work("generate, h2, 8 x 16", H2, 8, 16, Generate),
        work("generate, h1, 32", H1, 32, 1, Generate),
        work("decrypt, h1, 32", H1, 32, 1, Decrypt),
        work("encrypt 700 kB, h1, 4", H1, 4, 1, Encrypt(700_000)),
        Work { anew: true, ..work("new connection each", H1, 4, 1, Describe) },
    ]
}

/// A work made ready for one server: its requests, and what they are sent with.
pub(crate) struct Load {
    work: Work,
    config: Arc<ClientConfig>,
    requests: Arc<[Template]>,
}

/// What a server did in a while.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    /// CPU time of the server.
    pub(crate) cpu_ns: u64,
    pub(crate) elapsed: Duration,
    /// Of each request, in microseconds, from sending to the end of the answer; with `anew` from
    /// the start of the connection.
    pub(crate) latencies: Vec<u32>,
}

impl Load {
    /// Sends each request once and looks into the answer; the keys are in memory then.
    pub(crate) async fn prepare(work: &Work, servers: &Servers, subject: &Subject) -> Self {
        let config = servers.client(work.protocol.alpn());
        let mut sender = Sender::open(&subject.address, &config).await;
        let requests = work.request.templates(&mut sender, subject, work.keys).await;
        Self { work: work.clone(), config, requests: requests.into() }
    }

    /// Loads the server for a while. The connections are made before the time starts.
    pub(crate) async fn run(&self, subject: &Subject, time: Duration) -> Done {
        let mut senders = Vec::new();
        for _ in 0..self.work.connections {
            let sender = Sender::open(&subject.address, &self.config).await;
            let more: Vec<Sender> =
                (1..self.work.streams).map_while(|_| sender.another()).collect();
            senders.push(sender);
            senders.extend(more);
        }
        let count = senders.len();
        let before = cpu::time_ns(subject.pid);
        let start = Instant::now();
        let tasks: Vec<_> = senders
            .into_iter()
            .enumerate()
            .map(|(n, sender)| {
                // Each starts at another key.
                let first = self.requests.len() * n / count;
                let turn = Turn { requests: Arc::clone(&self.requests), next: first };
                let anew = self.work.anew;
                let (address, config) = (subject.address.clone(), Arc::clone(&self.config));
                tokio::spawn(async move {
                    let again = anew.then_some((&*address, &config));
                    until(start + time, sender, turn, again).await
                })
            })
            .collect();
        let mut all = Done::default();
        for task in tasks {
            let latencies = task.await.unwrap();
            all.latencies.extend(latencies);
        }
        all.requests = all.latencies.len() as u64;
        all.elapsed = start.elapsed();
        all.cpu_ns = cpu::time_ns(subject.pid) - before;
        all
    }
}

/// Requests one after the other, from the start again after the last.
struct Turn {
    requests: Arc<[Template]>,
    next: usize,
}

impl Turn {
    fn next(&mut self) -> &Template {
        let template = &self.requests[self.next];
        self.next = (self.next + 1) % self.requests.len();
        template
    }
}

/// Sends requests until `end`, each when the one before is answered. With `anew` each has a
/// connection of its own.
async fn until(
    end: Instant,
    mut sender: Sender,
    mut turn: Turn,
    anew: Option<(&str, &Arc<ClientConfig>)>,
) -> Vec<u32> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        if let Some((address, config)) = anew {
            sender = Sender::open(address, config).await;
        }
        sender.finish(turn.next()).await;
        latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    latencies
}
