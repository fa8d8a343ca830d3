/// Is told what happens, to count it. Called on the path of every request: an implementation only
/// adds to counters. The calls to the key store are counted by a wrapper around it
/// ([`Metered`](kes_keystore::wrap::Metered)).
pub trait Observer: Send + Sync + 'static {
    /// A key was asked for, and is in memory.
    fn cache_hit(&self);

    /// A key was asked for, and is not in memory.
    fn cache_miss(&self);

    /// A value was read from the key store, and is not a stored key.
    fn invalid_record(&self);

    /// A key was asked for that has been missing again and again just now; the key store was not
    /// asked.
    fn negative_hit(&self);

    /// A key in memory was read again because its time was nearly over.
    fn refreshed(&self, refresh: Refresh);

    /// A key of the snapshot was used, because the key store cannot be reached.
    fn snapshot_hit(&self);

    /// A snapshot was written.
    fn snapshot_written(&self);

    /// A snapshot could not be written.
    fn snapshot_failed(&self);

    /// A snapshot that was found is not used.
    fn snapshot_refused(&self);
}

/// How the refresh of a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The key was read.
    Success,
    /// The key store no longer has it.
    Missing,
    /// The key store could not be read. The key stays until its time is over.
    Error,
}
