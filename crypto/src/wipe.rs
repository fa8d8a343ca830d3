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

#[cfg(all(test, target_os = "linux"))]
#[expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]
pub(crate) mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A secret that nothing else in memory looks like: all of its bytes differ.
    pub(crate) const PATTERN: [u8; 32] =
        *b"\xd1\x0e\x5b\x97\x33\xf4\x68\xac\x1f\xb2\x46\x8d\xe9\x70\x2c\xc5\
           \x94\x3a\x07\xdb\x5e\xa1\x62\xf8\x19\x8b\xcd\x44\x76\xe0\x25\xb9";

    /// The bytes of this process from an address on, which may be freed memory.
    pub(crate) fn memory(from: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut bytes, u64::try_from(from).unwrap()).unwrap();
        bytes
    }

    /// Asserts that no 4 bytes of [`PATTERN`] are in `len` bytes from an address on. The allocator
    /// may have written to freed memory, but not this.
    pub(crate) fn assert_no_pattern(from: usize, len: usize) {
        let bytes = memory(from, len);
        let is_left = |piece: &[u8]| bytes.windows(piece.len()).any(|window| window == piece);
        let left = PATTERN.windows(4).filter(|piece| is_left(piece)).count();
        assert_eq!(left, 0, "pieces of the secret are left");
    }

    #[test]
    fn all_bytes_are_overwritten() {
        let mut secret = PATTERN;
        bytes(&mut secret);
        assert_eq!(secret, [0; 32]);
    }
}
