//! The key store of a server: one, or two at once while keys move from one to the other.

use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::time;

use crate::config::{Config, Location, Migration, Place};
use crate::fs::{KnownFolders, Opening};
use crate::pair::{Notes, Pair};
use crate::{
    CertificateEnds, Error, ForeignNames, Inventory, KeyStore, Kind, Limit, Logins, NameRules,
    OpenError, Page, PairReport, State, Store, TargetError, Value,
};

/// How long it is asked whether two Vaults are one cluster. One that is away does not answer.
const SAME_LIMIT: Duration = Duration::from_secs(2);

/// What a server uses as its key store.
pub enum Stores {
    /// The store of `keystore`.
    One(Store),
    /// That, and the one of `migration.to`.
    Two(Pair<Store, Store>),
}

/// Evaluates an expression for what a [`Stores`] holds.
macro_rules! with_either {
    ($stores:expr, $store:ident => $call:expr) => {
        match $stores {
            Stores::One($store) => $call,
            Stores::Two($store) => $call,
        }
    };
}

impl Stores {
    /// Opens what a configuration names. Must be called within a tokio runtime. What is counted of a
    /// pair is added to `notes`. Also returns where the keys are.
    ///
    /// # Errors
    /// [`OpenError`] if one of them cannot be used as configured, or both are the same.
    pub async fn open(
        config: Config,
        migration: Option<Migration>,
        known: &KnownFolders,
        opening: Opening,
        notes: Arc<Notes>,
    ) -> Result<(Self, Location), OpenError> {
        let location = config.location();
        let store = Store::open(config, known, opening).await?;
        let location = store.located(location);
        let Some(migration) = migration else { return Ok((Self::One(store), location)) };
        let Migration { to: config, place, stage } = migration;
        if let Err(error) = store.refuse_folder(&config).await {
            return Err(second(place, &error));
        }
        let to = config.location();
        let new = Store::open(config, known, opening).await?;
        let same = time::timeout(SAME_LIMIT, store.refuse_same(&new)).await;
        if let Ok(Err(error)) = same {
            return Err(second(place, &error));
        }
        let location = Location::new("pair")
            .part("another old key store", &location)
            .part("another new key store", new.located(to));
        let place = location.to_string();
        // What is in memory from one stage to the next was read by the same rules.
        let location = location.part("another `migration.compare`", stage.compare);
        Ok((Self::Two(Pair::new(store, new, place, stage, notes).counted()), location))
    }

    /// Opens what a configuration names, to read its keys: nothing is written, and folders must exist.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub async fn open_source(
        config: Config,
        migration: Option<Migration>,
    ) -> Result<Self, OpenError> {
        let store = Store::open_source(config).await?;
        let Some(Migration { to, stage, .. }) = migration else { return Ok(Self::One(store)) };
        let new = Store::open_source(to).await?;
        Ok(Self::Two(Pair::new(store, new, String::new(), stage, Arc::default())))
    }
}

/// Why the second store is refused.
fn second(place: Place, error: &TargetError) -> OpenError {
    let reason = match error {
        TargetError::Same { place } => {
            format!("the new key store is the old one ({place}), which `keystore` names")
        }
        TargetError::Nested { inner: "target", .. } => {
            "the folder of the new key store is within that of the old one".to_owned()
        }
        TargetError::Nested { .. } => {
            "the folder of the old key store is within that of the new one".to_owned()
        }
        TargetError::Open(error) => error.to_string(),
    };
    OpenError::Second { place, reason }
}

impl Inventory for Stores {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        match self {
            Self::One(store) => store.foreign(names).await,
            Self::Two(store) => Box::pin(store.foreign(names)).await,
        }
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        match self {
            Self::One(store) => store.name_rules().await,
            Self::Two(store) => Box::pin(store.name_rules()).await,
        }
    }
}

/// The futures of a pair are boxed, so that those of one store are no larger for it.
impl KeyStore for Stores {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        match self {
            Self::One(store) => store.create(name, value).await,
            Self::Two(store) => Box::pin(store.create(name, value)).await,
        }
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        match self {
            Self::One(store) => store.read(name).await,
            Self::Two(store) => Box::pin(store.read(name)).await,
        }
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        match self {
            Self::One(store) => store.delete(name).await,
            Self::Two(store) => Box::pin(store.delete(name)).await,
        }
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        match self {
            Self::One(store) => store.list(pattern, limit).await,
            Self::Two(store) => Box::pin(store.list(pattern, limit)).await,
        }
    }

    fn state(&self) -> State {
        with_either!(self, store => store.state())
    }

    fn kind(&self) -> Kind {
        with_either!(self, store => store.kind())
    }

    fn description(&self) -> String {
        with_either!(self, store => store.description())
    }

    fn trouble(&self) -> Option<String> {
        with_either!(self, store => store.trouble())
    }

    fn logins(&self) -> Option<Logins> {
        with_either!(self, store => store.logins())
    }

    fn certificates(&self) -> CertificateEnds {
        with_either!(self, store => store.certificates())
    }

    fn version(&self) -> Option<String> {
        with_either!(self, store => store.version())
    }

    fn pair(&self) -> Option<PairReport> {
        with_either!(self, store => store.pair())
    }
}
