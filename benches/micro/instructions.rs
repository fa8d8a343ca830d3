//! Instructions, counted by valgrind's callgrind: this bench runs itself under it, and each work N
//! times and then 2N times. The difference, divided by N, is what one costs to the instruction;
//! what comes once, such as the look at the processor, falls out of it.
//!
//! valgrind has a processor of its own, without the newest instructions. What goes another way
//! there is said.

use std::fmt::Write as _;
use std::process::Command;

use crate::works::Work;

/// Set in the process that is counted.
pub(crate) const COUNTED: &str = "KES_BENCH_COUNTED";

/// Marks the line on which that process says what its processor has.
const PROCESSOR: &str = "processor:";

/// callgrind counts what is called from this function, and writes a part of its file when it
/// returns. Spelled whole: with a `*` in the name no parts are written.
const FUNCTION: &str = concat!(module_path!(), "::counted_repetitions");

/// The side that is counted.
pub(crate) fn work(works: Vec<Work>) {
    println!("{PROCESSOR}{}", processor());
    for work in works {
        let mut once = (work.prepare)();
        for repetitions in [work.count, 2 * work.count] {
            counted_repetitions(&mut *once, repetitions);
        }
    }
}

#[inline(never)]
fn counted_repetitions(once: &mut dyn FnMut(), repetitions: u64) {
    for _ in 0..repetitions {
        once();
    }
}

/// The side that asks for it.
pub(crate) fn print(works: Vec<Work>, filter: Option<&String>) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=no", "--combine-dumps=no"])
        .arg(format!("--toggle-collect={FUNCTION}"))
        .arg(format!("--dump-after={FUNCTION}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().unwrap())
        .args(filter)
        .env(COUNTED, "1")
        .output()
        .map_err(|error| format!("valgrind does not start ({error}); is it installed?"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let there = said.lines().find_map(|line| line.strip_prefix(PROCESSOR));
    let (true, Some(there)) = (output.status.success(), there) else {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind ended with {}:\n{why}", output.status));
    };

    let mut parts = (1..).map(|part| total(&file.with_extension(part.to_string())));
    let width = works.iter().map(|work| work.name.len()).max().unwrap_or_default();
    let mut table = String::new();
    for work in works {
        let (once, twice) = (parts.next().unwrap()?, parts.next().unwrap()?);
        let each = (twice - once + work.count / 2) / work.count;
        writeln!(table, "| {:width$} | {:>12} |", work.name, grouped(each)).unwrap();
    }

    println!("\ninstructions of one\n");
    println!("| {:width$} | instructions |", "");
    println!("| {:-<width$} | -----------: |", "");
    print!("{table}");
    let here = processor();
    let missing: Vec<&str> = here
        .split_whitespace()
        .filter(|have| !there.split_whitespace().any(|t| t == *have))
        .collect();
    if missing.is_empty() {
        println!("\nvalgrind's processor has all that matters of this one: {here}.\n");
    } else {
        println!(
            "\nvalgrind's processor lacks {} of this one: ciphers and hashes\nthat use them \
             went another way, and cost more here than they do. Compare them with themselves.\n",
            missing.join(", ")
        );
    }
    Ok(())
}

/// What one part of callgrind's file counted.
fn total(part: &std::path::Path) -> Result<u64, String> {
    let text =
        std::fs::read_to_string(part).map_err(|error| format!("a count is missing ({error})"))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| "a count is not one".to_owned())
}

/// Instructions that ciphers and hashes make use of, as far as this processor has them.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let has = [
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
        ("sha", std::arch::is_x86_feature_detected!("sha")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("vaes", std::arch::is_x86_feature_detected!("vaes")),
        ("vpclmulqdq", std::arch::is_x86_feature_detected!("vpclmulqdq")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(target_arch = "aarch64")]
    let has = [
        ("aes", std::arch::is_aarch64_feature_detected!("aes")),
        ("sha2", std::arch::is_aarch64_feature_detected!("sha2")),
        ("sha3", std::arch::is_aarch64_feature_detected!("sha3")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has: [(&str, bool); 0] = [];
    let names: Vec<&str> = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    names.join(" ")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
