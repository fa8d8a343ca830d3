//! Stands in front of two servers: each request goes to both, the client gets the answer of one of
//! them, and the two answers are compared (`docs/shadow.md`).
//!
//! - `forward`: a request comes in, goes to the servers, and an answer goes back.
//! - `plan`: whether a request may go to both. A change of keys goes to one alone if both servers
//!   have the same key store.
//! - `carriers`: as whom a request is sent: the shadow has no private key of its clients.
//! - `examine`: what is done with two answers, after the client has its own: `compare`, and `cross`,
//!   where each server decrypts what the other one has encrypted.
//! - `report`: what is counted and printed. It tells kinds of requests and of differences, never the
//!   content of a request: no plaintext, ciphertext, context, name or identity; names and identities
//!   if the operator asks for them.
//!
//! The server that does not answer cannot delay or fail an answer: what is under way for it is
//! bounded in number and in bytes (`room`), and what is beyond that is not compared, and counted.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// A pair of each server's.
mod sides;

/// As whom requests are sent.
mod carriers;

/// A request that was received.
mod exchange;

/// Which requests go to both servers.
mod plan;

/// Keys that were changed a short time ago.
mod changes;

/// How much may be under way.
mod room;

/// Bodies of requests.
mod body;

/// What comes of a comparison.
mod verdict;

/// Two answers side by side.
mod compare;

/// JSON side by side.
mod shape;

/// Differences that are documented.
mod known;

/// Messages without names.
mod mask;

/// What is counted and printed.
mod report;

/// Each server decrypts what the other one has encrypted.
mod cross;

/// What is done with two answers.
mod examine;

/// Requests in, answers out.
mod forward;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kes_client::tls::Trust;
use kes_client::{Endpoint, Error};

pub use carriers::Clients;
pub use plan::Stores;
pub use sides::{Side, Sides};

use carriers::Carriers;
use changes::Changes;
use report::Report;
use room::Room;

/// How long the comparisons that are under way may take when it stops.
const LAST_COMPARISONS: Duration = Duration::from_secs(3);

/// What is compared, and how.
pub struct Options {
    /// The servers.
    pub servers: Sides<Endpoint>,
    /// Which certificates of these servers are accepted.
    pub trust: Trust,
    /// Whose requests are passed on, and as whom.
    pub clients: Clients,
    /// Whose answer the clients get.
    pub answers: Side,
    /// Whether both servers have the same key store.
    pub stores: Stores,
    /// Whether names of keys, and identities, are printed.
    pub names: bool,
}

/// The shadow: a [`kes_server::Responder`].
pub struct Shadow {
    servers: Sides<Endpoint>,
    answers: Side,
    stores: Stores,
    carriers: Carriers,
    changes: Changes,
    room: Room,
    report: Report,
}

impl Shadow {
    /// Makes it. `print` gets each line of the report, in a thread of its own: it may block.
    ///
    /// # Errors
    /// [`Error`] if the CAs that are to be trusted cannot be read.
    pub fn new(
        options: Options,
        print: impl FnMut(&str) + Send + 'static,
    ) -> Result<Arc<Self>, Error> {
        let Options { servers, trust, clients, answers, stores, names } = options;
        let carriers = Carriers::new(&servers, &trust, clients)?;
        let (changes, room, report) = (Changes::default(), Room::new(), Report::new(names, print));
        Ok(Arc::new(Self { servers, answers, stores, carriers, changes, room, report }))
    }

    /// Reports that it listens, and what both servers say of themselves.
    pub async fn begin(&self, addresses: &[SocketAddr]) {
        let (old, new) = tokio::join!(self.version(Side::Old), self.version(Side::New));
        self.report.start(addresses, &self.servers, &Sides { old, new }, self.answers);
    }

    /// The version of a server; the reason if it gives none.
    async fn version(&self, side: Side) -> Result<String, Error> {
        let relay = self.carriers.any().get(side);
        let answer = relay.call(exchange::version()).await?;
        let version: Option<kes_api::body::Version> = serde_json::from_slice(&answer.body).ok();
        Ok(version.map_or_else(String::new, |version| version.version))
    }

    /// Prints what was counted so far.
    pub fn summarize(&self) {
        self.report.summary();
    }

    /// Waits for the comparisons that are under way, for 3 s, and prints what was counted. Nothing is
    /// printed after that.
    pub async fn end(&self) {
        let _ = tokio::time::timeout(LAST_COMPARISONS, self.room.all_compared()).await;
        self.report.end();
    }
}
