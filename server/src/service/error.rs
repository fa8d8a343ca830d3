//! Why a request was not served: the message for the client, and the cause for the log alone.

use std::fmt;

use kes_api::identity::NoIdentity;
use kes_api::message::{self, Message};
use kes_keys::StoreOperation;
use kes_policy::{Denied, WrongPermit};

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
            Self::Denied(_) => message::NOT_AUTHORIZED,
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
            Self::Timeout => message::TIMEOUT,
            Self::ClientGone => message::CLIENT_GONE,
            Self::Panic => message::INTERNAL,
        }
    }

    /// The cause for the log, if there is more to say than the client is told.
    pub(crate) fn cause(&self) -> Option<Cause<'_>> {
        match self {
            Self::Denied(denied) => Some(Cause::Denied(denied)),
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
            | Self::ClientGone => None,
        }
    }
}

/// What the log reads of an operation that panicked, in its own task or in that of the request.
const PANICKED: &str = "a bug of the server: the operation panicked";

/// The answer to a failed operation on keys. One arm a variant here as well.
fn keys_message(error: &kes_keys::Error) -> Message {
    use kes_keys::Error as Keys;
    match error {
        Keys::Cipher { name } => message::cipher_not_supported(name),
        Keys::KeySize { cipher } => message::invalid_key_size(cipher),
        Keys::NotAuthentic => message::NOT_AUTHENTIC,
        Keys::NoHmac => message::NO_HMAC,
        Keys::Store { operation, source } => store_message(*operation, source),
        Keys::WrongPermit(_) | Keys::Panicked => message::INTERNAL,
    }
}

fn keys_cause(error: &kes_keys::Error) -> Option<Cause<'_>> {
    use kes_keys::Error as Keys;
    match error {
        Keys::NotAuthentic => {
            Some(Cause::Text("the ciphertext and its context are not what this key has encrypted"))
        }
        Keys::Store { source, .. } => Some(Cause::Store(source)),
        Keys::WrongPermit(wrong) => Some(Cause::WrongPermit(wrong)),
        Keys::Panicked => Some(Cause::Text(PANICKED)),
        Keys::Cipher { .. } | Keys::KeySize { .. } | Keys::NoHmac => None,
    }
}

fn store_message(operation: StoreOperation, error: &kes_keystore::Error) -> Message {
    use kes_keystore::Error as Store;
    match error {
        Store::Exists { .. } => message::KEY_EXISTS,
        Store::NotFound { .. } => message::KEY_NOT_FOUND,
        Store::Corrupt { .. }
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
    Text(&'a str),
}

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::WrongPermit(wrong) => write!(f, "a bug of the server: {wrong}"),
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
}
