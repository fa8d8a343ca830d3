//! What is asked of a KV engine.

use http::Method;
use kes_api::KeyName;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Vault;
use super::asked::Capability;
use super::body::{self, Field, text_at};
use super::client::{ANSWER_LIMIT, Call};
use super::fault::Fault;
use super::mount::Form;
use crate::Value;
use crate::config::KvVersion;

/// An answer that holds a value: the longest value, with room for what JSON escapes and for the
/// metadata beside it.
pub(super) const MAX_VALUE_ANSWER: usize = 4 * Value::MAX_LEN;

impl Vault {
    /// The text that stands for a key; `None` if something else stands there. Any node that has
    /// the key may answer: it is never written over.
    pub(super) async fn stored(&self, name: &KeyName) -> Result<Option<Zeroizing<String>>, Fault> {
        self.stored_at(name, false).await
    }

    async fn stored_at(
        &self,
        name: &KeyName,
        latest: bool,
    ) -> Result<Option<Zeroizing<String>>, Fault> {
        let call = Call { latest, ..self.first_version(name) };
        let answer = self.session.call(&call).await?;
        let answer_body = answer.body.as_slice();
        self.learn_from(answer_body);
        let path = match self.version {
            KvVersion::V1 => &["data", name.as_str()][..],
            KvVersion::V2 => &["data", "data", name.as_str()],
        };
        text_at(answer_body, path).map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
    }

    /// Whether anything stands under a name, also what a soft delete left of it.
    pub(super) async fn stands(&self, name: &KeyName) -> Result<bool, Fault> {
        self.is_there(&self.first_version(name)).await
    }

    /// As [`Vault::stands`], also if the first version is gone: an engine of version 2 keeps a
    /// limited number of versions.
    pub(super) async fn stands_in_any_version(&self, name: &KeyName) -> Result<bool, Fault> {
        Ok(self.stands(name).await?
            || self.version == KvVersion::V2 && self.is_there(&read(self.paths.data(name))).await?)
    }

    /// Of which form the engine is, where Vault does not tell: by what stands under a name. Where
    /// nothing does, an engine of version 2 may still have metadata.
    pub(super) async fn form_of(&self, name: &KeyName) -> Result<Form, Fault> {
        self.stands(name).await?;
        Ok(self.known_form().unwrap_or(Form::Versioned))
    }

    async fn is_there(&self, call: &Call) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Something {
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        match self.session.call(call).await {
            // Some page of some proxy is no key.
            Ok(answer) => {
                let body = answer.body.as_slice();
                self.learn_from(body);
                body::from_json::<Something>(body)
                    .map(|_| true)
                    .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
            }
            Err(fault) if fault.is_deleted_version() => {
                self.learn(Form::Versioned);
                Ok(true)
            }
            Err(fault) if fault.is_not_found() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Whether a text is what stands for a key.
    pub(super) async fn holds(&self, name: &KeyName, text: &str) -> Result<bool, Fault> {
        Ok(self.held(name, text).await? == Some(true))
    }

    /// As [`Vault::holds`]; `None` if nothing stands there.
    pub(super) async fn held(&self, name: &KeyName, text: &str) -> Result<Option<bool>, Fault> {
        match self.stored_at(name, true).await {
            Ok(Some(found)) => Ok(Some(found.as_bytes().ct_eq(text.as_bytes()).into())),
            Ok(None) => Ok(Some(false)),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A request for a key. It is written once: what others write over it is not it.
    fn first_version(&self, name: &KeyName) -> Call {
        let call = read(self.paths.data(name));
        match self.version {
            KvVersion::V1 => call,
            KvVersion::V2 => Call { query: Some("version=1".into()), ..call },
        }
    }

    /// A request that writes a key where none stands. Its caller judges a 403: without the right
    /// to `update` it may mean that something stands there.
    pub(super) fn write_new(&self, name: &KeyName, stored: &str) -> Call {
        #[derive(Serialize)]
        struct Secret<'a> {
            options: Field<'a, u32>,
            data: Field<'a, &'a str>,
        }
        let (path, field) = (self.paths.data(name), Field(name.as_str(), stored));
        let call = match self.version {
            KvVersion::V1 => write(path, &field),
            KvVersion::V2 => write(path, &Secret { options: Field("cas", 0), data: field }),
        };
        Call { judges_denial: true, ..call }
    }
}

/// A JSON object without a field.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// A request that reads.
pub(super) fn read(path: String) -> Call {
    Call {
        method: Method::GET,
        path,
        query: None,
        body: None,
        right: Capability::Read,
        judges_denial: false,
        repeatable: true,
        latest: true,
        max_len: MAX_VALUE_ANSWER,
        limit: ANSWER_LIMIT,
    }
}

/// A request that deletes.
pub(super) fn delete(path: String) -> Call {
    Call { method: Method::DELETE, right: Capability::Delete, ..read(path) }
}

/// A request that writes; it is sent once.
pub(super) fn write(path: String, secret: &impl Serialize) -> Call {
    Call {
        method: Method::POST,
        path,
        query: None,
        body: Some(body::to_json(secret)),
        right: Capability::Create,
        judges_denial: false,
        repeatable: false,
        latest: true,
        max_len: MAX_VALUE_ANSWER,
        limit: ANSWER_LIMIT,
    }
}
