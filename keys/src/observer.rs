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
}
