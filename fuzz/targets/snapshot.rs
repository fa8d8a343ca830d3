//! Runs the target `snapshot` with libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kes_fuzz::run("snapshot", input));
