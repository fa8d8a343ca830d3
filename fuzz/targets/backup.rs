//! Runs the target `backup` with libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kes_fuzz::run("backup", input));
