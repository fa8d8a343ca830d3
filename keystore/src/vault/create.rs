//! The create of a key.
//!
//! An engine of version 2 refuses by itself to write what is not the first version. One of
//! version 1 has nothing of the kind: servers elect who writes (`lock`), or, where the policy
//! does not grant what that needs, each looks, writes and reads back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use kes_api::KeyName;
use serde::Deserialize;
use tokio::time;

use super::client::Call;
use super::engine::read;
use super::fault::Fault;
use super::mount::Form;
use super::sink::Answer;
use super::{Vault, body, jitter};
use crate::config::KvVersion;
use crate::{Error, Value};

/// What was written is looked for during this time. Nodes lag for some 100 ms.
pub(super) const MAX_LAG: Duration = Duration::from_secs(2);

/// Pause between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A server that wrote a key without an election reads it back after this time: a write of another
/// server that was under way at the same moment has arrived by then.
const SETTLE: Duration = Duration::from_millis(100);

impl Vault {
    pub(super) async fn create(
        self: &Arc<Self>,
        name: &KeyName,
        value: &Value,
    ) -> Result<(), Error> {
        // Most often the key is there: who creates it at start asks each time.
        let unseen = match self.stands(name).await {
            // Below `data/` of an engine of version 2 it is a key for `version: v2`.
            Ok(true) if self.is_misread().await => return Err(self.is_versioned()),
            Ok(true) => return Err(Error::Exists { name: *name }),
            Ok(false) => None,
            Err(fault) if fault.is_forbidden() => Some(fault),
            Err(fault) => return Err(self.failed(fault).await),
        };
        let _change = self.ahead.change();
        let form = self.form().await.map_err(Fault::into_error)?;
        self.is_at_engine(form)?;
        if let Some(fault) = unseen
            && (self.version == KvVersion::V1 || form != Some(Form::Versioned))
        {
            // Only an engine of version 2 can be trusted not to overwrite what we may not see.
            return Err(self.failed(fault).await);
        }
        let wrapped;
        let stored = match &self.transit {
            None => value.expose(),
            Some(transit) => {
                wrapped =
                    transit.wrap(&self.session, value.expose()).await.map_err(Fault::into_error)?;
                wrapped.as_str()
            }
        };
        match (self.version, form) {
            // Such an engine takes some paths for settings of its own.
            (KvVersion::V1, Some(Form::Versioned)) => Err(self.is_versioned()),
            (KvVersion::V1, _) | (KvVersion::V2, Some(Form::Plain)) => {
                self.create_by_election(name, stored).await
            }
            (KvVersion::V2, _) => self.create_by_version(name, stored).await,
        }
    }

    /// KV version 2: Vault itself refuses to write a version that is not the first.
    async fn create_by_version(&self, name: &KeyName, stored: &str) -> Result<(), Error> {
        let call = self.write_new(name, stored);
        let mut patience = self.session.patience();
        let mut repeated = false;
        loop {
            match self.session.try_call(&call).await {
                Ok(answer) => return self.written(name, stored, &answer).await,
                // Nobody knows whether a write without an answer was carried out. To write it
                // once more is harmless here, and tells.
                Err(fault) if fault.is_unsure() && !repeated => {}
                Err(fault) if patience.outlasts(&fault).await => {}
                Err(fault) => return self.refused(name, stored, &call, repeated, fault).await,
            }
            repeated = true;
        }
    }

    /// Looks whether a write has been what it was meant to be: the first version.
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
        if body::from_json::<Written>(answer.body.as_slice()).is_ok() {
            self.learn(Form::Versioned);
            return Ok(());
        }
        // An engine of version 1 says nothing.
        self.read_back(name, stored).await
    }

    /// Writes a key without an election, after the caller has looked for it. Without `update` in
    /// the policy Vault refuses to overwrite, except in the same instant; with it the slower one of
    /// two servers overwrites what the other has written.
    pub(super) async fn create_alone(&self, name: &KeyName, stored: &str) -> Result<(), Error> {
        let call = self.write_new(name, stored);
        let mut patience = self.session.patience();
        let mut repeated = false;
        loop {
            match self.session.try_call(&call).await {
                Ok(_) => return self.read_back(name, stored).await,
                Err(fault) if fault.is_unsure() && !repeated => {}
                Err(fault) if patience.outlasts(&fault).await => {}
                Err(fault) => return self.refused(name, stored, &call, repeated, fault).await,
            }
            repeated = true;
            // It may have been carried out, or somebody else has written since.
            match self.held(name, stored).await.map_err(Fault::into_error)? {
                Some(true) => return self.read_back(name, stored).await,
                Some(false) => return Err(Error::Exists { name: *name }),
                None => {}
            }
        }
    }

    /// Waits until others have written what they were about to, and reads the key.
    async fn read_back(&self, name: &KeyName, stored: &str) -> Result<(), Error> {
        time::sleep(jitter(SETTLE)).await;
        self.shows(name, stored).await
    }

    /// Whether what was written is what stands there now.
    pub(super) async fn shows(&self, name: &KeyName, stored: &str) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            match self.held(name, stored).await.map_err(Fault::into_error)? {
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

    /// What a refused write means: Vault refuses to overwrite in words that depend on its version
    /// and on the rights that we have, so it is asked whether there is something to overwrite.
    pub(super) async fn refused(
        &self,
        name: &KeyName,
        stored: &str,
        call: &Call,
        written_before: bool,
        fault: Fault,
    ) -> Result<(), Error> {
        let may_be_taken =
            matches!(fault.status(), Some(StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN));
        if !may_be_taken {
            return Err(fault.into_error());
        }
        match self.stands_in_any_version(name).await {
            Ok(true) if written_before => {
                return match self.holds(name, stored).await.map_err(Fault::into_error)? {
                    true => Ok(()),
                    false => Err(Error::Exists { name: *name }),
                };
            }
            Ok(true) => return Err(Error::Exists { name: *name }),
            Ok(false) => {}
            // Who may not look goes by what Vault says of the write.
            Err(look) if look.is_forbidden() => {}
            Err(look) => return Err(look.into_error()),
        }
        if !fault.is_forbidden() {
            return Err(fault.into_error());
        }
        // Nothing is in the way, so it is the token, or a right that is missing.
        let call = Call { judges_denial: false, ..call.clone() };
        match self.session.call(&call).await {
            Ok(answer) => self.written(name, stored, &answer).await,
            Err(fault) => Err(self.denied(name, fault).await),
        }
    }

    /// The error of a write that is denied though nothing can be seen at its path.
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
