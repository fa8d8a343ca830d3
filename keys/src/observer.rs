use std::time::Duration;

use crate::StoreOperation;

/// Is told what happens, to count it. Called on the path of every request: an implementation only
/// adds to counters.
pub trait Observer: Send + Sync + 'static {
    /// A key was asked for, and is in memory.
    fn cache_hit(&self);

    /// A key was asked for, and is not in memory.
    fn cache_miss(&self);

    /// A call to the key store ended.
    fn store_call(
        &self,
        operation: StoreOperation,
        took: Duration,
        failure: Option<&kes_keystore::Error>,
    );
}
