//! The record of a change of a key: made by the task that performs the change, before it is
//! answered, and also if its client has gone away or its time is over.
//!
//! A request whose change has ended is recorded once, by that task. If the request is answered
//! before that, because its time was over, the answer is recorded as that of any other request, and
//! the end of the change again.
//!
//! A change that has failed may still be carried out by the key store. If that becomes known, it is
//! recorded as well.
//!
//! With `log.audit_required` a change is announced in the audit log, and begins only once that line
//! is written. It is answered with success only once the line that it was made is written as well.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use kes_api::message::{self, Message};
use kes_api::{Identity, Operation};
use kes_audit::record::{Kind, Role};
use kes_keys::{Ended, Error, Late};
use kes_policy::StartupPermit;
use tokio::sync::OwnedRwLockReadGuard;

use super::ApiService;
use super::context::RequestContext;
use super::error::{self, PANICKED, keys_cause, keys_message};
use super::progress::{ANSWERED, GONE, Progress, WAITS};
use super::record::role;
use super::refusals::Refusals;
use crate::observe::logging::Logs;
use crate::observe::logging::audit::Audited;
use crate::observe::logging::file::Recorded;
use crate::observe::logging::receipt::{Receipt, Unwritten};
use crate::observe::metrics::Metrics;
use crate::transport::Class;

/// A change of a key.
struct Change {
    logs: Arc<Logs>,
    metrics: Arc<Metrics>,
    refusals: Arc<Refusals>,
    class: Class,
    operation: Operation,
    /// Nothing if no request asks for it; the path is empty then.
    method: Option<Method>,
    path: String,
    key: String,
    ip: Option<IpAddr>,
    identity: Option<Identity>,
    /// The number of the request, if there is one.
    number: Option<u64>,
    role: OwnRole,
    began: Instant,
    /// Nothing if no request asks for it.
    progress: Option<Arc<Progress>>,
    /// A server that stops waits for this.
    in_progress: Option<OwnedRwLockReadGuard<()>>,
}

/// Who asks for it, to the server.
enum OwnRole {
    Stranger,
    Policy(String),
    Admin,
}

/// A change that goes on. If its end never comes, that is recorded.
struct Unended(Option<Change>);

/// Announces the change that a request asks for, if the audit log is required.
///
/// # Errors
/// [`error::Error::NotRecorded`] if the change must not be made.
pub(super) async fn announce(context: &RequestContext<'_>) -> Result<(), error::Error> {
    if !context.service.logs.requires_audit() {
        return Ok(());
    }
    // Boxed: the future of a request has room for it, and is moved several times.
    Box::pin(announcement(context).signed()).await.map_err(error::Error::NotRecorded)
}

fn announcement(context: &RequestContext<'_>) -> Receipt {
    let RequestContext { service, peer, head, target, .. } = context;
    let announced = Audited {
        method: head.method.as_str(),
        path: &target.path,
        ip: Some(peer.address.ip()),
        identity: peer.identity.ok(),
        ..unanswered(context.operation(), target.resource())
    };
    let role = role(&context.generation, announced.identity.as_ref());
    announce_in_both(&service.logs, &announced, Some(context.number), role)
}

/// Announces a change in the audit log and in the audit file. If there is a file, that counts.
fn announce_in_both(
    logs: &Logs,
    announced: &Audited<'_>,
    number: Option<u64>,
    role: Role<'_>,
) -> Receipt {
    let in_log = logs.announce(announced);
    if !logs.file.is_on() {
        return in_log;
    }
    let (kind, is_routed, contexts) = (Kind::Announced, true, None);
    let audited = announced;
    logs.file.record_with_receipt(&Recorded { audited, kind, number, role, is_routed, contexts })
}

/// Waits until the change that a request has asked for is recorded, if the audit log is required.
///
/// # Errors
/// [`error::Error::OutcomeNotRecorded`]
pub(super) async fn confirm(context: &RequestContext<'_>) -> Result<(), error::Error> {
    match context.change.get().and_then(|change| change.take_receipt()) {
        Some(made) => Box::pin(made.signed()).await.map_err(error::Error::OutcomeNotRecorded),
        None => Ok(()),
    }
}

/// Announces a key that the configuration lists, if the audit log is required.
///
/// # Errors
/// [`Unwritten`] if the key must not be created.
pub(crate) async fn announce_at_startup(
    service: &ApiService,
    permit: &StartupPermit,
) -> Result<(), Unwritten> {
    if !service.logs.requires_audit() {
        return Ok(());
    }
    let announced = Audited {
        identity: permit.author(),
        reason: Some(format!("{LISTED}; nothing is done if it exists")),
        ..unanswered(Operation::CreateKey, permit.name().as_str())
    };
    let role = if permit.author().is_some() { Role::Admin } else { Role::Stranger };
    announce_in_both(&service.logs, &announced, None, role).signed().await
}

/// A change that nobody asks for, and that has no answer yet.
fn unanswered(operation: Operation, key: &str) -> Audited<'_> {
    Audited {
        operation,
        method: "",
        path: "",
        resource: key,
        ip: None,
        identity: None,
        status: SUCCESS,
        is_suspicious: false,
        changed_nothing: false,
        took: Duration::ZERO,
        refusal: None,
        reason: None,
        several: None,
    }
}

/// Begins the change that a request asks for.
pub(super) fn begin(context: &RequestContext<'_>) -> impl Ended + use<> {
    let RequestContext { service, peer, head, target, .. } = context;
    let progress = context.change.get_or_init(Arc::default);
    let change = Unended(Some(Change {
        logs: Arc::clone(&service.logs),
        metrics: Arc::clone(&service.metrics),
        refusals: Arc::clone(&service.refusals),
        class: context.class(),
        operation: context.operation(),
        method: Some(head.method.clone()),
        path: target.path.to_string(),
        key: target.resource().to_owned(),
        ip: Some(peer.address.ip()),
        identity: peer.identity.ok(),
        number: Some(context.number),
        role: OwnRole::of(role(&context.generation, peer.identity.as_ref().ok())),
        began: context.arrived,
        progress: Some(Arc::clone(progress)),
        in_progress: Arc::clone(&service.changing).try_read_owned().ok(),
    }));
    move |ended: &Result<(), Error>| change.end(ended)
}

/// Begins to create a key that the configuration lists. A failure is not recorded: the server tries
/// again until the key exists.
pub(crate) fn begin_at_startup(service: &ApiService, permit: &StartupPermit) -> impl Ended + use<> {
    let change = Change {
        logs: Arc::clone(&service.logs),
        metrics: Arc::clone(&service.metrics),
        refusals: Arc::clone(&service.refusals),
        class: Class::Admin,
        operation: Operation::CreateKey,
        method: None,
        path: String::new(),
        key: permit.name().to_string(),
        ip: None,
        identity: permit.author(),
        number: None,
        role: if permit.author().is_some() { OwnRole::Admin } else { OwnRole::Stranger },
        began: Instant::now(),
        progress: None,
        in_progress: Arc::clone(&service.changing).try_read_owned().ok(),
    };
    // What was announced has an end.
    let is_announced = service.logs.requires_audit();
    move |ended: &Result<(), Error>| match ended {
        Ok(()) => {
            change.record(SUCCESS, None, Some(LISTED.to_owned()));
            None
        }
        Err(Error::Store { source: kes_keystore::Error::Exists { .. }, .. }) => {
            if is_announced {
                change.record_failure(&message::KEY_EXISTS, Some(LISTED.to_owned()));
            }
            None
        }
        Err(_) => Some(change.record_late(format!("{LISTED}; {LATE}"))),
    }
}

/// Why a key is created that no request asks for.
const LISTED: &str = "the configuration lists it under 'keys'";

/// What is unusual about a change that is recorded a second time.
const LATE: &str = "the key store carried it out after the server had given it up";

/// The status of a change that was made.
const SUCCESS: u16 = 200;

impl OwnRole {
    fn of(role: Role<'_>) -> Self {
        match role {
            Role::Stranger => Self::Stranger,
            Role::Policy(name) => Self::Policy(name.to_owned()),
            Role::Admin => Self::Admin,
        }
    }
}

impl Unended {
    fn end(mut self, ended: &Result<(), Error>) -> Option<Late> {
        let change = self.0.take()?;
        match ended {
            Ok(()) => {
                change.record(SUCCESS, None, None);
                None
            }
            Err(error) => {
                let cause = keys_cause(error).map(|cause| cause.to_string());
                change.record_failure(&keys_message(error), cause);
                Some(change.record_late(LATE.to_owned()))
            }
        }
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        if let Some(change) = self.0.take() {
            let cause = if std::thread::panicking() {
                PANICKED
            } else {
                "the server ended before the change did"
            };
            change.record_failure(&message::INTERNAL, Some(cause.to_owned()));
        }
    }
}

impl Change {
    fn record_failure(&self, message: &Message, cause: Option<String>) {
        self.record(message.status, Some(&message.text), cause);
    }

    fn record(&self, status: u16, refusal: Option<&str>, reason: Option<String>) {
        let request = self.progress.as_ref().map_or(WAITS, |progress| progress.ended(status));
        // A request that was answered was counted.
        if request != ANSWERED {
            self.metrics.audit_events.inc();
        }
        if request == GONE {
            self.metrics.answered(Some(self.operation), status, self.began.elapsed());
        }
        let is_logged = self.logs.wants_audit(self.operation, status, false);
        if !is_logged && !self.logs.file.is_on() {
            return;
        }
        let remark = match request {
            ANSWERED => Some("the request was answered before"),
            GONE => Some("the client went away before"),
            _ => None,
        };
        let reason = match (reason, remark) {
            (Some(reason), Some(remark)) => Some(format!("{reason}; {remark}")),
            (reason, remark) => reason.or_else(|| remark.map(str::to_owned)),
        };
        let audited = self.audited(status, refusal, reason);
        let kind =
            if self.number.is_some() && request != ANSWERED { Kind::Request } else { Kind::Change };
        let recorded = self.recorded(&audited, kind);
        match &self.progress {
            Some(progress) if status == SUCCESS && self.logs.requires_audit() => {
                let in_log = self.logs.audit_with_receipt(&audited);
                let is_on = self.logs.file.is_on();
                let in_file = is_on.then(|| self.logs.file.record_with_receipt(&recorded));
                progress.keep(in_file.unwrap_or(in_log));
            }
            _ => {
                self.logs.file.record(&recorded);
                if is_logged {
                    self.refusals.audit(&self.logs, &self.metrics, || self.class, &audited);
                }
            }
        }
    }

    fn recorded<'a>(&'a self, audited: &'a Audited<'a>, kind: Kind) -> Recorded<'a> {
        let role = match &self.role {
            OwnRole::Stranger => Role::Stranger,
            OwnRole::Policy(name) => Role::Policy(name),
            OwnRole::Admin => Role::Admin,
        };
        Recorded { audited, kind, number: self.number, role, is_routed: true, contexts: None }
    }

    /// Records that the change was made after it had failed, once that is known. Until then a server
    /// that stops does not wait for it.
    fn record_late(mut self, reason: String) -> Late {
        self.progress = None;
        self.in_progress = None;
        Box::new(move || {
            let audited = self.audited(SUCCESS, None, Some(reason));
            self.logs.file.record(&self.recorded(&audited, Kind::Change));
            if self.logs.wants_audit(self.operation, SUCCESS, false) {
                self.logs.audit(&audited);
            }
        })
    }

    fn audited<'a>(
        &'a self,
        status: u16,
        refusal: Option<&'a str>,
        reason: Option<String>,
    ) -> Audited<'a> {
        Audited {
            operation: self.operation,
            method: self.method.as_ref().map_or("", Method::as_str),
            path: &self.path,
            resource: &self.key,
            ip: self.ip,
            identity: self.identity,
            status,
            is_suspicious: false,
            changed_nothing: false,
            took: self.began.elapsed(),
            refusal,
            reason,
            several: None,
        }
    }
}
