//! Calls with a token, and the life of that token.
//!
//! Logins are single-flight and never more than one a second. A token is renewed at 80 % of its
//! life by a task of its own, and got anew when that is refused or not possible. A call that is
//! refused with 403 asks Vault whether it still knows the token; if not, there is one login and
//! one repeat at once, unless the token is so young that another node of the cluster may not have
//! heard of it.

/// The life of a token while nobody calls.
mod keeper;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time;

use super::asked::Space;
use super::client::{Call, Client, Credentials};
use super::fault::Fault;
use super::health::Health;
use super::jitter;
use super::login::{self, Grant};
use super::patience::Patience;
use super::sink::BodySink;
use crate::config::Login;
use crate::store::Logins;

/// Never more than one login in this time.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

/// Pause after a login that Vault refused: doubled each time, from the first to the second. A
/// secret that is put right is picked up within the second.
const REFUSED_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// Nodes of a cluster may take this long to hear of a new token that none has accepted yet...
const UNHEARD: Duration = Duration::from_secs(3);

/// ... and this long once one has.
const HEARD: Duration = Duration::from_secs(1);

/// A token that is known and not allowed to do a thing is replaced if it is older: the role may
/// have been given more policies, and a token keeps those of its login.
const OLD_RIGHTS: Duration = Duration::from_secs(30);

/// What Vault said of a token is asked again after this time.
const KNOWN: Duration = Duration::from_secs(1);

/// Repeats of one call, whatever happens to its tokens.
const MAX_REPEATS: u32 = 8;

/// Calls that are at Vault at one time. More would not be faster, and each has a connection.
const MAX_CALLS: usize = 128;

/// Calls to one Vault as one client.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) health: Health,
    login: Login,
    namespace: Option<HeaderValue>,
    login_namespace: Option<HeaderValue>,
    pub(super) space: Space,
    token: watch::Sender<Option<Arc<Token>>>,
    gate: Mutex<Gate>,
    calls: Semaphore,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// A token in use.
struct Token {
    /// Of the login that brought it.
    number: u64,
    grant: Grant,
    /// The TTL of the login. A renewal that gives less than half of it nears the maximum.
    first_ttl: Duration,
    /// Whether a call with it has succeeded.
    accepted: AtomicBool,
}

/// What whoever logs in must know.
#[derive(Default)]
struct Gate {
    logins: u64,
    last_login: Option<Instant>,
    failure: Option<Failure>,
    /// When Vault was last asked about a token, and what it said.
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
        login: Login,
        namespace: Option<HeaderValue>,
        login_namespace: Option<HeaderValue>,
    ) -> Self {
        Self {
            client,
            health: Health::new(),
            space: Space::new(namespace.as_ref(), login_namespace.as_ref()),
            login,
            namespace,
            login_namespace,
            token: watch::Sender::new(None),
            gate: Mutex::default(),
            calls: Semaphore::new(MAX_CALLS),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Logins so far, and how long the token has still to live.
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

    /// Sends a request as ourselves, and again where Vault is away for a moment: what is safe to
    /// repeat, and what was surely not carried out. The endpoint that answered.
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
            let is_safe = call.repeatable || fault.is_not_done();
            if !is_safe || !patience.outlasts(&fault).await {
                return Err(fault);
            }
        }
    }

    /// The patience of a call that is tried now for the first time.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience::new(&self.health)
    }

    /// Sends a request as ourselves, without waiting for a Vault that is away.
    pub(super) async fn try_call_into(
        &self,
        call: &Call,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        let _permit = self.calls.acquire().await.expect("the semaphore is never closed");
        let start = Instant::now();
        let result = self.call_with_token(call, sink).await;
        match &result {
            Ok(_) => self.health.note_success(start.elapsed()),
            Err(fault) => self.health.note_fault(fault),
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
                secret: None,
            };
            let fault = match self.client.send_into(&call, who, sink).await {
                // The node may lag behind.
                Err(fault) if !call.latest && self.may_be_outdated(&fault) => {
                    call.to_mut().latest = true;
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
            token = match self.after_refusal(&token, repeats, logins).await? {
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

    /// Whether the latest state may have another answer: to "not there" and "not allowed".
    fn may_be_outdated(&self, fault: &Fault) -> bool {
        self.client.latest.matters()
            && fault.status().is_some_and(|status| status.is_client_error())
    }

    /// What to do after a 403.
    async fn after_refusal(
        &self,
        token: &Arc<Token>,
        repeats: u32,
        logins: u32,
    ) -> Result<Verdict, Fault> {
        if let Some(newer) = self.newer_than(token.number) {
            return Ok(Verdict::Repeat(newer));
        }
        let known = self.knows(token).await?;
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
            // 100, 200, 400, 800 ms, and so on, but not beyond the end of its youth.
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

    /// Whether Vault knows a token; one question at a time, and its answer holds for a moment.
    async fn knows(&self, token: &Token) -> Result<bool, Fault> {
        let mut gate = self.gate.lock().await;
        if let Some((number, at, known)) = gate.last_look
            && number == token.number
            && at.elapsed() < KNOWN
            && known
        {
            return Ok(true);
        }
        let who = Credentials {
            token: Some(&token.grant.header),
            namespace: self.login_namespace.as_ref(),
            secret: None,
        };
        let known = login::knows(&self.client, who).await?;
        gate.last_look = Some((token.number, Instant::now(), known));
        Ok(known)
    }

    /// A token of a later login than this one. Of many callers one logs in.
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
                self.health.note_login(false);
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
                    // It was none: the next one need not wait for it.
                    gate.last_login = None;
                }
                if fault.may_pass() {
                    self.health.note_fault(&fault);
                }
                if !fault.is_unreachable() {
                    self.health.note_login(true);
                    // Once a second is too often to say the same.
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

enum Verdict {
    /// Again with this token.
    Repeat(Arc<Token>),
    /// Again with this token, which is new.
    Login(Arc<Token>),
    /// The token lives, and may not do this.
    Denied,
}
