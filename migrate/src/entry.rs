use kes_api::KeyName;
use kes_keystore::{Error, Inventory, Record, Value};

use crate::migration::{Existing, Run};
use crate::reading::NO_VALUE;
use crate::target::are_equal;
use crate::{Outcome, Side};

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Copies one key, or finds out what would become of it.
    pub(crate) async fn key(&self, name: KeyName) -> Outcome {
        self.pace.turn().await;
        if self.options.rate.is_some() {
            return self.key_online(name).await;
        }
        match self.source.read(&name).await {
            Ok(value) => self.value(&name, &value).await,
            Err(error) => self.unread(error),
        }
    }

    /// Copies the value of a key.
    pub(crate) async fn value(&self, name: &KeyName, value: &Value) -> Outcome {
        if let Err(reason) = Record::decode(value) {
            return self.skipped(format!("is not a stored key: {reason}"));
        }
        if self.options.dry_run {
            return match self.target.read(name).await {
                Err(Error::NotFound { .. }) => Outcome::Migrated,
                found => self.existing(name, value, found).await,
            };
        }
        match self.target.create(name, value, || self.is_stopped()).await {
            Ok(()) => self.read_back(name, value, Outcome::Migrated).await,
            Err(Error::Exists { .. }) => {
                let found = self.target.read(name).await;
                self.existing(name, value, found).await
            }
            Err(error) => match self.target.read(name).await {
                // It was carried out, though it was not answered.
                Ok(found) if are_equal(&found, value) => Outcome::Migrated,
                _ => self.failed(Side::Target, "cannot be created in", error),
            },
        }
    }

    /// What an error of the source means.
    pub(crate) fn unread(&self, error: Error) -> Outcome {
        match error {
            Error::NotFound { .. } => self.skipped(NO_VALUE.to_owned()),
            Error::Corrupt { reason, .. } => self.skipped(format!("is not a stored key: {reason}")),
            Error::Foreign { reason, .. } => self.skipped(format!("is not a stored key: {reason}")),
            error => self.failed(Side::Source, "cannot be read from", error),
        }
    }

    /// What becomes of a key whose name is taken in the target.
    async fn existing(
        &self,
        name: &KeyName,
        value: &Value,
        found: Result<Value, Error>,
    ) -> Outcome {
        let old = match found {
            Ok(old) if are_equal(&old, value) => return self.there(name).await,
            Ok(old) => old,
            Err(
                error @ (Error::NotFound { .. }
                | Error::Corrupt { .. }
                | Error::Foreign { .. }
                | Error::Unusable { .. }),
            ) => {
                let taken = match error {
                    // In an engine of KV version 2 a version that was deleted keeps the name, and in
                    // a folder whatever is no file.
                    Error::NotFound { .. } => {
                        "the target has an entry under this name that cannot \
                                               be read: a deleted version, or something that is no \
                                               key"
                        .to_owned()
                    }
                    error => {
                        format!("the target has an entry under this name that is no key: {error}")
                    }
                };
                return match self.options.existing {
                    Existing::Keep => Outcome::Kept(taken),
                    Existing::Refuse => Outcome::Failed(taken),
                    Existing::Replace => Outcome::Failed(format!(
                        "{taken}; it is not replaced, because it could not be put back; delete it \
                         there"
                    )),
                };
            }
            Err(error) => return self.failed(Side::Target, "cannot be read from", error),
        };
        let taken = || "the target has another value under this name".to_owned();
        match self.options.existing {
            Existing::Refuse => Outcome::Failed(taken()),
            Existing::Keep => Outcome::Kept(taken()),
            Existing::Replace if self.options.dry_run => Outcome::Replaced,
            Existing::Replace => self.replace(name, value, old).await,
        }
    }

    /// The outcome of a key whose value the target has, unless it has a link to the source's own file
    /// alone: that leads to nothing once the source is removed.
    async fn there(&self, name: &KeyName) -> Outcome {
        let file = match self.target.store().file(name).await {
            Ok(Some(file)) if file.is_link => file,
            Ok(_) => return Outcome::AlreadyThere,
            Err(error) => return self.failed(Side::Target, "cannot be looked at in", error),
        };
        match self.source.file(name).await {
            Ok(Some(own)) if own.place == file.place => Outcome::Failed(
                "the target has a link to the source's own file under this name; remove the link \
                 there"
                    .to_owned(),
            ),
            Ok(_) => Outcome::AlreadyThere,
            Err(error) => self.failed(Side::Source, "cannot be looked at in", error),
        }
    }

    /// The outcome of a key that was created, if the target has its value.
    pub(crate) async fn read_back(
        &self,
        name: &KeyName,
        value: &Value,
        outcome: Outcome,
    ) -> Outcome {
        match self.target.has(name, value).await {
            Ok(true) => outcome,
            Ok(false) => Outcome::Failed(
                "was created in the target, and is read from there with another value".to_owned(),
            ),
            Err(error) => self.failed(Side::Target, "was created and cannot be read from", error),
        }
    }

    /// The outcome of an entry that is no key.
    pub(crate) fn skipped(&self, reason: String) -> Outcome {
        if self.options.strict { Outcome::Failed(reason) } else { Outcome::Skipped(reason) }
    }

    /// The outcome of a key for which a store has failed. The run ends if the store cannot be
    /// reached.
    pub(crate) fn failed(&self, side: Side, what: &str, error: Error) -> Outcome {
        let reason = format!("{what} the {side}: {error}");
        self.note(side, error);
        Outcome::Failed(reason)
    }
}
