//! The only caller of the random generator.

/// Fills `bytes` from the system's generator (`getrandom(2)` on Linux).
///
/// There is no generator in user space, which would have to be seeded, could be duplicated by a
/// fork, and could be dumped. glibc makes a system call, which is a considerable part of the cost
/// of a small message; since glibc 2.41, with Linux 6.11, it needs none.
///
/// # Panics
///
/// If the system call fails: a sandbox forbids it, or the kernel does not have it. There is no safe
/// way to continue, because a key or a nonce that is not random reveals plaintexts.
#[cfg(not(feature = "fips"))]
#[expect(clippy::panic, reason = "there is no safe way to continue")]
pub fn fill(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system's random generator refused to answer: {error}");
    }
}

/// Fills `bytes` from the generator of AWS-LC's FIPS module: CTR_DRBG with AES-256 (NIST SP
/// 800-90A), seeded by the module's own source of entropy. Each thread has its own state, which is
/// seeded anew after a fork.
///
/// # Panics
///
/// If the module's tests of its source of entropy fail. There is no safe way to continue.
#[cfg(feature = "fips")]
#[expect(clippy::panic, reason = "there is no safe way to continue")]
pub fn fill(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        panic!("the random generator of the FIPS module refused to answer");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fills_all_of_it() {
        // One byte in 256 is zero by chance; one that stays zero in 64 rounds was not filled.
        let mut seen = [0; 28];
        for _ in 0..64 {
            let mut bytes = [0; 28];
            super::fill(&mut bytes);
            seen.iter_mut().zip(bytes).for_each(|(seen, byte)| *seen |= byte);
        }
        assert!(seen.iter().all(|byte| *byte != 0), "{seen:?}");
    }
}
