//! That secrets leave the memory of a process: one that used keys is searched, from outside, while
//! it holds them and after it dropped them.
//!
//! The searched process tells its secrets masked, so that the telling leaves no copy in it. The
//! search while it holds them shows that the search finds what is there.

#![cfg_attr(target_os = "linux", expect(clippy::unwrap_used, reason = "a test, without #[test]"))]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("hold-AES256") => hold::hold(kes_crypto::Cipher::Aes256),
        Some("hold-ChaCha20") => hold::hold(kes_crypto::Cipher::ChaCha20),
        // Listed by a runner that takes this for the usual harness.
        Some("--list") => {}
        _ => {
            search::search(kes_crypto::Cipher::Aes256);
            search::search(kes_crypto::Cipher::ChaCha20);
        }
    }
}

#[cfg(target_os = "linux")]
const MASK: u8 = 0xa5;

/// The process that is searched.
#[cfg(target_os = "linux")]
mod hold {
    use std::io::{Write as _, stdin, stdout};

    use kes_crypto::{Cipher, Key, Secret};

    use crate::MASK;

    pub(crate) fn hold(cipher: Cipher) {
        let key = Key::from_parts(cipher, Secret::generate(), Some(Secret::generate()));
        let (ciphertext, masked) = {
            let plaintext = Secret::generate();
            (key.seal(plaintext.expose(), b"context"), masked(plaintext.expose()))
        };
        let opened = key.open(&ciphertext, b"context").unwrap();
        assert!(key.open(&ciphertext, b"another context").is_err());
        assert!(key.hmac(b"message").is_some());

        tell(&masked_hex(key.secret().expose()));
        tell(&masked_hex(key.hmac_secret().unwrap().expose()));
        tell(&hex(&masked));
        tell(&hex(&ciphertext));
        wait();

        drop((key, opened));
        tell("dropped");
        wait();
    }

    // Nobody may be there to hear it, if the search failed.
    fn tell(line: &str) {
        let _ = writeln!(stdout(), "{line}");
    }

    fn wait() {
        stdin().read_line(&mut String::new()).unwrap();
    }

    fn masked(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().map(|byte| byte ^ MASK).collect()
    }

    fn masked_hex(bytes: &[u8]) -> String {
        hex(&masked(bytes))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The process that searches.
#[cfg(target_os = "linux")]
mod search {
    use std::fs::{File, read_to_string};
    use std::io::{BufRead as _, BufReader, Lines, Write as _};
    use std::os::unix::fs::FileExt as _;
    use std::process::{ChildStdout, Command, Stdio};

    use chacha20::{R20, hchacha};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use kes_crypto::Cipher;
    use sha2::Sha256;
    use sha2::block_api::compress256;

    use crate::MASK;

    pub(crate) fn search(cipher: Cipher) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(format!("hold-{}", cipher.name()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let secret = unmasked(&unhex(&mut lines));
        let hmac_secret = unmasked(&unhex(&mut lines));
        let plaintext = unmasked(&unhex(&mut lines));
        let ciphertext = unhex(&mut lines);
        let iv = &ciphertext[ciphertext.len() - 28..][..16];

        let mut held = vec![
            ("encryption secret", secret.clone()),
            ("HMAC secret", hmac_secret.clone()),
            ("plaintext", plaintext.clone()),
            ("inner state of HMAC", state(&hmac_secret, 0x36)),
            ("outer state of HMAC", state(&hmac_secret, 0x5c)),
        ];
        let mut passing = vec![
            ("HMAC secret with inner padding", xor(&hmac_secret, 0x36)),
            ("HMAC secret with outer padding", xor(&hmac_secret, 0x5c)),
            ("key stream", plaintext.iter().zip(&ciphertext).map(|(a, b)| a ^ b).collect()),
        ];
        match cipher {
            Cipher::Aes256 => {
                held.push(("inner state of the derivation", state(&secret, 0x36)));
                held.push(("outer state of the derivation", state(&secret, 0x5c)));
                passing.push(("encryption secret with inner padding", xor(&secret, 0x36)));
                passing.push(("encryption secret with outer padding", xor(&secret, 0x5c)));
                let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(iv);
                passing.push(("message key", mac.finalize().into_bytes().to_vec()));
            }
            Cipher::ChaCha20 => {
                let secret: [u8; 32] = secret.try_into().unwrap();
                let iv: [u8; 16] = iv.try_into().unwrap();
                let key = hchacha::<R20>(&secret.into(), &iv.into());
                passing.push(("message key", key.to_vec()));
            }
        }

        let report = |when: &str, places: &[String], what: &str| {
            assert!(places.is_empty(), "{cipher:?}, {when}: {what} in {places:?}");
        };
        let memory = Memory::of(child.id());
        for (what, bytes) in &held {
            assert!(!memory.places(bytes).is_empty(), "{cipher:?}: the search misses the {what}");
        }
        for (what, bytes) in &passing {
            report("after use", &memory.places(bytes), what);
        }

        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "dropped");
        let memory = Memory::of(child.id());
        for (what, bytes) in held.iter().chain(&passing) {
            report("after drop", &memory.places(bytes), what);
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    /// What a process can write to, by name.
    struct Memory(Vec<(String, Vec<u8>)>);

    impl Memory {
        fn of(process: u32) -> Self {
            let file = File::open(format!("/proc/{process}/mem")).unwrap();
            let maps = read_to_string(format!("/proc/{process}/maps")).unwrap();
            let regions = maps.lines().filter_map(|line| {
                let mut words = line.split_whitespace();
                let (from, to) = words.next()?.split_once('-')?;
                if !words.next()?.starts_with("rw") {
                    return None;
                }
                let from = u64::from_str_radix(from, 16).unwrap();
                let to = u64::from_str_radix(to, 16).unwrap();
                let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
                file.read_exact_at(&mut bytes, from).ok()?;
                Some((words.nth(3).unwrap_or("anonymous").to_owned(), bytes))
            });
            Self(regions.collect())
        }

        /// Where either half of the bytes is: registers spill 16 bytes at once.
        fn places(&self, bytes: &[u8]) -> Vec<String> {
            let mut places = Vec::new();
            for half in bytes.chunks(16) {
                for (name, region) in &self.0 {
                    let found = region.windows(half.len()).positions(half);
                    places.extend(found.map(|at| format!("{name}+{at:x} of {:x}", region.len())));
                }
            }
            places
        }
    }

    trait Positions {
        fn positions(self, of: &[u8]) -> impl Iterator<Item = usize>;
    }

    impl<'a, I: Iterator<Item = &'a [u8]>> Positions for I {
        fn positions(self, of: &[u8]) -> impl Iterator<Item = usize> {
            self.enumerate().filter(move |(_, window)| *window == of).map(|(at, _)| at)
        }
    }

    fn unhex(lines: &mut Lines<BufReader<ChildStdout>>) -> Vec<u8> {
        let line = lines.next().unwrap().unwrap();
        let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
        (0..line.len()).step_by(2).map(byte).collect()
    }

    fn unmasked(bytes: &[u8]) -> Vec<u8> {
        xor(bytes, MASK)
    }

    fn xor(bytes: &[u8], with: u8) -> Vec<u8> {
        bytes.iter().map(|byte| byte ^ with).collect()
    }

    /// SHA-256 after one block of the padded secret, as it stands in memory.
    fn state(secret: &[u8], padding: u8) -> Vec<u8> {
        let mut block = [padding; 64];
        block.iter_mut().zip(secret).for_each(|(block, byte)| *block ^= byte);
        // FIPS 180-4, section 5.3.3.
        let mut state = [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a, //
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19,
        ];
        compress256(&mut state, &[block]);
        state.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }
}
