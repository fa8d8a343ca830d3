//! A secret leaves no copy in memory when its buffer grows, is read from a text, or is dropped: the
//! process searches its own memory.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::hash_map::RandomState;
use std::fs::{File, read_to_string};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use base64_simd::STANDARD;
use bytes::Bytes;
use kes_api::SecretBytes;

const MASK: u8 = 0xa5;

/// 32 random bytes. The process holds them masked, so that it finds no copy of its own.
struct Mark(Vec<u8>);

impl Mark {
    fn random() -> Self {
        let word = || RandomState::new().build_hasher().finish().to_ne_bytes();
        Self((0..4).flat_map(|_| word()).collect())
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.iter().map(|byte| byte ^ MASK)
    }

    fn copy(&self) -> SecretBytes {
        SecretBytes::new(self.bytes().collect())
    }

    /// How often it is in the memory that the process can write to.
    fn count(&self) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let maps = read_to_string("/proc/self/maps").unwrap();
        let mut piece = vec![0; 1 << 16];
        let own = piece.as_ptr_range();
        let mut count = 0;
        for map in maps.lines().filter(|map| map.contains(" rw")) {
            let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
            let address = |hex| usize::from_str_radix(hex, 16).unwrap();
            let (mut from, to) = (address(from), address(to));
            while from + self.0.len() <= to {
                let len = piece.len().min(to - from);
                let read = memory.read_exact_at(&mut piece[..len], u64::try_from(from).unwrap());
                if read.is_err() {
                    break; // memory of a device
                }
                let found =
                    piece[..len].windows(self.0.len()).enumerate().filter(|(at, window)| {
                        let is_own = (own.start.addr()..own.end.addr()).contains(&(from + at));
                        !is_own && window.iter().zip(&self.0).all(|(a, b)| a ^ MASK == *b)
                    });
                count += found.count();
                piece.fill(0);
                // The next piece begins with what may be the first half of a mark.
                from += len - (self.0.len() - 1);
            }
        }
        count
    }
}

#[test]
fn no_copy_of_a_secret_is_left() {
    let mark = Mark::random();
    assert_eq!(mark.count(), 0);

    // Between two growths something else is allocated, so that no allocator can grow in place.
    let mut between = Vec::with_capacity(100);
    let mut grown = SecretBytes::default();
    grown.extend_from_slice(&[1; 100]);
    for byte in mark.bytes() {
        grown.write_all(&[byte]).unwrap();
    }
    assert_eq!(mark.count(), 1, "the search finds what is there");
    for _ in 0..12 {
        between.push(vec![2_u8; 100]);
        let len = grown.expose().len();
        grown.absorb(Bytes::from(vec![3; len]), usize::MAX).unwrap();
        between.push(vec![2_u8; len]);
    }
    assert_eq!(mark.count(), 1, "after twelve growths");
    drop(grown);
    assert_eq!(mark.count(), 0, "after the drop");

    // A piece of a body, taken and refused.
    for limit in [32, 31] {
        let mut body = SecretBytes::default();
        let taken = body.absorb(Bytes::from(mark.copy().into_inner()), limit);
        assert_eq!(mark.count(), usize::from(taken.is_ok()), "a piece and a limit of {limit}");
    }

    // A text that is decoded at once, one with line breaks, and one that is refused at its end.
    let copy = mark.copy();
    let text = STANDARD.encode_to_string(copy.expose());
    drop(copy);
    let lines = format!("{}\r\n{}", &text[..8], &text[8..]);
    for (text, expected) in [(text.clone(), 1), (lines, 1), (text + "****", 0)] {
        let decoded = SecretBytes::from_base64(text.as_bytes());
        assert_eq!(mark.count(), expected, "{} characters", text.len());
        assert_eq!(decoded.is_ok(), expected == 1);
        drop(decoded);
        assert_eq!(mark.count(), 0, "{} characters", text.len());
    }
    drop(between);
}
