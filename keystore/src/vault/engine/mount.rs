//! Of which version the KV engine is, whatever the configuration says.
//!
//! `version: v2` in the configuration and an engine of version 1 is a set-up that works with the
//! reference: `vault secrets enable kv` makes version 1, and that engine takes the requests of
//! version 2 for secrets below `data/`, and stores their bodies as they are. Keys that stand there
//! are used there, and new ones are made beside them.
//!
//! `version: v1` and an engine of version 2 never worked: that engine refuses the requests of
//! version 1, but for some paths that are no secrets, where nothing may be written.
//!
//! `version: v2` and an engine that is a path within one of version 2 (`kv/data` for `kv`) is a
//! mistake: keys would be deleted and listed elsewhere than they are made. Where Vault says so,
//! nothing is made, deleted or listed; keys that stand there can be read.
//!
//! Vault tells the version to whoever has any right in the engine. Where it does not (a proxy may
//! refuse the question), answers about keys tell it.

use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::call::read;
use super::super::fault::Fault;
use super::super::paths::Form;
use super::Engine;
use crate::Error;
use crate::config::KvVersion;
use crate::remote::{from_json, text_at};

/// Vault is asked for the version again after this time, in case somebody made the engine anew.
const KNOWN: Duration = Duration::from_secs(60);

/// What is known of the engine.
#[derive(Default)]
pub(in crate::vault) struct Mount {
    state: Mutex<Option<State>>,
    /// Where the engine is mounted, as Vault says; `None` if Vault does not tell.
    path: Mutex<Option<String>>,
}

#[derive(Clone, Copy)]
struct State {
    /// `None` if Vault does not tell.
    form: Option<Form>,
    since: Instant,
    /// Whether Vault was asked, which tells where the engine is mounted, too.
    asked: bool,
}

impl Engine {
    /// Of which form the engine is; `None` if nobody knows.
    pub(in crate::vault) async fn form(&self) -> Result<Option<Form>, Fault> {
        let known = *self.mount.state.lock();
        if let Some(State { form, since, asked: true }) = known
            && since.elapsed() < KNOWN
        {
            return Ok(form);
        }
        match self.ask_form().await {
            Ok(form) => {
                self.note(form, true);
                Ok(Some(form))
            }
            Err(fault) if fault.is_unreachable() || matches!(fault, Fault::Login { .. }) => {
                Err(fault)
            }
            // What was known before is still the best guess.
            Err(_) => {
                let form = known.and_then(|known| known.form);
                let since = Instant::now();
                *self.mount.state.lock() = Some(State { form, since, asked: true });
                Ok(form)
            }
        }
    }

    /// In which form keys stand in the engine; `None` if nobody knows.
    pub(in crate::vault) async fn form_of_keys(&self) -> Result<Option<Form>, Fault> {
        match self.version {
            KvVersion::V1 => Ok(Some(Form::Plain)),
            KvVersion::V2 => self.form().await,
        }
    }

    /// Asks Vault which form the engine is of.
    pub(in crate::vault) async fn ask_form(&self) -> Result<Form, Fault> {
        let answer = self.session.call(&read(self.paths.mount())).await?;
        let text = |path: &[&str]| {
            text_at(answer.body.as_slice(), path)
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
        };
        // An engine of version 1 may have no options at all.
        let version = text(&["data", "options", "version"])?;
        *self.mount.path.lock() =
            text(&["data", "path"])?.map(|path| path.trim_matches('/').to_owned());
        let is_versioned = version.is_some_and(|version| *version == "2");
        Ok(if is_versioned { Form::Versioned } else { Form::Plain })
    }

    /// Of which form the engine is, if that was learned.
    pub(in crate::vault) fn known_form(&self) -> Option<Form> {
        self.mount.state.lock().and_then(|state| state.form)
    }

    /// Remembers of which form the engine is, by an answer about keys.
    pub(in crate::vault) fn learn(&self, form: Form) {
        self.note(form, false);
    }

    /// Remembers of which form the engine is, and tells an operator what surprises.
    fn note(&self, form: Form, asked: bool) {
        let mut state = self.mount.state.lock();
        let before = *state;
        let asked = asked || before.is_some_and(|before| before.asked);
        *state = Some(State { form: Some(form), since: Instant::now(), asked });
        drop(state);
        if before.and_then(|before| before.form) != Some(form)
            && form == Form::Plain
            && self.version == KvVersion::V2
        {
            tracing::warn!("key store: vault: {}", self.paths.plain_below_data());
        }
    }

    /// Learns the form from the answer to a read, where Vault did not tell it.
    pub(in crate::vault) fn learn_from(&self, answer: &[u8]) {
        #[derive(Deserialize)]
        struct Secret {
            data: Fields,
        }
        #[derive(Deserialize)]
        struct Fields {
            metadata: Option<IgnoredAny>,
            // What `version: v2` has written to an engine of version 1.
            options: Option<IgnoredAny>,
        }
        if self.version == KvVersion::V1 || self.known_form().is_some() {
            return;
        }
        match from_json::<Secret>(answer) {
            Ok(Secret { data: Fields { metadata: Some(_), options: None } }) => {
                self.learn(Form::Versioned);
            }
            Ok(Secret { data: Fields { metadata: None, options: Some(_) } }) => {
                self.learn(Form::Plain);
            }
            _ => {}
        }
    }

    /// The error of a refused call.
    pub(in crate::vault) async fn failed(&self, fault: Fault) -> Error {
        // An engine of version 2 answers 404 with a text or 405 to the paths of version 1, or 403
        // where the policy grants those of version 2 alone.
        let may_be_versioned = match fault.status() {
            Some(StatusCode::NOT_FOUND) => !fault.is_not_found(),
            status => {
                matches!(status, Some(StatusCode::FORBIDDEN | StatusCode::METHOD_NOT_ALLOWED))
            }
        };
        if may_be_versioned && self.is_misread().await {
            return self.is_versioned();
        }
        if may_be_versioned
            && let Ok(form) = self.form().await
            && let Err(error) = self.is_at_engine(form)
        {
            return error;
        }
        fault.into_error()
    }

    /// Refuses an engine of the configuration that is a path within an engine of this form.
    pub(in crate::vault) fn is_at_engine(&self, form: Option<Form>) -> Result<(), Error> {
        match self.within_another(form) {
            Some(reason) => Err(Error::Unavailable { reason }),
            None => Ok(()),
        }
    }

    /// What an operator is told of an engine that is a path within an engine of this form, as far
    /// as Vault says.
    pub(in crate::vault) fn within_another(&self, form: Option<Form>) -> Option<String> {
        if self.version == KvVersion::V1 || form != Some(Form::Versioned) {
            return None;
        }
        self.paths.within(self.mount.path.lock().as_deref()?)
    }

    /// Whether the configuration is for version 1 and the engine is known to be of version 2.
    pub(in crate::vault) async fn is_misread(&self) -> bool {
        self.version == KvVersion::V1 && matches!(self.form().await, Ok(Some(Form::Versioned)))
    }

    /// The error of `version: v1` and an engine of version 2.
    pub(in crate::vault) fn is_versioned(&self) -> Error {
        Error::Unavailable { reason: self.versioned_and_not_plain() }
    }

    /// What an operator is told of `version: v1` and an engine of version 2.
    pub(in crate::vault) fn versioned_and_not_plain(&self) -> String {
        self.paths.versioned_and_not_plain(self.mount.path.lock().as_deref())
    }
}
