use kes_api::ListPattern;
use tokio::time;

use super::{CALL_LIMIT, Pair, Side, Two, of_side};
use crate::{Error, ForeignNames, Inventory, KeyStore, Limit, NameRules, Page};

impl<A: KeyStore, B: KeyStore> Two<A, B> {
    /// A page of the names that either store has.
    pub(super) async fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        let both = async {
            tokio::join!(
                Box::pin(self.old.list(pattern, limit)),
                Box::pin(self.new.list(pattern, limit))
            )
        };
        let Ok((old, new)) = time::timeout(CALL_LIMIT, both).await else {
            let limit = CALL_LIMIT.as_secs();
            let reason = format!("the two stores did not answer within {limit} s");
            return Err(Error::Unreachable { reason });
        };
        let old = old.map_err(|error| of_side(Side::Old, error))?;
        let new = new.map_err(|error| of_side(Side::New, error))?;
        Ok(Page::of_both(&old, &new, limit))
    }
}

/// Both together.
impl<A: Inventory + 'static, B: Inventory + 'static> Inventory for Pair<A, B> {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        let Two { old, new, .. } = &*self.stores;
        let names = old.foreign(names).await.map_err(|error| of_side(Side::Old, error))?;
        new.foreign(names).await.map_err(|error| of_side(Side::New, error))
    }

    /// Those of the new store: it takes the names of both.
    async fn name_rules(&self) -> Result<NameRules, Error> {
        let rules = self.stores.new.name_rules().await;
        rules.map_err(|error| of_side(Side::New, error))
    }
}
