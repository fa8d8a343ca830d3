//! Overwrites bytes that were secret.

use zeroize::optimization_barrier;

/// Overwrites `bytes` with zeros, even if the compiler can prove that they are not read again.
///
/// `bytes.zeroize()` has the same effect, but writes byte by byte with volatile stores. This is a
/// `memset`, ten times as fast for a large plaintext. The barrier is an empty assembly block that,
/// as far as the compiler knows, may read the memory, so the stores before it are not optimised
/// away.
pub(crate) fn bytes(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}
