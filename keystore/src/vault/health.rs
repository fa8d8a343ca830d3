//! The health of Vault. A background task asks Vault for it, every ordinary call adds its outcome,
//! and reading the state sends no request.

/// Waiting for a Vault that is away for a moment.
pub(super) mod patience;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time;

use self::patience::Waiting;
use super::call::{Call, Capability};
use super::client::{Client, Credentials};
use super::fault::Fault;
use super::jitter;
use crate::State;
use crate::remote::{Request, from_json};

/// How often Vault is asked while it is not healthy: its return is known within this time.
const RECOVERY_PING: Duration = Duration::from_millis(500);

/// How often Vault is asked while it is healthy, however long the configured interval: a load
/// balancer that asks this server for its health has to learn of a change within about a second.
/// Vault answers from memory, and writes no audit record of it.
const MAX_INTERVAL: Duration = Duration::from_millis(750);

/// Health is answered from memory; a node that takes longer hangs.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// The answers are below 1 KiB.
const MAX_LEN: usize = 16 * 1024;

/// A new cause of an outage is logged this long after the last one at the earliest: each of
/// several endpoints may give another cause, twice a second.
const BETWEEN_CAUSES: Duration = Duration::from_secs(5);

/// What is known of Vault's health.
pub(super) struct Health {
    state: watch::Sender<State>,
    /// Whether Vault answers and refuses to log us in.
    login_refused: AtomicBool,
    /// What was logged last.
    told: Mutex<Told>,
    /// Wakes the watch after a call has failed.
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

    /// Why Vault is not available, as it was logged last.
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

    /// Whether Vault itself is healthy; a login may be refused all the same.
    pub(super) fn is_reachable(&self) -> bool {
        matches!(*self.state.borrow(), State::Reachable { .. })
    }

    /// Waits until Vault is healthy.
    pub(super) async fn reachable(&self) {
        let mut states = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = states.wait_for(|state| matches!(state, State::Reachable { .. })).await;
    }

    /// Records that Vault carried out a call, in this time.
    pub(super) fn note_success(&self, latency: Duration) {
        self.waiting.ended();
        if !self.is_reachable() {
            self.set(State::Reachable { latency });
            self.told.lock().tell(None, Instant::now());
        }
    }

    /// Records the fault of an ordinary call.
    pub(super) fn note_fault(&self, fault: &Fault) {
        if fault.may_pass() {
            self.waiting.failed();
        } else if fault.status().is_some() {
            // A refusal is an answer.
            self.waiting.ended();
        }
        if fault.is_unreachable() {
            // The watch asks Vault itself, and logs the cause.
            self.set(State::Unreachable);
            self.doubt.notify_one();
        } else if fault.status().is_some_and(|status| status.is_server_error()) {
            // The fault may be of this call alone: the watch finds out.
            self.doubt.notify_one();
        }
    }

    /// Records whether Vault refused a login.
    pub(super) fn note_login(&self, refused: bool) {
        self.login_refused.store(refused, Ordering::Relaxed);
    }

    /// Keeps the state up to date until this future is dropped.
    pub(super) async fn watch(&self, client: &Client, interval: Duration) {
        let interval = interval.min(MAX_INTERVAL);
        loop {
            self.ping(client).await;
            let pause =
                if self.is_reachable() { interval } else { interval.min(jitter(RECOVERY_PING)) };
            if time::timeout(pause, self.doubt.notified()).await.is_ok() {
                // A pause, so that many failing calls do not cause many pings.
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

/// What was logged of Vault's health.
#[derive(Debug, Default)]
struct Told {
    /// When, and why Vault is not available; no cause while it is.
    last: Option<(Instant, Option<String>)>,
}

impl Told {
    /// Logs that Vault is available, or why it is not: once at the start, so that an operator sees a
    /// mistyped endpoint, and when it changes.
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
    /// Why Vault serves no request, if it says so.
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
    // A standby forwards requests, so it is healthy if it knows the leader.
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
    let leader: Leader = from_json(answer.body.as_slice())
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
    let health = from_json(answer.body.as_slice())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    Ok((answer.endpoint, health))
}

/// The cause, after no endpoint was healthy: a status of 501 or 503 may come from a Vault that is
/// not initialised or sealed, or from a proxy. Vault tells which when it is asked to answer with
/// 200 in any state.
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
        request: Request {
            method: Method::GET,
            path: path.to_owned(),
            query: query.map(Cow::Borrowed),
            body: None,
            repeatable: true,
            max_len: MAX_LEN,
            limit: PING_LIMIT,
        },
        right: Capability::Read,
        judges_denial: false,
        consistent: false,
    }
}
