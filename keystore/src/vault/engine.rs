//! The KV engine: where a key lives in it, what is asked of it, and what its answers mean.

/// Writes that do not overwrite.
mod insert;

/// The version of the engine.
mod mount;

use std::sync::Arc;

use kes_api::KeyName;
use serde::Deserialize;
use serde::de::IgnoredAny;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::mount::Mount;
use super::call::{Call, delete, read};
use super::fault::Fault;
use super::paths::{Form, Paths};
use super::session::Session;
use crate::Error;
use crate::config::KvVersion;
use crate::remote::{Sends, from_json, text_at};

pub(super) use self::insert::{Guard, LOOK, MAX_LAG, Outcome};

/// The KV engine that holds the keys.
pub(super) struct Engine {
    pub(super) session: Arc<Session>,
    /// What the configuration says.
    pub(super) version: KvVersion,
    pub(super) paths: Paths,
    /// What Vault says.
    pub(super) mount: Mount,
}

impl Engine {
    pub(super) fn new(session: Arc<Session>, version: KvVersion, paths: Paths) -> Self {
        Self { session, version, paths, mount: Mount::default() }
    }

    /// The text stored for a key; `None` if the entry has none in a field of the key's name. Any node
    /// that has the key may answer, because a key is never overwritten.
    pub(super) async fn stored(&self, name: &KeyName) -> Result<Option<Zeroizing<String>>, Fault> {
        self.stored_at(name, false).await
    }

    async fn stored_at(
        &self,
        name: &KeyName,
        consistent: bool,
    ) -> Result<Option<Zeroizing<String>>, Fault> {
        let call = Call { consistent, ..self.first_version(name) };
        let answer = self.session.call(&call).await?;
        let answer_body = answer.body.expose();
        self.learn_from(answer_body);
        let path = match self.version {
            KvVersion::V1 => &["data", name.as_str()][..],
            KvVersion::V2 => &["data", "data", name.as_str()],
        };
        match text_at(answer_body, path) {
            // It is JSON, so the field has something else than a text.
            Err(_) if from_json::<IgnoredAny>(answer_body).is_ok() => Ok(None),
            found => found.map_err(|bad| Fault::bad_answer(&answer.endpoint, bad)),
        }
    }

    /// Whether there is an entry with a name. A version that was soft-deleted counts as one.
    pub(super) async fn exists(&self, name: &KeyName) -> Result<bool, Fault> {
        self.has_secret(&self.first_version(name)).await
    }

    /// As [`Engine::exists`], also if the first version is gone: an engine of version 2 keeps a
    /// limited number of versions.
    async fn exists_in_any_version(&self, name: &KeyName) -> Result<bool, Fault> {
        Ok(self.exists(name).await?
            || self.version == KvVersion::V2
                && self.has_secret(&read(self.paths.data(name))).await?)
    }

    /// Finds out by an entry which form the engine has, where Vault does not tell. Where there is
    /// no entry, an engine of version 2 may still have metadata.
    pub(super) async fn form_of(&self, name: &KeyName) -> Result<Form, Fault> {
        self.exists(name).await?;
        Ok(self.known_form().unwrap_or(Form::Versioned))
    }

    async fn has_secret(&self, call: &Call) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Secret {
            #[serde(rename = "data")]
            _data: IgnoredAny,
        }
        match self.session.call(call).await {
            // A page of a proxy is not a secret.
            Ok(answer) => {
                let body = answer.body.expose();
                self.learn_from(body);
                from_json::<Secret>(body)
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

    /// Whether the stored text of a key is this one; `None` if there is no entry.
    async fn matches(&self, name: &KeyName, text: &str) -> Result<Option<bool>, Fault> {
        match self.stored_at(name, true).await {
            Ok(Some(found)) => Ok(Some(found.as_bytes().ct_eq(text.as_bytes()).into())),
            Ok(None) => Ok(Some(false)),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// A request for a key. A key is written once, so a later version is not the key.
    fn first_version(&self, name: &KeyName) -> Call {
        let mut call = read(self.paths.data(name));
        if self.version == KvVersion::V2 {
            call.request.query = Some("version=1".into());
        }
        call
    }

    /// Deletes a key with all its versions. Vault answers the deletion of a missing secret with
    /// success.
    pub(super) async fn delete(&self, name: &KeyName, sends: &Arc<Sends>) -> Result<(), Error> {
        // Below `data/` an engine of version 2 would delete no more than one version.
        if self.is_misread().await {
            return Err(self.is_versioned());
        }
        let form = self.form_of_keys().await.map_err(Fault::into_error)?;
        self.is_at_engine(form)?;
        let form = match form {
            Some(form) => form,
            None => self.form_of(name).await.map_err(Fault::into_error)?,
        };
        let call = delete(self.paths.whole(name, form)).of_change(sends);
        match self.session.call(&call).await {
            Ok(answer) => answer.is_empty_or_json().map_err(Fault::into_error),
            Err(fault) if fault.is_not_found() => Ok(()),
            Err(_) if call.is_done() => Ok(()),
            Err(fault) => Err(self.failed(fault).await),
        }
    }
}
