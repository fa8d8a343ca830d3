use kes_keystore::Inventory;

use crate::migration::Run;
use crate::plan::count;

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Compares the number of keys that were tried with new listings of both stores: what they do
    /// not agree with. The target need not be listed: not every policy allows it.
    pub(crate) async fn control(&self, tried: usize) -> Option<String> {
        let pattern = &self.options.pattern;
        if let Ok(listed) = count(self.source, pattern).await
            && listed > tried
        {
            let new = listed - tried;
            return Some(format!(
                "{tried} keys were found in the source, which has {new} more by now; run it again"
            ));
        }
        let stored = self.tally.migrated() + self.tally.already_there();
        if let Ok(listed) = count(self.target.store(), pattern).await
            && listed < stored
        {
            return Some(format!(
                "{stored} keys were stored in the target or were there, and it lists {listed}; \
                 another program deletes keys there"
            ));
        }
        None
    }
}
