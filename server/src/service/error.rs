//! Why a request was not served: the message for the client, and the cause for the log alone.

use std::fmt;
use std::time::Duration;

use kes_api::identity::NoIdentity;
use kes_api::message::{self, Message};
use kes_keystore::StoreOperation;
use kes_policy::{Denied, StoreLimit, WrongPermit};

use super::budget::Exhausted;
use super::limits::Limited;
use crate::observe::logging::receipt::Unwritten;
use crate::observe::metrics::LimitKind;

/// Why a request was not served.
///
/// It has two texts: [`Error::message`] is for the client, from the contract's table;
/// [`Error::cause`] is for the log alone. There is no `Display`, which could mix them up.
#[derive(Debug)]
pub(crate) enum Error {
    /// The method is not that of the route.
    Method { received: String, expected: &'static str },
    /// The body is over the route's limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The client did not send the whole body.
    BodyIncomplete,
    /// The client has no identity.
    NoIdentity(NoIdentity),
    /// The policy does not allow the request, or there is none.
    Denied(Denied),
    /// The client's certificate was accepted when it connected, and no longer is.
    Lapsed,
    /// The name breaks the rule for names.
    Name { kind: NameKind, name: String },
    /// The body is not the JSON that the operation needs.
    Body,
    /// The body is not the JSON that an import needs.
    ImportBody,
    /// An operation on keys.
    Keys(kes_keys::Error),
    /// No such policy.
    PolicyNotFound,
    /// No such identity.
    IdentityNotFound,
    /// The key store cannot be reached; with the cause if it is known.
    StoreUnreachable(Option<String>),
    /// The key store answers with errors; with the cause if it is known.
    StoreUnavailable(Option<String>),
    /// Too many clients follow the logs.
    TooManyStreams,
    /// No memory is left for the body or the answer.
    TooManyBodies(Exhausted),
    /// The caller's identity has reached one of its limits.
    Limited(Limited),
    /// A change that is not made because it cannot be recorded.
    NotRecorded(Unwritten),
    /// A change that was made, and whose outcome cannot be recorded.
    OutcomeNotRecorded(Unwritten),
    /// The operation was not finished in time.
    Timeout,
    /// The client went away before it was answered.
    ClientGone,
    /// The operation panicked.
    Panic,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NameKind {
    Key,
    Policy,
    Identity,
    Pattern,
}

impl From<kes_keys::Error> for Error {
    fn from(error: kes_keys::Error) -> Self {
        Self::Keys(error)
    }
}

impl Error {
    /// The message for the client. Each variant has an arm, so that the compiler asks for a new
    /// one.
    pub(crate) fn message(&self) -> Message {
        match self {
            Self::Method { received, expected } => message::method_not_allowed(received, expected),
            Self::BodyTooLarge => message::BODY_TOO_LARGE,
            Self::BodyTimeout => Message { status: 408, ..message::TIMEOUT },
            Self::BodyIncomplete | Self::Body => message::INVALID_BODY,
            Self::NoIdentity(reason) => Message { status: 400, text: reason.to_string().into() },
            Self::Denied(_) | Self::Lapsed => message::NOT_AUTHORIZED,
            Self::Name { kind, name } => match kind {
                NameKind::Key => message::invalid_key_name(name),
                NameKind::Policy => message::invalid_policy_name(name),
                NameKind::Identity => message::invalid_identity(name),
                NameKind::Pattern => message::invalid_pattern(name),
            },
            Self::ImportBody => message::INVALID_IMPORT_BODY,
            Self::Keys(error) => keys_message(error),
            Self::PolicyNotFound => message::POLICY_NOT_FOUND,
            Self::IdentityNotFound => message::IDENTITY_NOT_FOUND,
            Self::StoreUnreachable(_) => message::STORE_UNREACHABLE,
            Self::StoreUnavailable(_) => message::STORE_UNAVAILABLE,
            Self::TooManyStreams => message::TOO_MANY_STREAMS,
            Self::TooManyBodies(Exhausted::Caller) => message::TOO_MANY_BODIES,
            // Another server may have room.
            Self::TooManyBodies(Exhausted::Server) => {
                Message { status: 503, ..message::TOO_MANY_BODIES }
            }
            Self::Limited(limited) => match limited.kind {
                LimitKind::RequestsPerSecond => message::TOO_MANY_REQUESTS_PER_SECOND,
                LimitKind::RequestsAtOnce => message::TOO_MANY_REQUESTS_AT_ONCE,
                LimitKind::StoreCallsPerSecond => message::TOO_MANY_STORE_CALLS,
            },
            Self::NotRecorded(_) => message::NOT_RECORDED,
            Self::OutcomeNotRecorded(_) => message::OUTCOME_NOT_RECORDED,
            Self::Timeout => message::TIMEOUT,
            Self::ClientGone => message::CLIENT_GONE,
            Self::Panic => message::INTERNAL,
        }
    }

    /// When the client may try again, if the server can say.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited(limited) => Some(limited.retry_after),
            Self::Keys(kes_keys::Error::StoreLimited(limited)) => Some(limited.retry_after),
            _ => None,
        }
    }

    /// The cause for the log, if there is more to say than the client is told.
    pub(crate) fn cause(&self) -> Option<Cause<'_>> {
        match self {
            Self::Denied(denied) => Some(Cause::Denied(denied)),
            Self::Lapsed => Some(Cause::Text("the client's certificate is no longer accepted")),
            Self::Keys(error) => keys_cause(error),
            Self::NoIdentity(NoIdentity::Missing) => Some(Cause::Text(
                "the client sent no certificate, or a CA certificate first (basicConstraints CA:TRUE), which gives no identity",
            )),
            Self::StoreUnreachable(cause) | Self::StoreUnavailable(cause) => {
                cause.as_deref().map(Cause::Text)
            }
            Self::BodyTimeout => Some(Cause::Text("the request body did not arrive in time")),
            Self::BodyIncomplete => {
                Some(Cause::Text("the client did not send the whole request body"))
            }
            Self::Name { kind: NameKind::Pattern, .. } => Some(Cause::Text(
                "a listing pattern has at most 80 characters of 0-9 A-Z a-z - _, and may end with *",
            )),
            Self::Name { .. } => Some(Cause::Text(
                "a name has 1 to 80 characters of 0-9 A-Z a-z - _, does not begin or end with -, \
                 and is not _ alone",
            )),
            Self::TooManyBodies(Exhausted::Caller) => Some(Cause::Text(
                "the requests of this client hold all the memory that it may take for large or unfinished bodies",
            )),
            Self::TooManyBodies(Exhausted::Server) => Some(Cause::Text(
                "the requests of all clients hold all the memory that there is for large or unfinished bodies",
            )),
            Self::NotRecorded(unwritten) | Self::OutcomeNotRecorded(unwritten) => {
                Some(Cause::Unwritten(*unwritten))
            }
            Self::Timeout => Some(Cause::Text("the operation did not finish in time")),
            Self::Panic => Some(Cause::Text(PANICKED)),
            Self::Method { .. }
            | Self::BodyTooLarge
            | Self::NoIdentity(NoIdentity::Ambiguous)
            | Self::Body
            | Self::ImportBody
            | Self::PolicyNotFound
            | Self::IdentityNotFound
            | Self::TooManyStreams
            | Self::Limited(_)
            | Self::ClientGone => None,
        }
    }
}

/// What the log reads of an operation that panicked, in its own task or in that of the request.
pub(super) const PANICKED: &str = "a bug of the server: the operation panicked";

/// The answer to a failed operation on keys. One arm a variant here as well.
pub(super) fn keys_message(error: &kes_keys::Error) -> Message {
    use kes_keys::Error as Keys;
    match error {
        Keys::Cipher { name } => message::cipher_not_supported(name),
        Keys::UnapprovedCipher { name } => message::cipher_not_approved(name),
        Keys::KeySize { cipher } => message::invalid_key_size(cipher),
        Keys::NotAuthentic => message::NOT_AUTHENTIC,
        Keys::NoHmac => message::NO_HMAC,
        Keys::Store { operation, source } => store_message(*operation, source),
        Keys::StoreLimited(limited) => match limited.limit {
            StoreLimit::PerSecond => message::TOO_MANY_STORE_CALLS,
            StoreLimit::AtOnceOfCaller => message::TOO_MANY_STORE_CALLS_AT_ONCE,
            // Another server may have room.
            StoreLimit::AtOnceOfAll => {
                Message { status: 503, ..message::TOO_MANY_STORE_CALLS_AT_ONCE }
            }
        },
        Keys::WrongPermit(_) | Keys::Panicked => message::INTERNAL,
    }
}

pub(super) fn keys_cause(error: &kes_keys::Error) -> Option<Cause<'_>> {
    use kes_keys::Error as Keys;
    match error {
        Keys::NotAuthentic => {
            Some(Cause::Text("the ciphertext and its context are not what this key has encrypted"))
        }
        Keys::Store { source, .. } => Some(Cause::Store(source)),
        Keys::WrongPermit(wrong) => Some(Cause::WrongPermit(wrong)),
        Keys::Panicked => Some(Cause::Text(PANICKED)),
        Keys::StoreLimited(limited) => match limited.limit {
            StoreLimit::PerSecond => None,
            StoreLimit::AtOnceOfCaller => Some(Cause::Text(
                "this client has as many calls of this kind to the key store under way as it may have",
            )),
            StoreLimit::AtOnceOfAll => Some(Cause::Text(
                "all clients have as many calls of this kind to the key store under way as they may have",
            )),
        },
        Keys::Cipher { .. }
        | Keys::UnapprovedCipher { .. }
        | Keys::KeySize { .. }
        | Keys::NoHmac => None,
    }
}

fn store_message(operation: StoreOperation, error: &kes_keystore::Error) -> Message {
    use kes_keystore::Error as Store;
    match error {
        Store::Exists { .. } => message::KEY_EXISTS,
        Store::NotFound { .. } => message::KEY_NOT_FOUND,
        Store::Corrupt { .. }
        | Store::Foreign { .. }
        | Store::Locked { .. }
        | Store::Unusable { .. }
        | Store::Unreachable { .. }
        | Store::Unavailable { .. } => match operation {
            StoreOperation::Create => message::CREATE_FAILED,
            StoreOperation::Read => message::READ_FAILED,
            StoreOperation::Delete => message::DELETE_FAILED,
            StoreOperation::List => message::LIST_FAILED,
        },
    }
}

/// The cause of an [`Error`], for the log.
pub(crate) enum Cause<'a> {
    Denied(&'a Denied),
    Store(&'a kes_keystore::Error),
    WrongPermit(&'a WrongPermit),
    Unwritten(Unwritten),
    Text(&'a str),
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::WrongPermit(wrong) => write!(f, "a bug of the server: {wrong}"),
            Self::Unwritten(unwritten) => write!(f, "log.audit_required is set, and {unwritten}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use kes_api::Operation;

    use super::*;

    #[test]
    fn a_wrong_permit_is_an_internal_error_that_the_log_alone_explains() {
        let wrong = WrongPermit {
            permitted: Operation::ListKeys,
            permitted_resource: "*".to_owned(),
            used: Operation::DeleteKey,
            used_resource: "k".to_owned(),
        };
        let error = Error::from(kes_keys::Error::from(wrong));
        let Message { status, text } = error.message();
        assert_eq!((status, text), (500, message::INTERNAL.text));
        assert_eq!(
            error.cause().unwrap().to_string(),
            "a bug of the server: a permit for ListKeys '*' was used for DeleteKey 'k'"
        );
    }

    /// Status and text for the client, and what the log adds.
    fn told(error: impl Into<Error>) -> (u16, String, Option<String>) {
        let error = error.into();
        let Message { status, text } = error.message();
        (status, text.into_owned(), error.cause().map(|cause| cause.to_string()))
    }

    #[track_caller]
    fn assert_told(error: impl Into<Error>, status: u16, text: &str, cause: Option<&str>) {
        assert_eq!(told(error), (status, text.to_owned(), cause.map(str::to_owned)));
    }

    /// The texts are those of contract `api.md`, Errors.
    #[test]
    fn a_refused_request_is_answered_as_the_contract_says() {
        let method = Error::Method { received: "PATCH".to_owned(), expected: "PUT" };
        assert_told(method, 405, "received method 'PATCH' expected 'PUT'", None);
        assert_told(Error::BodyTooLarge, 413, "request body is too large", None);
        assert_told(Error::Body, 400, "invalid request body", None);
        assert_told(Error::ImportBody, 400, "invalid import key request body", None);
        let broken_off = Some("the client did not send the whole request body");
        assert_told(Error::BodyIncomplete, 400, "invalid request body", broken_off);
        assert_told(Error::PolicyNotFound, 404, "policy does not exist", None);
        assert_told(Error::IdentityNotFound, 404, "identity does not exist", None);
        assert_told(Error::TooManyStreams, 429, "too many clients follow the log", None);
        for (exhausted, status) in [(Exhausted::Caller, 429), (Exhausted::Server, 503)] {
            let (told_status, text, cause) = told(Error::TooManyBodies(exhausted));
            assert_eq!((told_status, &*text), (status, "too many request bodies at a time"));
            assert!(cause.unwrap().contains("hold all the memory"), "{exhausted:?}");
        }
        assert_told(Error::ClientGone, 499, "client closed the connection", None);
    }

    #[test]
    fn who_is_refused_is_not_told_by_what() {
        let (policy, pattern) = ("policy-1".into(), "/v1/key/*".into());
        for (denied, cause) in [
            (Denied::UnknownIdentity, "unknown identity"),
            (Denied::NoIdentity, "no identity"),
            (
                Denied::NotAllowed { policy: "policy-1".into() },
                "policy 'policy-1' does not allow it",
            ),
            (Denied::DeniedBy { policy, pattern }, "policy 'policy-1' denies it by '/v1/key/*'"),
            (
                Denied::OtherPath { operation: Operation::ListKeys },
                "the path is not one of the operation ListKeys",
            ),
        ] {
            let text = "not authorized: insufficient permissions";
            assert_told(Error::Denied(denied), 403, text, Some(cause));
        }
    }

    #[test]
    fn who_has_no_identity_is_told_what_is_wrong_with_the_certificates() {
        let (status, text, cause) = told(Error::NoIdentity(NoIdentity::Missing));
        assert_eq!((status, &*text), (400, "tls: client certificate is required"));
        let cause = cause.unwrap();
        assert!(cause.contains("sent no certificate, or a CA certificate first"), "{cause}");
        let text = "tls: received more than one client certificate";
        assert_told(Error::NoIdentity(NoIdentity::Ambiguous), 400, text, None);
    }

    #[test]
    fn an_invalid_name_is_quoted_and_its_rule_is_in_the_log() {
        let name = |kind| Error::Name { kind, name: "a/b".to_owned() };
        for (kind, what) in [
            (NameKind::Key, "key name"),
            (NameKind::Policy, "policy name"),
            (NameKind::Identity, "identity"),
        ] {
            let (status, text, cause) = told(name(kind));
            let expected =
                format!("{what} 'a/b' is empty, too long or contains invalid characters");
            assert_eq!((status, text), (400, expected));
            assert!(cause.unwrap().starts_with("a name has 1 to 80 characters"), "{kind:?}");
        }
        let (status, text, cause) = told(name(NameKind::Pattern));
        let expected = "listing pattern 'a/b' is empty, too long or is invalid";
        assert_eq!((status, &*text), (400, expected));
        assert!(cause.unwrap().starts_with("a listing pattern has at most 80 characters"));
    }

    #[test]
    fn what_took_too_long_is_told_apart_by_whose_fault_it_was() {
        let text = "request timed out";
        assert_told(Error::Timeout, 503, text, Some("the operation did not finish in time"));
        let late = Some("the request body did not arrive in time");
        assert_told(Error::BodyTimeout, 408, text, late);
    }

    #[test]
    fn the_state_of_the_key_store_is_told_and_its_cause_is_in_the_log() {
        for cause in [None, Some("connection refused")] {
            let of = |make: fn(Option<String>) -> Error| make(cause.map(str::to_owned));
            assert_told(of(Error::StoreUnreachable), 504, "key store is not reachable", cause);
            assert_told(of(Error::StoreUnavailable), 502, "key store is unavailable", cause);
        }
    }

    #[test]
    fn a_change_without_a_record_says_whether_it_was_made() {
        for (unwritten, why) in [
            (Unwritten::Discarded, "standard output is closed or /dev/null"),
            (Unwritten::Lost, "the line about it could not be written to standard output"),
            (Unwritten::Late, "standard output did not take the line about it within 5 s"),
        ] {
            let cause = format!("log.audit_required is set, and {why}");
            let text = "audit log is not available: the key was not changed";
            assert_told(Error::NotRecorded(unwritten), 503, text, Some(&cause));
            let text = "audit log is not available: the key was changed";
            assert_told(Error::OutcomeNotRecorded(unwritten), 503, text, Some(&cause));
        }
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        let cause = Some("a bug of the server: the operation panicked");
        assert_told(Error::Panic, 500, "internal server error", cause);
        assert_told(kes_keys::Error::Panicked, 500, "internal server error", cause);
    }

    #[test]
    fn a_failed_operation_on_keys_is_answered_as_the_contract_says() {
        use kes_keys::Error as Keys;
        let text = "algorithm 'DES' is not supported";
        assert_told(Keys::Cipher { name: "DES".to_owned() }, 406, text, None);
        let text = "algorithm 'ChaCha20' is not supported: it is not approved (FIPS 140-3)";
        assert_told(Keys::UnapprovedCipher { name: "ChaCha20".to_owned() }, 406, text, None);
        let text = "invalid key size for 'AES256'";
        assert_told(Keys::KeySize { cipher: "AES256".to_owned() }, 406, text, None);
        assert_told(Keys::NoHmac, 409, "key does not support HMAC", None);
        let text = "decryption failed: ciphertext is not authentic";
        let cause = "the ciphertext and its context are not what this key has encrypted";
        assert_told(Keys::NotAuthentic, 400, text, Some(cause));
    }

    /// The cause may name hosts, paths and policies of Vault.
    #[test]
    fn a_failure_of_the_key_store_is_told_by_what_was_tried_and_its_cause_is_in_the_log() {
        use kes_keystore::Error as Store;
        let name = kes_api::KeyName::parse("k").unwrap();
        let (store, reason) = (kes_keystore::Kind::new(&"vault"), "a cause".to_owned());
        for (operation, failed) in [
            (StoreOperation::Create, "failed to create key"),
            (StoreOperation::Read, "failed to read key"),
            (StoreOperation::Delete, "failed to delete key"),
            (StoreOperation::List, "failed to list keys"),
        ] {
            let reason = || reason.clone();
            for (source, status, text, cause) in [
                (Store::Exists { name }, 400, "key already exists", "key 'k' already exists"),
                (Store::NotFound { name }, 404, "key does not exist", "key 'k' does not exist"),
                (
                    Store::Corrupt { store, name, reason: reason().into() },
                    502,
                    failed,
                    "key store: vault: key 'k' is damaged: a cause",
                ),
                (
                    Store::Foreign { store, name, reason: "a cause" },
                    502,
                    failed,
                    "key store: vault: 'k' is not a key of this server (a cause)",
                ),
                (
                    Store::Locked { store, reason: reason() },
                    502,
                    failed,
                    "key store: vault: a cause",
                ),
                (
                    Store::Unusable { store, reason: reason() },
                    502,
                    failed,
                    "key store: vault: a cause",
                ),
                (Store::Unreachable { reason: reason() }, 502, failed, "key store: a cause"),
                (Store::Unavailable { reason: reason() }, 502, failed, "key store: a cause"),
            ] {
                let error = kes_keys::Error::Store { operation, source };
                assert_told(error, status, text, Some(cause));
            }
        }
    }
}
