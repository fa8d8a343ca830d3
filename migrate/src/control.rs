use kes_keystore::Inventory;

use crate::Alone;
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

    /// The same beside servers, which create and delete keys meanwhile: what the source has and the
    /// target has not, and the names that the target alone has.
    pub(crate) async fn control_online(&self) -> (Option<String>, Option<Alone>) {
        // Not every policy allows to list the target.
        let Ok([in_source, in_target]) = self.alone().await else { return (None, None) };
        let told = self.tally.failed() + self.tally.skipped() + self.tally.kept();
        let is_missing = !self.options.dry_run && in_source.count > told;
        let disagreement = is_missing.then(|| {
            format!(
                "{} of the source are not in the target; do all servers write to both? Run it again",
                in_source.told()
            )
        });
        (disagreement, (in_target.count > 0).then_some(in_target))
    }
}
