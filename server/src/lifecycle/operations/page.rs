//! A page to look at (contract `config.md`, A page): what the server does, for a person with a browser.
//!
//! A task reads the counters that requests keep anyway, once a second, for as long as the page is
//! configured. The document has the figures of the moment and needs no script; with one it follows an
//! event stream. Names of keys, identities, policies, files and hosts are only asked of the server, and
//! so only shown, if the configuration says `details`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use kes_api::Timestamp;
use kes_config::Operations;
use kes_keystore::State;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::events::{Events, Reading};
use self::guard::Names;
use self::history::History;
use self::view::View;
use crate::observe::metrics::Readings;

/// Charts.
mod chart;

/// The event stream.
pub(super) mod events;

/// What the server tells.
pub(crate) mod facts;

/// Numbers and times as text.
mod format;

/// Which browsers may read it, and the metrics.
pub(super) mod guard;

/// The figures of the past.
mod history;

/// The document.
mod html;

/// What is shown.
mod view;

use self::facts::Facts;

/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// The document may have its own style and script, known by their hashes, connect to its own event
/// stream, and nothing else: whatever a name that it shows may hold, it cannot become a script. A test
/// fails if the hashes are not those of `page.css` and `page.js`, and prints the new ones.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-2es03vcaM3nwFT1eaeuinMdcFUHFND2F47N6jsEPxoc='; \
    script-src 'sha256-gFlrDyIUCTZbBYz/+p5GQW3wqDMwxZWA1/j4FbykZUQ='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// What the page asks of the server.
pub(crate) trait Shown: Send + Sync + 'static {
    /// The counters of this moment.
    fn readings(&self) -> Readings;

    /// Whether the key store can be used, as far as is known without asking it.
    fn store_state(&self) -> State;

    /// The state of the server; names only with details.
    fn facts(&self, with_details: bool) -> Facts;
}

/// The page of a listener.
pub(super) struct Page {
    names: Names,
    has_details: bool,
    history: Arc<Mutex<History>>,
    /// The newest event.
    ticks: watch::Receiver<Bytes>,
    places: Arc<Semaphore>,
    sampler: AbortHandle,
}

/// What a request gets.
pub(super) enum Answer {
    Document(String),
    Events(Events),
    /// The events without the stream, for HEAD.
    Head,
    /// Another web site asks.
    Refused(&'static str),
    /// All places are taken.
    Full,
}

impl Page {
    /// The page of a configuration that has one. `before` is that of the configuration before, whose
    /// figures it goes on with. `server` is asked for the server, which may not have started.
    pub(super) fn of<S: Shown>(
        configured: &Operations,
        before: Option<&Self>,
        server: impl Fn() -> Option<Arc<S>> + Send + 'static,
    ) -> Option<Self> {
        if !configured.page {
            return None;
        }
        let history = before.map(|page| Arc::clone(&page.history));
        let history = history.unwrap_or_else(|| Arc::new(Mutex::new(History::new())));
        let (sender, ticks) = watch::channel(Bytes::new());
        let has_details = configured.details;
        let sampling = sample(server, Arc::downgrade(&history), sender, has_details);
        let sampler = tokio::spawn(sampling).abort_handle();
        let (names, places) =
            (Names::of(configured), Arc::new(Semaphore::new(events::MAX_STREAMS)));
        Some(Self { names, has_details, history, ticks, places, sampler })
    }

    /// Ends the event streams, and reads no more counters.
    pub(super) fn end(&self) {
        self.sampler.abort();
    }

    /// The document.
    pub(super) fn document<S: Shown>(&self, headers: &HeaderMap, server: &S) -> Answer {
        if let Err(why) = guard::check(&self.names, headers, true) {
            return Answer::Refused(why);
        }
        let facts = server.facts(self.has_details);
        let view = View::of(&self.history.lock(), &facts, Timestamp::now());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Answer::Document(html::document(&view, host))
    }

    /// The event stream.
    pub(super) fn events<S: Shown>(
        &self,
        headers: &HeaderMap,
        is_head: bool,
        server: &S,
        reading: &Arc<Reading>,
    ) -> Answer {
        if let Err(why) = guard::check(&self.names, headers, false) {
            return Answer::Refused(why);
        }
        if is_head {
            return Answer::Head;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Answer::Full };
        let mut ticks = self.ticks.clone();
        ticks.mark_unchanged();
        let facts = server.facts(self.has_details);
        let (view, number) = {
            let history = self.history.lock();
            (View::of(&history, &facts, Timestamp::now()), history.number())
        };
        let first = events::event(&view, number, true);
        Answer::Events(events::stream(&first, ticks, Arc::clone(reading), place))
    }
}

/// Reads the counters once a second, until it is aborted. Events are only made while there is a stream.
async fn sample<S: Shown>(
    server: impl Fn() -> Option<Arc<S>>,
    history: Weak<Mutex<History>>,
    ticks: watch::Sender<Bytes>,
    has_details: bool,
) {
    let mut seconds = interval(INTERVAL);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let Some(history) = history.upgrade() else { return };
        let Some(server) = server() else { continue };
        let (readings, state) = (server.readings(), server.store_state());
        let now = Timestamp::now();
        history.lock().add(Instant::now(), now, readings, state);
        // One receiver is the page's own.
        if ticks.receiver_count() > 1 {
            let facts = server.facts(has_details);
            let (view, number) = {
                let history = history.lock();
                (View::of(&history, &facts, now), history.number())
            };
            ticks.send_replace(Bytes::from(events::event(&view, number, false)));
        }
    }
}

/// The headers of all that belongs to the page.
pub(super) fn add_headers(headers: &mut HeaderMap, answer: &Answer) {
    let content_type = match answer {
        Answer::Document(_) => "text/html; charset=utf-8",
        Answer::Events(_) | Answer::Head => "text/event-stream",
        Answer::Refused(_) | Answer::Full => "text/plain; charset=utf-8",
    };
    let own = HeaderName::from_static;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (own("cross-origin-opener-policy"), "same-origin"),
        (own("cross-origin-resource-policy"), "same-origin"),
        (own("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        // A proxy in between is to pass on each event.
        (own("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if matches!(answer, Answer::Full) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
}

#[cfg(test)]
mod tests;
