//! What Vault's answers say of its health.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;

use super::call::{Call, Capability};
use super::client::{Client, Credentials};
use super::fault::Fault;
use crate::State;
use crate::jitter::jitter;
use crate::remote::{Request, from_json};

/// With this a standby counts as healthy.
const HEALTHY: &str = "standbyok=true&perfstandbyok=true";

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

/// The pause after a question for Vault's health, with the configured interval.
pub(super) fn interval(configured: Duration, is_reachable: bool) -> Duration {
    let interval = configured.min(MAX_INTERVAL);
    if is_reachable { interval } else { interval.min(jitter(RECOVERY_PING)) }
}

/// Asks Vault for its health. Returns the cause if it is not available. If it is, it may tell its
/// version.
pub(super) async fn ping(
    client: &Client,
    version: &Mutex<Option<String>>,
) -> (State, Option<String>) {
    let start = Instant::now();
    match ask(client, version).await {
        Ok(()) => (State::Reachable { latency: start.elapsed() }, None),
        Err(Trouble { is_unreachable: true, cause }) => (State::Unreachable, Some(cause)),
        Err(Trouble { is_unreachable: false, cause }) => (State::Unavailable, Some(cause)),
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
    /// Names the cluster, whichever of its nodes is asked.
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    version: String,
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
async fn ask(client: &Client, version: &Mutex<Option<String>>) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Leader {
        #[serde(default)]
        leader_address: String,
    }
    // A standby forwards requests, so it is healthy if it knows the leader.
    let (endpoint, health) = match health(client, HEALTHY).await {
        Err(fault) => return Err(why(client, fault).await),
        Ok(answer) => answer,
    };
    if let Some(trouble) = health.closed(&endpoint) {
        return Err(trouble);
    }
    *version.lock() = release(&health.version);
    if !health.standby {
        return Ok(());
    }
    let answer = client.send(&question("/v1/sys/leader", None), Credentials::default()).await?;
    let leader: Leader =
        from_json(answer.body.expose()).map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    if leader.leader_address.is_empty() {
        let cause = format!("{} has no leader", answer.endpoint);
        return Err(Trouble { is_unreachable: false, cause });
    }
    Ok(())
}

/// The ID of the cluster, if Vault tells it.
pub(super) async fn cluster(client: &Client) -> Option<String> {
    let (_, Answer { cluster_id, .. }) = health(client, HEALTHY).await.ok()?;
    (!cluster_id.is_empty()).then_some(cluster_id)
}

/// The answer of one endpoint to the question for its health.
async fn health(client: &Client, query: &'static str) -> Result<(String, Answer), Fault> {
    let call = question("/v1/sys/health", Some(query));
    let answer = client.send(&call, Credentials::default()).await?;
    let health =
        from_json(answer.body.expose()).map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
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

/// The release in a version such as `1.18.3+ent`: three small numbers. Whatever stands there may send
/// a secret as its version.
pub(super) fn release(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '+', '-']).map(str::parse::<u8>);
    let mut next = || numbers.next()?.ok();
    Some(format!("{}.{}.{}", next()?, next()?, next()?))
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
            sends: None,
        },
        right: Capability::Read,
        judges_denial: false,
        shown_path: None,
        consistent: false,
    }
}
