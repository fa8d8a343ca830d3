//! Answers whose text clients compare (contract `api.md`, Errors): the SDK compares both the
//! status and the message.

/// An answer to a refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The HTTP status, 4xx or 5xx.
    pub status: u16,
    /// The text in the body.
    pub text: std::borrow::Cow<'static, str>,
}

const fn message(status: u16, text: &'static str) -> Message {
    Message { status, text: std::borrow::Cow::Borrowed(text) }
}

/// Refused by the policy, or an unknown identity: the same answer for both.
pub const NOT_AUTHORIZED: Message = message(403, "not authorized: insufficient permissions");
/// No such key.
pub const KEY_NOT_FOUND: Message = message(404, "key does not exist");
/// A key with this name exists.
pub const KEY_EXISTS: Message = message(400, "key already exists");
/// No such policy.
pub const POLICY_NOT_FOUND: Message = message(404, "policy does not exist");
/// No such identity.
pub const IDENTITY_NOT_FOUND: Message = message(404, "identity does not exist");
/// A ciphertext did not authenticate, for whatever reason.
pub const NOT_AUTHENTIC: Message = message(400, "decryption failed: ciphertext is not authentic");
/// HMAC with a key that has no HMAC key.
pub const NO_HMAC: Message = message(409, "key does not support HMAC");
/// A body that is not valid JSON for the operation.
pub const INVALID_BODY: Message = message(400, "invalid request body");
/// The same for an import.
pub const INVALID_IMPORT_BODY: Message = message(400, "invalid import key request body");
/// A body over the route's limit.
pub const BODY_TOO_LARGE: Message = message(413, "request body is too large");
/// A path with a `%` that begins no escape.
pub const INVALID_ESCAPE: Message = message(400, "request path contains an invalid escape");
/// The key store failed.
pub const CREATE_FAILED: Message = message(502, "failed to create key");
/// The key store failed.
pub const READ_FAILED: Message = message(502, "failed to read key");
/// The key store failed.
pub const DELETE_FAILED: Message = message(502, "failed to delete key");
/// The key store failed.
pub const LIST_FAILED: Message = message(502, "failed to list keys");
/// Not ready: no connection, or sealed.
pub const STORE_UNREACHABLE: Message = message(504, "key store is not reachable");
/// Not ready: the key store answers with an error.
pub const STORE_UNAVAILABLE: Message = message(502, "key store is unavailable");
/// No answer within the route's time.
pub const TIMEOUT: Message = message(503, "request timed out");
/// More clients follow the logs than the server serves.
pub const TOO_MANY_STREAMS: Message = message(429, "too many clients follow the log");
/// The bodies of one caller, or of all of them, take as much memory as the server gives them.
pub const TOO_MANY_BODIES: Message = message(429, "too many request bodies at a time");
/// The caller's limit of requests a second is reached.
pub const TOO_MANY_REQUESTS_PER_SECOND: Message = message(429, "too many requests per second");
/// The caller's limit of requests at one time is reached.
pub const TOO_MANY_REQUESTS_AT_ONCE: Message = message(429, "too many requests at a time");
/// The caller's limit of calls to the key store a second is reached.
pub const TOO_MANY_STORE_CALLS: Message = message(429, "too many key store calls per second");
/// The caller has as many calls to the key store under way as its class may have. The same text
/// with 503 if it is all callers together.
pub const TOO_MANY_STORE_CALLS_AT_ONCE: Message =
    message(429, "too many key store calls at a time");
/// A change of a key that cannot be recorded, which the configuration demands. The key was not
/// changed.
pub const NOT_RECORDED: Message =
    message(503, "audit log is not available: the key was not changed");
/// The same for a change that was made before the audit log failed. That it was to be made is
/// recorded.
pub const OUTCOME_NOT_RECORDED: Message =
    message(503, "audit log is not available: the key was changed");
/// The client went away before it was answered. Only the audit log has this; the status is
/// nginx's.
pub const CLIENT_GONE: Message = message(499, "client closed the connection");
/// A bug of the server. The cause is in the error log.
pub const INTERNAL: Message = message(500, "internal server error");

/// A method that the route does not accept.
pub fn method_not_allowed(received: &str, expected: &str) -> Message {
    text(405, format!("received method '{received}' expected '{expected}'"))
}

/// An invalid key name.
pub fn invalid_key_name(name: &str) -> Message {
    invalid_name("key name", name)
}

/// An invalid policy name.
pub fn invalid_policy_name(name: &str) -> Message {
    invalid_name("policy name", name)
}

/// An invalid identity.
pub fn invalid_identity(name: &str) -> Message {
    invalid_name("identity", name)
}

/// An invalid list pattern.
pub fn invalid_pattern(pattern: &str) -> Message {
    text(400, format!("listing pattern '{pattern}' is empty, too long or is invalid"))
}

/// An import for an unknown cipher.
pub fn cipher_not_supported(cipher: &str) -> Message {
    text(406, format!("algorithm '{cipher}' is not supported"))
}

/// An import for a cipher that a FIPS build refuses.
pub fn cipher_not_approved(cipher: &str) -> Message {
    text(406, format!("algorithm '{cipher}' is not supported: it is not approved (FIPS 140-3)"))
}

/// An import of a key that does not have the cipher's key size.
pub fn invalid_key_size(cipher: &str) -> Message {
    text(406, format!("invalid key size for '{cipher}'"))
}

fn invalid_name(kind: &str, name: &str) -> Message {
    text(400, format!("{kind} '{name}' is empty, too long or contains invalid characters"))
}

fn text(status: u16, text: String) -> Message {
    Message { status, text: text.into() }
}
