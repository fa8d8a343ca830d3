//! Whether the time of an operation on secrets tells something about them, in the manner of dudect
//! (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?").
//!
//! Each row has two kinds of inputs, which come in a random order: with one secret that is always the
//! same and with random ones, or with a difference at the start and at the end. Welch's t-test compares
//! their times. A |t| above 4.5 is a difference that chance does not explain. The control compares byte
//! by byte and stops at the first difference: where it is not found, the measurement is of no use.
//!
//! `cargo bench --bench timing` prints |t| for each row, and fails if one is above the limit or the
//! control is not. A word filters the rows. `KES_BENCH_CHECK=1` takes a second and shows only that all
//! of it runs.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use fastrand::Rng;
use kes_api::Timestamp;
use kes_crypto::{Cipher, Key, Secret};
use kes_keystore::record::Record;
use subtle::ConstantTimeEq as _;

/// Above this, a difference is none of chance: the usual limit of such tests (dudect; ISO/IEC 17825).
const LIMIT: f64 = 4.5;

/// How many times are measured for each row. A difference of a hundredth of their spread is found
/// with so many.
const SAMPLES: usize = 1_000_000;

/// How many inputs are made before their times are taken, so that making one leaves no trace in the
/// time of it.
const BATCH: usize = 1_000;

/// The longest times are those in which something else ran. The test is made with all times, and
/// without so many of a thousand.
const CUTS: [usize; 4] = [0, 10, 100, 500];

/// The kind of an input.
#[derive(Clone, Copy)]
enum Class {
    /// The same secret every time, or a difference at the start.
    Same,
    /// Another secret every time, or a difference at the end.
    Other,
}

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let is_check = std::env::var_os("KES_BENCH_CHECK").is_some();
    let bench = Bench { filter, samples: if is_check { 2 * BATCH } else { SAMPLES } };
    println!("{:<44}{:>10}", "", "|t|");
    let mut uneven = 0;
    for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
        uneven += bench.row(
            &format!("tag check, {}", cipher.name()),
            tag_check(cipher),
            |(key, text)| key.open(text, b"context").is_ok(),
        );
        uneven += bench.row(&format!("open, {}", cipher.name()), sealed(cipher), |(key, text)| {
            key.open(text, b"context").is_ok()
        });
    }
    uneven += bench.row("HMAC", with_hmac, |key| key.hmac(b"message"));
    uneven += bench.row("base64 of a stored key", stored, |value| Record::decode(value).is_ok());
    uneven += bench.row("comparison of stored keys", texts, |(a, b)| bool::from(a.ct_eq(b)));
    let control = bench.row("control: stops at a difference", texts, |(a, b)| stops_early(a, b));

    if is_check {
        return ExitCode::SUCCESS;
    }
    if bench.chosen("control") && control == 0 {
        println!("the control was not found: the machine is too busy, or the clock too coarse");
        return ExitCode::FAILURE;
    }
    if uneven > 0 {
        println!("{uneven} rows above {LIMIT}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Bench {
    filter: Option<String>,
    samples: usize,
}

impl Bench {
    fn chosen(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
    }

    /// Measures and prints a row: 1 if its |t| is above the limit.
    fn row<I, R>(
        &self,
        name: &str,
        make: impl Fn(Class, &mut Rng) -> I,
        run: impl Fn(&I) -> R,
    ) -> usize {
        if !self.chosen(name) {
            return 0;
        }
        let t = largest_t(&self.times(make, run));
        println!("{name:<44}{t:>10.2}");
        usize::from(t > LIMIT)
    }

    /// The times for both kinds of inputs, in nanoseconds.
    fn times<I, R>(
        &self,
        make: impl Fn(Class, &mut Rng) -> I,
        run: impl Fn(&I) -> R,
    ) -> [Vec<u32>; 2] {
        let mut rng = Rng::new();
        let mut times = [Vec::new(), Vec::new()];
        // The first batch warms up.
        for batch in 0..=self.samples / BATCH {
            let inputs: Vec<(Class, I)> = (0..BATCH)
                .map(|_| {
                    let class = if rng.bool() { Class::Same } else { Class::Other };
                    (class, make(class, &mut rng))
                })
                .collect();
            for (class, input) in &inputs {
                let start = Instant::now();
                let result = black_box(run(black_box(input)));
                let took = start.elapsed();
                drop(result);
                if batch > 0 {
                    times[*class as usize].push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
                }
            }
        }
        times
    }
}

/// The largest |t| with all times and without the longest.
fn largest_t(times: &[Vec<u32>; 2]) -> f64 {
    let mut all = times.concat();
    all.sort_unstable();
    let last = all.len() - 1;
    let bounds = CUTS.map(|cut| all[last - last * cut / 1000]);
    bounds.map(|bound| t(times, bound).abs()).into_iter().fold(0.0, f64::max)
}

/// Welch's t of the times up to a bound.
fn t(times: &[Vec<u32>; 2], bound: u32) -> f64 {
    let [(mean_a, error_a), (mean_b, error_b)] = times.each_ref().map(|times| {
        let kept: Vec<f64> =
            times.iter().filter(|time| **time <= bound).map(|time| f64::from(*time)).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let squares: f64 = kept.iter().map(|time| (time - mean).powi(2)).sum();
        (mean, squares / (count - 1.0) / count)
    });
    let t = (mean_a - mean_b) / (error_a + error_b).sqrt();
    // Too few are left of one of them, or all times are the same.
    if t.is_nan() { 0.0 } else { t }
}

fn secret(class: Class, rng: &mut Rng) -> Secret {
    let mut bytes = [7; Secret::LEN];
    if matches!(class, Class::Other) {
        rng.fill(&mut bytes);
    }
    Secret::from_slice(&bytes).unwrap()
}

/// A ciphertext whose tag is wrong in its first or in its last byte.
fn tag_check(cipher: Cipher) -> impl Fn(Class, &mut Rng) -> (Key, Vec<u8>) {
    move |class, _| {
        let key = Key::import(cipher, Secret::from_slice(&[7; Secret::LEN]).unwrap());
        let mut text = key.seal(&[1; 32], b"context");
        text[match class {
            Class::Same => 32,
            Class::Other => 32 + 15,
        }] ^= 1;
        (key, text)
    }
}

/// A ciphertext under the same key or a random one.
fn sealed(cipher: Cipher) -> impl Fn(Class, &mut Rng) -> (Key, Vec<u8>) {
    move |class, rng| {
        let key = Key::import(cipher, secret(class, rng));
        let text = key.seal(&[1; 32], b"context");
        (key, text)
    }
}

fn with_hmac(class: Class, rng: &mut Rng) -> Key {
    Key::from_parts(Cipher::Aes256, secret(class, rng), Some(secret(class, rng)))
}

fn stored(class: Class, rng: &mut Rng) -> kes_keystore::Value {
    let key = with_hmac(class, rng);
    let created_at = Timestamp::from_unix(1_700_000_000, 0).unwrap();
    Record { key, created_at, created_by: "0".repeat(64) }.encode()
}

/// Two texts as long as a stored key, with a difference in the first or in the last byte.
fn texts(class: Class, rng: &mut Rng) -> (Vec<u8>, Vec<u8>) {
    let mut text = vec![0; 240];
    rng.fill(&mut text);
    let mut other = text.clone();
    match class {
        Class::Same => other[0] ^= 1,
        Class::Other => other[239] ^= 1,
    }
    (text, other)
}

/// What a comparison must not do.
fn stops_early(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}
