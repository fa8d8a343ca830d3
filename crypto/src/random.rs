//! The only caller of the system's random generator.

/// Fills `bytes` from the system's generator (`getrandom(2)` on Linux).
///
/// There is no generator in user space between: none to seed, to fork or to dump. glibc asks the
/// kernel with a system call, a good part of what a small message costs; from glibc 2.41 on, with
/// Linux 6.11, it does without one.
///
/// # Panics
///
/// If the system refuses, which means a sandbox that forbids the system call, or a kernel
/// without one. There is no safe way on: a key or a nonce that is not random gives plaintexts
/// away.
pub fn fill(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the system's random generator refused to answer: {error}");
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
