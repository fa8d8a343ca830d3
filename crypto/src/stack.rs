//! Overwrites the stack that work on secrets used.
//!
//! The ciphers wipe what they own when it is dropped, but a move of it, or a temporary of theirs,
//! leaves a copy in a frame that is dead by then: message keys, HMAC states, key streams. Code
//! that comes later may or may not write over it.

use zeroize::zeroize_stack;

/// How much is overwritten, in bytes: twice the depth at which `tests/memory.rs` found secrets,
/// which was up to 4 KiB in optimised code and up to 7 KiB in code that keeps every temporary.
/// 8 KiB take some 0.1 µs.
const DEPTH: usize = if cfg!(debug_assertions) { 16 * 1024 } else { 8 * 1024 };

/// Does `work` in frames of its own and then overwrites them.
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = in_own_frame(work);
    zeroize_stack::<DEPTH>();
    done
}

// Inlined, its frame would be the caller's, which `zeroize_stack` cannot reach.
#[inline(never)]
fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}
