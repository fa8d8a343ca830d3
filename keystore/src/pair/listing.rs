use kes_api::ListPattern;
use tokio::time;

use super::{CALL_LIMIT, Side, Two, of_side};
use crate::{Error, KeyStore, Limit, Page};

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
