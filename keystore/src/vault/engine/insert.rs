//! Writes that do not overwrite, and what becomes of a write without an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use kes_api::KeyName;
use serde::{Deserialize, Serialize};
use tokio::time;

use super::super::call::{Call, read, write};
use super::super::fault::Fault;
use super::super::paths::Form;
use super::Engine;
use crate::Error;
use crate::config::KvVersion;
use crate::jitter::jitter;
use crate::remote::{Answer, Field, Sends, from_json};

/// How long a read looks for what was just written. Nodes lag by some 100 ms.
pub(in crate::vault) const MAX_LAG: Duration = Duration::from_secs(2);

/// Pause between two of these reads.
pub(in crate::vault) const LOOK: Duration = Duration::from_millis(20);

/// A key that was written to an engine without compare-and-set is read back after this time: a
/// write of another server that was under way at the same moment has arrived by then.
const SETTLE: Duration = Duration::from_millis(100);

/// What keeps a write from overwriting a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::vault) enum Guard {
    /// The engine refuses to write a version that is not the first.
    CompareAndSet,
    /// The writer looks for the key before each write. Without the right to `update` in the policy
    /// Vault refuses to overwrite, except in the same instant; with that right the slower one of
    /// two servers overwrites what the other has written.
    Look,
}

/// How a write ended.
pub(in crate::vault) enum Outcome {
    /// The write was carried out or never will be.
    Known(Result<(), Error>),
    /// The write may yet be carried out.
    Unknown(Error),
}

impl Outcome {
    /// The outcome of a write that may have been carried out by a request without an answer, if
    /// one was sent.
    pub(in crate::vault) fn of(result: Result<(), Error>, is_unsure: bool) -> Self {
        match result {
            Err(error) if is_unsure && !matches!(error, Error::Exists { .. }) => {
                Self::Unknown(error)
            }
            known => Self::Known(known),
        }
    }
}

impl Engine {
    /// Writes a key for which there is no entry, by a call of [`Engine::write_new`]; with
    /// [`Guard::Look`] the caller has just made sure of that.
    pub(in crate::vault) async fn insert(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
        guard: Guard,
    ) -> Outcome {
        let mut patience = self.session.patience();
        let (mut unsure, mut repeated) = (false, false);
        loop {
            let fault = match self.session.try_call(call).await {
                Ok(answer) => return Outcome::Known(self.written(name, stored, &answer).await),
                Err(fault) => fault,
            };
            unsure |= fault.is_unsure();
            if call.is_done() {
                return Outcome::Known(self.read_back(name, stored).await);
            }
            // It is not known whether a write without an answer was carried out. A repeat is
            // harmless and finds out.
            let repeats = fault.is_unsure() && !repeated;
            if !repeats && !patience.outlasts(fault.may_pass()).await {
                let result = self.refused(name, stored, call, repeated, fault).await;
                return Outcome::of(result, unsure);
            }
            repeated = true;
            if guard == Guard::Look
                && let Some(result) = self.look(name, stored, call).await
            {
                return Outcome::of(result, unsure);
            }
        }
    }

    /// Looks for a key that was written without an answer; `None` if it is not there. The write may
    /// have been carried out, or another server has written since.
    pub(in crate::vault) async fn look(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
    ) -> Option<Result<(), Error>> {
        match self.matches(name, stored).await {
            Ok(Some(true)) => {
                note_found(call);
                Some(self.read_back(name, stored).await)
            }
            Ok(Some(false)) => Some(Err(Error::Exists { name: *name })),
            Ok(None) => None,
            Err(fault) => Some(Err(fault.into_error())),
        }
    }

    /// A request that writes a key for which there is no entry. Its caller judges a 403: without
    /// the right to `update` it may mean that there is one.
    pub(in crate::vault) fn write_new(
        &self,
        name: &KeyName,
        stored: &str,
        sends: &Arc<Sends>,
    ) -> Call {
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
        Call { judges_denial: true, ..call.of_change(sends) }
    }

    /// Makes sure that a write has created the key. An engine of version 2 answers with the
    /// version that it has written; one of version 1 says nothing, so the key is read back.
    async fn written(&self, name: &KeyName, stored: &str, answer: &Answer) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Written {
            #[serde(rename = "data")]
            _data: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            #[serde(rename = "version")]
            _version: u64,
        }
        if from_json::<Written>(answer.body.expose()).is_ok() {
            self.learn(Form::Versioned);
            return Ok(());
        }
        self.read_back(name, stored).await
    }

    /// Waits until writes of other servers that are under way have arrived, and reads the key.
    async fn read_back(&self, name: &KeyName, stored: &str) -> Result<(), Error> {
        time::sleep(jitter(SETTLE)).await;
        self.confirm(name, stored).await
    }

    /// Makes sure that the stored text of a key is this one. A node that lags behind is given time.
    pub(in crate::vault) async fn confirm(
        &self,
        name: &KeyName,
        stored: &str,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            match self.matches(name, stored).await.map_err(Fault::into_error)? {
                Some(true) => return Ok(()),
                Some(false) => return Err(Error::Exists { name: *name }),
                None if start.elapsed() > MAX_LAG => {
                    return Err(Error::Unavailable {
                        reason: "Vault took the key, and does not show it".to_owned(),
                    });
                }
                None => time::sleep(jitter(LOOK)).await,
            }
        }
    }

    /// What a refused write means. The words in which Vault refuses to overwrite depend on its
    /// version and on our rights, so this asks Vault whether there is an entry to overwrite.
    /// `repeated` says that the write was sent before, and may have been carried out then.
    pub(in crate::vault) async fn refused(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
        repeated: bool,
        fault: Fault,
    ) -> Result<(), Error> {
        let may_be_taken =
            matches!(fault.status(), Some(StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN));
        if !may_be_taken {
            return Err(fault.into_error());
        }
        match self.exists_in_any_version(name).await {
            Ok(true) if repeated => {
                let found = self.matches(name, stored).await.map_err(Fault::into_error)?;
                if found != Some(true) {
                    return Err(Error::Exists { name: *name });
                }
                note_found(call);
                return Ok(());
            }
            Ok(true) => return Err(Error::Exists { name: *name }),
            Ok(false) => {}
            // Without the right to read, what Vault says of the write has to do.
            Err(look) if look.is_forbidden() => {}
            Err(look) => return Err(look.into_error()),
        }
        if !fault.is_forbidden() {
            return Err(fault.into_error());
        }
        // There is no entry, so the token is no longer valid, or a right is missing.
        let call = Call { judges_denial: false, ..call.clone() };
        match self.session.call(&call).await {
            Ok(answer) => self.written(name, stored, &answer).await,
            Err(fault) => Err(self.denied(name, fault).await),
        }
    }

    /// The error of a write that is denied though no entry can be seen.
    async fn denied(&self, name: &KeyName, fault: Fault) -> Error {
        if self.version == KvVersion::V2 && fault.is_forbidden() {
            let whole = self.paths.whole(name, Form::Versioned);
            let look = Call { judges_denial: true, ..read(whole.clone()) };
            if self.session.call(&look).await.is_ok() {
                let path = whole.strip_prefix("/v1/").unwrap_or(&whole);
                return Error::Unavailable {
                    reason: format!(
                        "{fault}; or a secret without a version is in the way, to which only the \
                         right to \"update\" would allow to write: delete '{path}'"
                    ),
                };
            }
        }
        fault.into_error()
    }
}

/// Notes that the key of a write exists, though no answer said that it was written.
fn note_found(call: &Call) {
    if let Some(sends) = &call.request.sends {
        sends.found_one();
    }
}
