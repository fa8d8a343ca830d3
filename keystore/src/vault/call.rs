//! A call of Vault: an HTTP request, and what the session has to know of it.

use std::fmt;
use std::sync::Arc;

use http::Method;
use serde::Serialize;

use crate::Value;
use crate::remote::{ANSWER_LIMIT, Request, Sends, to_json};

/// An answer that holds a value: the longest value, with room for what JSON escapes and for the
/// metadata beside it.
pub(super) const MAX_VALUE_ANSWER: usize = 4 * Value::MAX_LEN;

/// One call. Its path begins with `/v1/`.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) request: Request,
    /// The right that it needs.
    pub(super) right: Capability,
    /// Whether a 403 may mean something else than a token that is no longer valid. The caller then
    /// judges it: the session neither logs in nor repeats the call.
    pub(super) judges_denial: bool,
    /// What texts show instead of the path, if that has a name that Vault has listed: whatever stands
    /// at its address may list a secret.
    pub(super) shown_path: Option<String>,
    /// Whether it must see the latest state, also at a node that lags behind.
    pub(super) consistent: bool,
}

impl Call {
    /// The same for a name that Vault has listed in a folder.
    pub(super) fn of_listed(mut self, folder: &str) -> Self {
        self.shown_path = Some(format!("{folder}/..."));
        self
    }

    /// The same as one of the requests that make a change of a key.
    pub(super) fn of_change(mut self, sends: &Arc<Sends>) -> Self {
        self.request.sends = Some(Arc::clone(sends));
        self
    }

    /// Declares that one of the requests was carried out.
    pub(super) fn carried_out(&self) {
        if let Some(sends) = &self.request.sends {
            sends.carried_out();
        }
    }

    /// Whether one of the requests was carried out, as its late answer says.
    pub(super) fn is_done(&self) -> bool {
        self.request.sends.as_ref().is_some_and(|sends| sends.are_done())
    }
}

/// A right, by its word in the policies of Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    Create,
    Read,
    Update,
    Delete,
    List,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::List => "list",
        })
    }
}

/// A JSON object without a field.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// A request that reads.
pub(super) fn read(path: String) -> Call {
    Call {
        request: Request {
            method: Method::GET,
            path,
            query: None,
            body: None,
            repeatable: true,
            max_len: MAX_VALUE_ANSWER,
            limit: ANSWER_LIMIT,
            sends: None,
        },
        right: Capability::Read,
        judges_denial: false,
        shown_path: None,
        consistent: true,
    }
}

/// A request that deletes.
pub(super) fn delete(path: String) -> Call {
    let mut call = Call { right: Capability::Delete, ..read(path) };
    call.request.method = Method::DELETE;
    call
}

/// A request that writes. It is not repeated on its own.
pub(super) fn write(path: String, secret: &impl Serialize) -> Call {
    Call {
        request: Request {
            method: Method::POST,
            path,
            query: None,
            body: Some(to_json(secret)),
            repeatable: false,
            max_len: MAX_VALUE_ANSWER,
            limit: ANSWER_LIMIT,
            sends: None,
        },
        right: Capability::Create,
        judges_denial: false,
        shown_path: None,
        consistent: true,
    }
}
