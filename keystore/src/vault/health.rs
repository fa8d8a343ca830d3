//! What is known of Vault's health. Asking costs nothing; a task of its own finds it out, and
//! every ordinary call adds what it met.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time;

use super::asked::Capability;
use super::body;
use super::client::{Call, Client, Credentials};
use super::fault::Fault;
use super::jitter;
use super::patience::Waiting;
use crate::State;

/// How often Vault is asked while it is not well: its return is known within this time.
const RECOVERY_PING: Duration = Duration::from_millis(500);

/// How often Vault is asked while it is well, however long the configured interval: a load
/// balancer that asks us for our health wants to know within about a second. Vault answers from
/// memory, and keeps no audit record of it.
const MAX_INTERVAL: Duration = Duration::from_millis(750);

/// Health is answered from memory; a node that takes longer hangs.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The answers are below 1 KiB.
const MAX_LEN: usize = 16 * 1024;

/// A new cause of an outage is logged this long after the last one at the earliest: of several
/// endpoints each may give another, twice a second.
const BETWEEN_CAUSES: Duration = Duration::from_secs(5);

/// A known state.
pub(super) struct Health {
    state: watch::Sender<State>,
    /// Whether Vault answers and refuses to log us in.
    login_refused: AtomicBool,
    /// What the log was told last.
    told: Mutex<Told>,
    /// Wakes the watch.
    doubt: Notify,
    /// Calls that wait for Vault's return.
    pub(super) waiting: Waiting,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::Unreachable),
            login_refused: AtomicBool::new(false),
            told: Mutex::new(Told::default()),
            doubt: Notify::new(),
            waiting: Waiting::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        match *self.state.borrow() {
            State::Reachable { .. } if self.login_refused.load(Ordering::Relaxed) => {
                State::Unavailable
            }
            state => state,
        }
    }

    /// Why Vault is not available, as the log was told last.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.is_reachable() && self.login_refused.load(Ordering::Relaxed) {
            return Some("Vault refuses the login".to_owned());
        }
        let told = self.told.lock();
        told.last
            .as_ref()
            .and_then(|(_, cause)| cause.as_ref())
            .map(|cause| format!("not available: {cause}"))
    }

    /// Whether Vault itself is well.
    pub(super) fn is_reachable(&self) -> bool {
        matches!(*self.state.borrow(), State::Reachable { .. })
    }

    /// Waits until Vault is well, or might be: a login is worth a try.
    pub(super) async fn reachable(&self) {
        let mut states = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = states.wait_for(|state| matches!(state, State::Reachable { .. })).await;
    }

    /// Notes that Vault did what it was asked, in this time.
    pub(super) fn note_success(&self, latency: Duration) {
        self.waiting.ended();
        if !self.is_reachable() {
            self.set(State::Reachable { latency });
            self.told.lock().tell(None, Instant::now());
        }
    }

    /// Notes what an ordinary call met.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if fault.may_pass() {
            self.waiting.failed();
        } else if fault.status().is_some() {
            // A refusal is an answer.
            self.waiting.ended();
        }
        if fault.is_unreachable() {
            // The watch asks Vault itself, and tells the cause.
            self.set(State::Unreachable);
            self.doubt.notify_one();
        } else if fault.status().is_some_and(|status| status.is_server_error()) {
            // It may be this call's alone: the watch finds out.
            self.doubt.notify_one();
        }
    }

    pub(super) fn note_login(&self, refused: bool) {
        self.login_refused.store(refused, Ordering::Relaxed);
    }

    /// Keeps the state true until it is dropped.
    pub(super) async fn watch(&self, client: &Client, interval: Duration) {
        let interval = interval.min(MAX_INTERVAL);
        loop {
            self.ping(client).await;
            let pause =
                if self.is_reachable() { interval } else { interval.min(jitter(RECOVERY_PING)) };
            if time::timeout(pause, self.doubt.notified()).await.is_ok() {
                // However many calls fail: no more pings than that.
                time::sleep(jitter(RECOVERY_PING.min(Duration::from_millis(200)))).await;
            }
        }
    }

    /// Asks Vault now.
    pub(super) async fn ping(&self, client: &Client) {
        let start = Instant::now();
        let result = ask(client).await;
        self.set(match &result {
            Ok(()) => State::Reachable { latency: start.elapsed() },
            Err(trouble) if trouble.is_unreachable => State::Unreachable,
            Err(_) => State::Unavailable,
        });
        let cause = result.err().map(|trouble| trouble.cause);
        self.told.lock().tell(cause, Instant::now());
    }

    #[cfg(test)]
    pub(super) fn set_for_test(&self, state: State) {
        self.set(state);
    }

    fn set(&self, state: State) {
        let is_there = matches!(state, State::Reachable { .. });
        if !is_there {
            self.waiting.failed();
        } else if !self.is_reachable() {
            self.waiting.ended();
        }
        self.state.send_replace(state);
    }
}

/// What the log was told of Vault's health.
#[derive(Debug, Default)]
struct Told {
    /// When, and why Vault is not available; no cause while it is.
    last: Option<(Instant, Option<String>)>,
}

impl Told {
    /// Tells the log that Vault is available, or why it is not: once at the start, so that an
    /// operator who mistyped the endpoint need not guess, and when it changes.
    fn tell(&mut self, cause: Option<String>, now: Instant) {
        if let Some((time, last)) = &self.last
            && (*last == cause
                || last.is_some() && cause.is_some() && now.duration_since(*time) < BETWEEN_CAUSES)
        {
            return;
        }
        match &cause {
            None => tracing::info!("key store: vault: available"),
            Some(cause) => tracing::warn!("key store: vault: not available: {cause}"),
        }
        self.last = Some((now, cause));
    }
}

/// Why Vault cannot serve.
struct Trouble {
    is_unreachable: bool,
    cause: String,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self { is_unreachable: fault.is_unreachable(), cause: fault.to_string() }
    }
}

/// The answer of `/v1/sys/health`.
#[derive(Deserialize)]
struct Answer {
    initialized: bool,
    sealed: bool,
    #[serde(default)]
    standby: bool,
}

impl Answer {
    /// What keeps Vault from serving anybody.
    fn closed(&self, endpoint: &str) -> Option<Trouble> {
        let state = match self {
            Self { initialized: false, .. } => "not initialised",
            Self { sealed: true, .. } => "sealed",
            _ => return None,
        };
        Some(Trouble { is_unreachable: true, cause: format!("{endpoint} is {state}") })
    }
}

/// Whether Vault can serve. No namespace: inside one the question is refused.
async fn ask(client: &Client) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Leader {
        #[serde(default)]
        leader_address: String,
    }
    // A standby passes requests on, so it is well if it knows to whom.
    let (endpoint, health) = match health(client, "standbyok=true&perfstandbyok=true").await {
        Err(fault) => return Err(why(client, fault).await),
        Ok(answer) => answer,
    };
    if let Some(trouble) = health.closed(&endpoint) {
        return Err(trouble);
    }
    if !health.standby {
        return Ok(());
    }
    let answer = client.send(&question("/v1/sys/leader", None), Credentials::default()).await?;
    let leader: Leader = body::from_json(answer.body.as_slice())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    if leader.leader_address.is_empty() {
        let cause = format!("{} has no leader", answer.endpoint);
        return Err(Trouble { is_unreachable: false, cause });
    }
    Ok(())
}

/// The answer of one endpoint to the question for its health.
async fn health(client: &Client, query: &'static str) -> Result<(String, Answer), Fault> {
    let call = question("/v1/sys/health", Some(query));
    let answer = client.send(&call, Credentials::default()).await?;
    let health = body::from_json(answer.body.as_slice())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    Ok((answer.endpoint, health))
}

/// What is the matter, after no endpoint was well: a status of 501 or 503 may be that of Vault,
/// which is not initialised or sealed, or that of a proxy. Vault says so when it is asked to
/// answer with 200 all the same.
async fn why(client: &Client, fault: Fault) -> Trouble {
    const ANY: &str = "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200";
    if !matches!(
        fault.status(),
        Some(StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_IMPLEMENTED)
    ) {
        return fault.into();
    }
    match health(client, ANY).await {
        Ok((endpoint, health)) => health.closed(&endpoint).unwrap_or_else(|| fault.into()),
        Err(_) => fault.into(),
    }
}

fn question(path: &str, query: Option<&'static str>) -> Call {
    Call {
        method: Method::GET,
        path: path.to_owned(),
        query: query.map(Cow::Borrowed),
        body: None,
        right: Capability::Read,
        judges_denial: false,
        repeatable: true,
        latest: false,
        max_len: MAX_LEN,
        limit: PING_LIMIT,
    }
}
