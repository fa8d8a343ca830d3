//! What is known of Vault's health. Asking costs nothing; a task of its own finds it out, and
//! every ordinary call adds what it met.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
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

/// A known state.
pub(super) struct Health {
    state: watch::Sender<State>,
    /// Whether Vault answers and refuses to log us in.
    login_refused: AtomicBool,
    /// What the log was told last: whether Vault is there.
    told: Mutex<Option<bool>>,
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
            told: Mutex::new(None),
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
            self.set(State::Reachable { latency }, None);
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
            self.set(State::Unreachable, Some(fault));
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
        match result {
            Ok(true) => self.set(State::Reachable { latency: start.elapsed() }, None),
            Ok(false) => self.set(State::Unavailable, None),
            Err(fault) if fault.is_unreachable() => self.set(State::Unreachable, Some(&fault)),
            Err(fault) => self.set(State::Unavailable, Some(&fault)),
        }
    }

    #[cfg(test)]
    pub(super) fn set_for_test(&self, state: State) {
        self.set(state, None);
    }

    fn set(&self, state: State, cause: Option<&Fault>) {
        let is_there = matches!(state, State::Reachable { .. });
        if !is_there {
            self.waiting.failed();
        } else if !self.is_reachable() {
            self.waiting.ended();
        }
        self.state.send_replace(state);
        // Once for each change, and once at the start: an operator who mistyped the endpoint must
        // not have to guess.
        if self.told.lock().replace(is_there) == Some(is_there) {
            return;
        }
        match cause {
            _ if is_there => tracing::info!("key store: vault: available"),
            Some(cause) => tracing::warn!("key store: vault: not available: {cause}"),
            None => tracing::warn!(
                "key store: vault: not available: it is sealed, not initialised, or has no leader"
            ),
        }
    }
}

/// Whether Vault can serve. No namespace: inside one the question is refused.
async fn ask(client: &Client) -> Result<bool, Fault> {
    #[derive(Deserialize)]
    struct Answer {
        initialized: bool,
        sealed: bool,
        #[serde(default)]
        standby: bool,
    }
    #[derive(Deserialize)]
    struct Leader {
        #[serde(default)]
        leader_address: String,
    }
    // A standby passes requests on, so it is well if it knows to whom.
    let call = question("/v1/sys/health", Some("standbyok=true&perfstandbyok=true"));
    let answer = client.send(&call, Credentials::default()).await?;
    let health: Answer = body::from_json(answer.body.as_slice())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    if !health.initialized || health.sealed {
        return Ok(false);
    }
    if !health.standby {
        return Ok(true);
    }
    let answer = client.send(&question("/v1/sys/leader", None), Credentials::default()).await?;
    let leader: Leader = body::from_json(answer.body.as_slice())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    Ok(!leader.leader_address.is_empty())
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
