//! Overwrites the part of the stack that operations on secrets used.
//!
//! The ciphers wipe their values when they are dropped. But moves and temporaries leave copies of
//! message keys, HMAC states, hash keys and key streams in stack frames that no longer exist. Later
//! code may or may not overwrite them.

use zeroize::zeroize_stack;

use crate::Cipher;

/// How many bytes are overwritten: about twice what is used, which is up to 1.1 KiB. Overwriting
/// 2 KiB takes 20 ns. The tests measure what is used, with this crate optimised as it is in a release
/// (`profile.dev.package` in the manifest).
#[cfg(not(feature = "fips"))]
pub(crate) const DEPTH: usize = 2 * 1024;

/// How many bytes are overwritten after AES-GCM. It uses 1.3 KiB, but AWS-LC needs another 1.6 KiB
/// on a processor with AVX-512, and 1.9 KiB on one without AES instructions. Overwriting 4 KiB
/// takes 80 ns.
#[cfg(not(feature = "fips"))]
pub(crate) const DEPTH_OF_AES: usize = 2 * DEPTH;

/// The FIPS module uses up to 6.3 KiB, for HMAC as well as for AES-GCM.
#[cfg(feature = "fips")]
pub(crate) const DEPTH: usize = 12 * 1024;
#[cfg(feature = "fips")]
pub(crate) const DEPTH_OF_AES: usize = DEPTH;

/// Runs `work` in stack frames of its own and then overwrites [`DEPTH`] bytes of them.
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    wiped_to::<DEPTH, T>(work)
}

/// Runs `work` on one message of this cipher in stack frames of its own and then overwrites them.
pub(crate) fn wiped_after<T>(cipher: Cipher, work: impl FnOnce() -> T) -> T {
    match cipher {
        Cipher::Aes256 => wiped_to::<DEPTH_OF_AES, T>(work),
        #[cfg(not(feature = "fips"))]
        Cipher::ChaCha20 => wiped_to::<DEPTH, T>(work),
    }
}

fn wiped_to<const DEPTH: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = in_own_frame(work);
    zeroize_stack::<DEPTH>();
    done
}

// If it were inlined, it would use the caller's frame, which `zeroize_stack` cannot reach.
#[inline(never)]
fn in_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]
pub(crate) mod tests {
    use std::fs::File;
    use std::hint::black_box;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// More stack than any operation here uses.
    const PAINTED: usize = 64 * 1024;
    const PAINT: u8 = 0xa5;

    /// How many bytes of the stack below its caller `work` uses: fills the stack with a pattern,
    /// runs `work`, and finds the deepest byte that changed.
    #[inline(never)]
    pub(crate) fn depth(work: impl FnOnce()) -> usize {
        let here = black_box(0_u8);
        let mut stack = vec![0; PAINTED];
        let memory = File::open("/proc/self/mem").unwrap();
        paint();
        in_own_frame(work);
        let from = std::ptr::from_ref(&here).addr() - PAINTED;
        memory.read_exact_at(&mut stack, u64::try_from(from).unwrap()).unwrap();
        let left = stack.iter().position(|byte| *byte != PAINT).unwrap();
        assert_ne!(left, 0, "all of the paint is gone");
        PAINTED - left
    }

    #[inline(never)]
    fn paint() {
        let mut bytes = [0; PAINTED];
        bytes.fill(PAINT); // a runtime value, so that it is really written
        black_box(&mut bytes);
    }

    #[inline(never)]
    fn uses(bytes: &mut [u8; 10_000]) {
        bytes.fill(1);
        black_box(bytes);
    }

    #[test]
    fn a_depth_is_measured_and_wiped() {
        assert!(depth(|| ()) < 1000);
        assert!((10_000..12_000).contains(&depth(|| uses(&mut [0; 10_000]))));
        assert!((DEPTH..DEPTH + 1000).contains(&depth(|| wiped(|| ()))));
        for (cipher, wiped) in [
            (Cipher::Aes256, DEPTH_OF_AES),
            #[cfg(not(feature = "fips"))]
            (Cipher::ChaCha20, DEPTH),
        ] {
            assert!((wiped..wiped + 1000).contains(&depth(|| wiped_after(cipher, || ()))));
        }
    }
}
