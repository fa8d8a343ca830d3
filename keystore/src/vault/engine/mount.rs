//! The version of the KV engine as Vault reports it, which may differ from the configuration.
//!
//! - `version: v2` and an engine of version 1. This works with the reference, because `vault secrets
//!   enable kv` makes an engine of version 1, which stores the bodies of version 2 requests below
//!   `data/` unchanged. This server reads the keys that exist there, and creates new ones there.
//! - `version: v1` and an engine of version 2. This has never worked: the engine refuses the requests
//!   of version 1, except on some paths that hold no secrets. Nothing is written there.
//! - `version: v2` and an engine that is a path within an engine of version 2 (`kv/data` for `kv`).
//!   This is a mistake: keys would be deleted and listed at other paths than they are created at. If
//!   Vault reports it, keys are read, but not created, deleted or listed.
//!
//! Vault reports the version to every token that has a right in the engine. If it does not, for
//! example because a proxy refuses the request, the answers to requests for keys show the version.

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

/// Vault is asked for the version again after this time, because someone may have replaced the
/// engine.
const KNOWN: Duration = Duration::from_secs(60);

/// What is known of the engine.
#[derive(Default)]
pub(in crate::vault) struct Mount {
    state: Mutex<Option<State>>,
    /// The path at which the engine is mounted; `None` if Vault does not report it.
    path: Mutex<Option<String>>,
}

#[derive(Clone, Copy)]
struct State {
    /// `None` if Vault does not report the version.
    form: Option<Form>,
    since: Instant,
    /// Whether Vault was asked. Its answer also contains the path of the mount.
    asked: bool,
}

impl Engine {
    /// The form of the engine; `None` if it is not known.
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
            // What was known before is more likely than anything else.
            Err(_) => {
                let form = known.and_then(|known| known.form);
                let since = Instant::now();
                *self.mount.state.lock() = Some(State { form, since, asked: true });
                Ok(form)
            }
        }
    }

    /// The form in which keys are stored; `None` if it is not known.
    pub(in crate::vault) async fn form_of_keys(&self) -> Result<Option<Form>, Fault> {
        match self.version {
            KvVersion::V1 => Ok(Some(Form::Plain)),
            KvVersion::V2 => self.form().await,
        }
    }

    /// Asks Vault for the form of the engine.
    pub(in crate::vault) async fn ask_form(&self) -> Result<Form, Fault> {
        let answer = self.session.call(&read(self.paths.mount())).await?;
        let text = |path: &[&str]| {
            text_at(answer.body.expose(), path)
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))
        };
        // The answer for an engine of version 1 may have no options.
        let version = text(&["data", "options", "version"])?;
        *self.mount.path.lock() =
            text(&["data", "path"])?.map(|path| path.trim_matches('/').to_owned());
        let is_versioned = version.is_some_and(|version| *version == "2");
        Ok(if is_versioned { Form::Versioned } else { Form::Plain })
    }

    /// The form of the engine as far as it is known, without a request.
    pub(in crate::vault) fn known_form(&self) -> Option<Form> {
        self.mount.state.lock().and_then(|state| state.form)
    }

    /// Remembers the form of the engine that an answer to a request for keys has shown.
    pub(in crate::vault) fn learn(&self, form: Form) {
        self.note(form, false);
    }

    /// Remembers the form of the engine. Logs a warning if the configuration has another one.
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

    /// Learns the form from the answer to a read, unless it is known.
    pub(in crate::vault) fn learn_from(&self, answer: &[u8]) {
        #[derive(Deserialize)]
        struct Secret {
            data: Fields,
        }
        #[derive(Deserialize)]
        struct Fields {
            metadata: Option<IgnoredAny>,
            // Present if `version: v2` has written the key to an engine of version 1.
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

    /// The error for a call that Vault refused.
    pub(in crate::vault) async fn failed(&self, fault: Fault) -> Error {
        // To a path of version 1, an engine of version 2 answers 404 with a text, or 405, or 403 if
        // the policy grants only paths of version 2.
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

    /// Fails if the configured engine is a path within an engine of this form.
    pub(in crate::vault) fn is_at_engine(&self, form: Option<Form>) -> Result<(), Error> {
        match self.within_another(form) {
            Some(reason) => Err(Error::Unavailable { reason }),
            None => Ok(()),
        }
    }

    /// The message for an operator if the configured engine is a path within an engine of this
    /// form; `None` if it is not, or if Vault does not report it.
    pub(in crate::vault) fn within_another(&self, form: Option<Form>) -> Option<String> {
        if self.version == KvVersion::V1 || form != Some(Form::Versioned) {
            return None;
        }
        self.paths.within(self.mount.path.lock().as_deref()?)
    }

    /// Whether the configuration has version 1 and the engine is known to have version 2.
    pub(in crate::vault) async fn is_misread(&self) -> bool {
        self.version == KvVersion::V1 && matches!(self.form().await, Ok(Some(Form::Versioned)))
    }

    /// The error if the configuration has `version: v1` and the engine has version 2.
    pub(in crate::vault) fn is_versioned(&self) -> Error {
        Error::Unavailable { reason: self.versioned_and_not_plain() }
    }

    /// The message for an operator in that case.
    pub(in crate::vault) fn versioned_and_not_plain(&self) -> String {
        self.paths.versioned_and_not_plain(self.mount.path.lock().as_deref())
    }
}
