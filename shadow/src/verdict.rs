use kes_client::Relayed;

use crate::plan::Reason;
use crate::shape;
use crate::sides::Sides;

/// What comes of a comparison.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) enum Verdict {
    Equal,
    /// They differ as `docs/differences.md` says; its words for it.
    Known(&'static str),
    Differs(Difference),
    /// They could not be compared.
    Not(Reason),
}

/// How two answers differ. Messages may have names of keys in them, and no plaintext.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Difference {
    pub(crate) differs: Differs,
    /// The field of the body, or what failed.
    pub(crate) detail: String,
    pub(crate) seen: Sides<Seen>,
}

/// In what answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Differs {
    Status,
    Message,
    Body,
    /// Two plaintexts, or two values of HMAC.
    Value,
    /// One server does not decrypt what the other one has encrypted.
    CrossDecryption,
}

/// What is told of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// Of an error.
    pub(crate) message: Option<String>,
}

impl Seen {
    pub(crate) fn of(answer: &Relayed) -> Self {
        let is_error = !answer.status.is_success();
        let message = is_error.then(|| shape::message(&answer.body));
        Self { status: answer.status.as_u16(), message }
    }
}
