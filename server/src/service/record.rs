//! What is recorded of a request: an event of the audit log, a line of the error log if the server
//! or its key store is at fault, metrics, and a span if it is traced.

use std::time::Duration;

use http::request::Parts;
use kes_api::message::Message;
use kes_api::{Identity, Operation};
use kes_audit::record::{Kind, Role};
use kes_keystore::StoreOperation;
use prometheus::IntGauge;

use super::ApiService;
use super::answer::Answer;
use super::context::RequestContext;
use super::denials::Denials;
use super::error::Error;
use super::generation::Generation;
use crate::observe::logging::audit::Audited;
use crate::observe::logging::file::Recorded;
use crate::transport::Peer;

/// Turns the result of an operation into an answer, and records it in both logs.
pub(super) fn finish(context: &RequestContext<'_>, result: Result<Answer, Error>) -> Answer {
    let (answer, error) = match result {
        Ok(answer) => (answer, None),
        Err(error) => {
            if let Error::Denied(denied) = &error {
                Denials::note(context, denied);
            }
            let message = error.message();
            let mut answer = Answer::refusal(&message).retry_after(error.retry_after());
            if let Error::Method { expected, .. } = &error {
                answer = answer.with_method(expected);
            }
            if matches!(error, Error::Lapsed) {
                answer = answer.closing();
            }
            // Clients can cause it as often as they like; a metric counts it.
            let is_counted = matches!(
                error,
                Error::TooManyBodies(_) | Error::Keys(kes_keys::Error::StoreLimited(_))
            );
            if message.status >= 500 && !is_counted {
                log(context, &message, &error);
            }
            (answer, Some((error, message)))
        }
    };
    context.end_trace(answer.status.as_u16());
    // A change that has ended is recorded, and its answer is this one.
    if context.change.get().is_none_or(|change| !change.answered()) {
        audit(context, answer.status.as_u16(), error.as_ref());
    }
    answer
}

/// Records a request in the audit log.
fn audit(context: &RequestContext<'_>, status: u16, error: Option<&(Error, Message)>) {
    let RequestContext { service, peer, head, target, .. } = context;
    let operation = context.operation();
    service.metrics.audit_events.inc();
    let is_suspicious = match error {
        Some((Error::Keys(kes_keys::Error::NotAuthentic), _)) => true,
        Some((Error::NoIdentity(_), _)) => peer.is_forwarded(),
        _ => false,
    };
    let is_logged = service.logs.wants_audit(operation, status, is_suspicious);
    if !is_logged && !service.logs.file.is_on() {
        return;
    }
    let reason = error.and_then(|(error, _)| {
        error.cause().map(|cause| match (error, peer.remark()) {
            (Error::Denied(_), Some(remark)) => format!("{cause}; {remark}"),
            // The proxy knows better what its client has sent.
            (Error::NoIdentity(_), Some(remark)) if peer.is_forwarded() => remark,
            _ => cause.to_string(),
        })
    });
    let audited = Audited {
        operation,
        method: head.method.as_str(),
        path: &target.path,
        resource: target.resource(),
        ip: Some(peer.address.ip()),
        identity: peer.identity.ok(),
        status,
        is_suspicious,
        changed_nothing: matches!(error, Some((Error::NotRecorded(_), _))),
        took: context.elapsed(),
        refusal: error.map(|(_, message)| message.text.as_ref()),
        reason,
        several: None,
    };
    service.logs.file.record(&Recorded {
        audited: &audited,
        kind: Kind::Request,
        number: Some(context.number),
        role: role(&context.generation, audited.identity.as_ref()),
        is_routed: true,
        contexts: context.objects.get().map(|contexts| &**contexts),
    });
    if is_logged {
        service.refusals.audit(&service.logs, &service.metrics, || context.class(), &audited);
    }
}

/// Records a request whose path has no route. It is only in the audit file.
pub(super) fn unrouted(service: &ApiService, peer: &Peer, head: &Parts, number: u64, status: u16) {
    if !service.logs.file.is_on() {
        return;
    }
    let identity = peer.identity.ok();
    let generation = service.generation.load();
    service.logs.file.record(&Recorded {
        audited: &Audited {
            operation: Operation::Version,
            method: head.method.as_str(),
            path: head.uri.path(),
            resource: "",
            ip: Some(peer.address.ip()),
            identity,
            status,
            is_suspicious: false,
            changed_nothing: true,
            took: Duration::ZERO,
            refusal: None,
            reason: None,
            several: None,
        },
        kind: Kind::Request,
        number: Some(number),
        role: role(&generation, identity.as_ref()),
        is_routed: false,
        contexts: None,
    });
}

/// Who a client is to the server.
pub(super) fn role<'g>(generation: &'g Generation, identity: Option<&Identity>) -> Role<'g> {
    let policies = &generation.policies;
    match identity {
        Some(identity) if policies.is_admin(identity) => Role::Admin,
        Some(identity) => policies
            .policy_of(identity)
            .map_or(Role::Stranger, |policy| Role::Policy(policy.name())),
        None => Role::Stranger,
    }
}

/// Writes a line of the error log for a request that failed through no fault of its client.
fn log(context: &RequestContext<'_>, message: &Message, error: &Error) {
    let RequestContext { service, peer, head, target, .. } = context;
    let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
    // Clients that follow the error log get the message without the fields, so it names the key.
    let key = match error {
        Error::Keys(kes_keys::Error::Store {
            operation: StoreOperation::Create | StoreOperation::Read | StoreOperation::Delete,
            ..
        }) => format!(" '{}'", target.resource()),
        _ => String::new(),
    };
    let failed = Audited {
        operation: context.operation(),
        method: head.method.as_str(),
        path: &target.path,
        resource: "",
        ip: Some(peer.address.ip()),
        identity: peer.identity.ok(),
        status: message.status,
        is_suspicious: false,
        changed_nothing: false,
        took: context.elapsed(),
        refusal: Some(&format!("{}{key}{cause}", message.text)),
        reason: None,
        several: None,
    };
    service.refusals.fail(&service.metrics, context.class(), &failed);
}

/// Records a request whose client goes away while its operation runs: the request is dropped then,
/// but what it asked for may be done all the same.
pub(super) struct Unanswered<'a> {
    context: &'a RequestContext<'a>,
    armed: bool,
}

impl<'a> Unanswered<'a> {
    pub(super) fn new(context: &'a RequestContext<'a>) -> Self {
        Self { context, armed: true }
    }

    /// The operation has ended, and its answer will be recorded.
    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            let context = self.context;
            let status = match context.change.get().map(|change| change.client_gone()) {
                None => finish(context, Err(Error::ClientGone)).status.as_u16(),
                // The change has ended, and was recorded with this status.
                Some(Some(status)) => {
                    context.end_trace(status);
                    status
                }
                // The task that performs the change records and counts it.
                Some(None) => return context.end_trace(Error::ClientGone.message().status),
            };
            let operation = Some(context.operation());
            context.service.metrics.answered(operation, status, context.elapsed());
        }
    }
}

/// Counts a request while it is being served.
pub(super) struct Active<'a>(&'a IntGauge);

impl<'a> Active<'a> {
    pub(super) fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
