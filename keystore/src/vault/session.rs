//! Calls with a token, and the life of that token.
//!
//! Logins are single-flight, and there is never more than one a second. A background task renews
//! the token at 80 % of its life, and logs in again when the renewal is refused or not possible.
//! After a 403 the session asks Vault whether it still knows the token. If not, it logs in and
//! repeats the call once, unless the token is so young that another node of the cluster may not
//! know it yet.

/// The background task that keeps a token valid.
mod keeper;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use kes_api::SecretBytes;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time;

use super::asked::Space;
use super::call::Call;
use super::client::{Client, Credentials};
use super::fault::Fault;
use super::login::{self, Grant};
use crate::config::Login;
use crate::jitter::jitter;
use crate::remote::{Answer, BodySink};
use crate::store::{Logins, StoreOperation};
use crate::wrap::health::patience::Patience;
use crate::wrap::{Monitor, Slot};

/// The shortest time between two logins.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a login that Vault refused: doubled each time, from the first value up to the
/// second. A secret that is corrected is used after that time at the latest.
const REFUSED_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// Nodes of a cluster may take this long to learn of a new token that none has accepted yet...
const UNHEARD: Duration = Duration::from_secs(3);

/// ... and this long once one has.
const HEARD: Duration = Duration::from_secs(1);

/// A valid token that is denied something is replaced if it is older than this: the role may have
/// been given more policies, and a token keeps those of its login.
const OLD_RIGHTS: Duration = Duration::from_secs(30);

/// For this long the session relies on Vault's answer that a token is valid.
const KNOWN: Duration = Duration::from_secs(1);

/// The most repeats of one call after refusals of its token.
const MAX_REPEATS: u32 = 8;

/// The most requests that Vault is sent at one time for reads of keys: as many as the server lets
/// its callers have under way at a time, and those in the background. More would not be faster, and
/// each needs a connection. An operation on a key sends several requests, one after the other, and
/// none while it waits for Vault's return or for a create lock.
const MAX_READ_REQUESTS: usize = 96;

/// The same for all other operations, so that creates, deletes and listings that hang hold up no
/// read.
const MAX_OTHER_REQUESTS: usize = 64;

/// Calls to one Vault, all with the same login.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) health: Arc<Monitor>,
    login: Login,
    namespace: Option<HeaderValue>,
    login_namespace: Option<HeaderValue>,
    pub(super) space: Space,
    token: watch::Sender<Option<Arc<Token>>>,
    gate: Mutex<Gate>,
    read_requests: Semaphore,
    other_requests: Semaphore,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// A token in use.
struct Token {
    /// The number of the login that returned it.
    number: u64,
    grant: Grant,
    /// The TTL at the login. A renewal that gives less than half of it is near the maximum TTL.
    first_ttl: Duration,
    /// Whether a call with it has succeeded.
    accepted: AtomicBool,
}

/// The state of logins; whoever holds its lock may log in.
#[derive(Default)]
struct Gate {
    logins: u64,
    last_login: Option<Instant>,
    failure: Option<Failure>,
    /// The last token that Vault was asked about, when, and whether Vault knew it.
    last_look: Option<(u64, Instant, bool)>,
}

struct Failure {
    fault: Fault,
    until: Instant,
    pause: Duration,
}

impl Session {
    pub(super) fn new(
        client: Client,
        health: Arc<Monitor>,
        login: Login,
        namespace: Option<HeaderValue>,
        login_namespace: Option<HeaderValue>,
    ) -> Self {
        Self {
            client,
            health,
            space: Space::new(namespace.as_ref(), login_namespace.as_ref()),
            login,
            namespace,
            login_namespace,
            token: watch::Sender::new(None),
            gate: Mutex::default(),
            read_requests: Semaphore::new(MAX_READ_REQUESTS),
            other_requests: Semaphore::new(MAX_OTHER_REQUESTS),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Logins so far, and how long the token remains valid.
    pub(super) fn logins(&self) -> Logins {
        let life = |token: &Arc<Token>| match token.grant.ttl {
            Duration::ZERO => Duration::MAX,
            ttl => ttl.saturating_sub(token.grant.since.elapsed()),
        };
        Logins {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            token_life: self.token.borrow().as_ref().map_or(Duration::ZERO, life),
        }
    }

    /// Sends a request with the token, and again where Vault is away for a moment, if the request
    /// is safe to repeat or was certainly not carried out. Returns the endpoint that answered.
    pub(super) async fn call_into(
        &self,
        call: &Call,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        let mut patience = self.patience();
        loop {
            let fault = match self.try_call_into(call, sink).await {
                Ok(endpoint) => return Ok(endpoint),
                Err(fault) => fault,
            };
            let is_safe = call.request.repeatable || fault.is_not_done();
            if !is_safe || !patience.outlasts(fault.may_pass()).await {
                return Err(fault);
            }
        }
    }

    /// As [`Session::call_into`], for an answer that fits in memory.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, Fault> {
        let mut body = SecretBytes::default();
        let endpoint = self.call_into(call, &mut body).await?;
        Ok(Answer { endpoint, body })
    }

    /// As [`Session::try_call_into`], for an answer that fits in memory.
    pub(super) async fn try_call(&self, call: &Call) -> Result<Answer, Fault> {
        let mut body = SecretBytes::default();
        let endpoint = self.try_call_into(call, &mut body).await?;
        Ok(Answer { endpoint, body })
    }

    /// How long a call waits for Vault that is tried now for the first time.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience::new(&self.health)
    }

    /// Sends a request with the token, without waiting for Vault if it is away.
    pub(super) async fn try_call_into(
        &self,
        call: &Call,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        let requests = match Slot::current_operation() {
            Some(StoreOperation::Read) => &self.read_requests,
            _ => &self.other_requests,
        };
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let _permit = requests.acquire().await.expect("the semaphore is never closed");
        let start = Instant::now();
        let result = self.call_with_token(call, sink).await;
        match &result {
            Ok(_) => self.health.note_success(start.elapsed()),
            Err(fault) => fault.note(&self.health),
        }
        result.map_err(|fault| fault.about(call, &self.space))
    }

    async fn call_with_token(
        &self,
        call: &Call,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        let current = self.token.borrow().clone();
        let mut token = match current {
            Some(token) => token,
            None => self.log_in(0).await?,
        };
        let mut call = Cow::Borrowed(call);
        let mut repeats = 0;
        let mut logins = 0;
        loop {
            let who = Credentials {
                token: Some(&token.grant.header),
                namespace: self.namespace.as_ref(),
                role: None,
            };
            let fault = match self.client.send_into(&call, who, sink).await {
                // The node may lag behind the active one.
                Err(fault) if !call.consistent && self.may_be_outdated(&fault) => {
                    call.to_mut().consistent = true;
                    continue;
                }
                Err(fault) if fault.is_forbidden() && !call.judges_denial => fault,
                Err(fault) => return Err(fault),
                Ok(endpoint) => {
                    token.accepted.store(true, Ordering::Relaxed);
                    return Ok(endpoint);
                }
            };
            if repeats == MAX_REPEATS {
                return Err(fault);
            }
            token = match self.after_refusal(&token, &fault, repeats, logins).await? {
                Verdict::Repeat(next) => next,
                Verdict::Login(next) => {
                    logins += 1;
                    next
                }
                Verdict::Denied => return Err(fault),
            };
            repeats += 1;
        }
    }

    /// Whether a consistent read may have another answer: to "not there" and "not allowed".
    fn may_be_outdated(&self, fault: &Fault) -> bool {
        self.client.consistency.matters()
            && fault.status().is_some_and(|status| status.is_client_error())
    }

    /// What to do after a 403.
    async fn after_refusal(
        &self,
        token: &Arc<Token>,
        fault: &Fault,
        repeats: u32,
        logins: u32,
    ) -> Result<Verdict, Fault> {
        if let Some(newer) = self.newer_than(token.number) {
            return Ok(Verdict::Repeat(newer));
        }
        let known = self.knows(token, fault).await?;
        let age = token.grant.since.elapsed();
        if known {
            return if logins == 0 && age > OLD_RIGHTS {
                Ok(Verdict::Login(self.log_in(token.number).await?))
            } else {
                Ok(Verdict::Denied)
            };
        }
        let unheard = if token.accepted.load(Ordering::Relaxed) { HEARD } else { UNHEARD };
        if age < unheard {
            // 100, 200, 400, 800 ms, and so on, but not beyond the time that nodes need.
            let pause = jitter(Duration::from_millis(100 << repeats)).min(unheard - age);
            time::sleep(pause).await;
            return Ok(Verdict::Repeat(Arc::clone(token)));
        }
        if logins > 0 {
            return Ok(Verdict::Denied);
        }
        Ok(Verdict::Login(self.log_in(token.number).await?))
    }

    fn newer_than(&self, number: u64) -> Option<Arc<Token>> {
        self.token.borrow().as_ref().filter(|token| token.number > number).cloned()
    }

    /// Whether Vault knows a token that it has just refused. One caller at a time asks, and all use its
    /// answer for a moment; but an answer of before the refusal only if policies are what denies the
    /// call: the token may have been revoked since.
    async fn knows(&self, token: &Token, fault: &Fault) -> Result<bool, Fault> {
        let refused = Instant::now();
        let mut gate = self.gate.lock().await;
        if let Some((number, at, known)) = gate.last_look
            && number == token.number
            && at.elapsed() < KNOWN
            && known
            && (at >= refused || fault.is_denied_by_policy())
        {
            return Ok(true);
        }
        let who = Credentials {
            token: Some(&token.grant.header),
            namespace: self.login_namespace.as_ref(),
            role: None,
        };
        let known = login::knows(&self.client, who).await?;
        gate.last_look = Some((token.number, Instant::now(), known));
        Ok(known)
    }

    /// A token of a later login than this one. Of many callers one logs in, the others wait for it.
    async fn log_in(&self, after: u64) -> Result<Arc<Token>, Fault> {
        let mut gate = self.gate.lock().await;
        if let Some(newer) = self.newer_than(after) {
            return Ok(newer);
        }
        if let Some(failure) = &gate.failure
            && Instant::now() < failure.until
            && !(failure.fault.is_unreachable() && self.health.is_reachable())
        {
            return Err(failure.fault.clone());
        }
        if let Some(last) = gate.last_login {
            time::sleep_until((last + LOGIN_PAUSE).into()).await;
        }
        gate.last_login = Some(Instant::now());
        let namespace = self.login_namespace.as_ref();
        match login::log_in(&self.client, &self.login, namespace).await {
            Ok(grant) => {
                gate.failure = None;
                gate.logins += 1;
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                self.health.note_login(None);
                let token = Arc::new(Token {
                    number: gate.logins,
                    first_ttl: grant.ttl,
                    grant,
                    accepted: AtomicBool::new(false),
                });
                tracing::debug!(ttl = ?token.grant.ttl, "key store: vault: logged in");
                self.token.send_replace(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err(fault) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let pause = match &gate.failure {
                    Some(failure) if !fault.may_pass() => (failure.pause * 2).min(REFUSED_PAUSE[1]),
                    _ => REFUSED_PAUSE[0],
                };
                if fault.is_unreachable() {
                    // No login was made, so the next one need not keep a distance to it.
                    gate.last_login = None;
                }
                if fault.may_pass() {
                    fault.note(&self.health);
                }
                if !fault.is_unreachable() {
                    self.health.note_login(Some("Vault refuses the login"));
                    // Once a second is too often to log the same error.
                    let told = gate.failure.as_ref().map(|failure| failure.fault.to_string());
                    let text = fault.to_string();
                    if !fault.may_pass() || told.as_ref() != Some(&text) {
                        tracing::error!("key store: vault: {text}");
                    }
                }
                let until = Instant::now() + jitter(pause);
                gate.failure = Some(Failure { fault: fault.clone(), until, pause });
                Err(fault)
            }
        }
    }
}

/// What to do after a 403.
enum Verdict {
    /// Repeat with this token.
    Repeat(Arc<Token>),
    /// Repeat with this token, which is of a new login.
    Login(Arc<Token>),
    /// The token is valid, and its policies deny the call.
    Denied,
}
