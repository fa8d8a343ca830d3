use http::Method;
use kes_api::KeyName;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Vault;
use super::asked::Capability;
use super::body::{self, text_at};
use super::client::{ANSWER_LIMIT, Call};
use super::fault::Fault;
use crate::config::KvVersion;
use crate::{Error, Value};

/// An answer that holds a value: the longest value, with room for what JSON escapes and for the
/// metadata beside it.
pub(super) const MAX_VALUE_ANSWER: usize = 4 * Value::MAX_LEN;

impl Vault {
    /// A version 1 engine takes the requests of version 2 for keys with odd names, and would
    /// overwrite them. So it is asked once which it is, in a way that needs no further right.
    pub(super) async fn check_engine(&self) -> Result<(), Error> {
        if self.version == KvVersion::V1 {
            // Version 2 refuses the requests of version 1 by itself.
            return Ok(());
        }
        let ask = async || {
            let answer = match self.session.call(&read(self.paths.mount())).await {
                Ok(answer) => answer,
                // Nobody may ask, so nobody knows.
                Err(fault) if fault.status().is_some_and(|status| status.is_client_error()) => {
                    return Ok(true);
                }
                Err(fault) => return Err(fault.into_error()),
            };
            let version = text_at(answer.body.as_slice(), &["data", "options", "version"])
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad).into_error())?;
            Ok(version.is_some_and(|version| *version == "2"))
        };
        if *self.engine.get_or_try_init(ask).await? {
            return Ok(());
        }
        Err(Error::Unavailable {
            reason: "the engine is KV version 1, and the configuration says version v2: set \
                     `version` to v1"
                .to_owned(),
        })
    }

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
        let call = match self.version {
            KvVersion::V1 => read(self.paths.data(name)),
            // A key is written once. What others write over it is not it.
            KvVersion::V2 => {
                Call { query: Some("version=1".into()), ..read(self.paths.data(name)) }
            }
        };
        let answer = self.session.call(&Call { latest, ..call }).await?;
        let path = match self.version {
            KvVersion::V1 => &["data", name.as_str()][..],
            KvVersion::V2 => &["data", "data", name.as_str()],
        };
        text_at(answer.body.as_slice(), path)
            .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
    }

    /// Whether anything stands under a name, also what a soft delete left of it.
    pub(super) async fn stands(&self, name: &KeyName) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Something {
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        match self.session.call(&read(self.paths.metadata(name))).await {
            // Some page of some proxy is no key.
            Ok(answer) => body::from_json::<Something>(answer.body.as_slice())
                .map(|_| true)
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad)),
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
}

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
