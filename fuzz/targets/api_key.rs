//! Runs the target `api_key` with libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kes_fuzz::run("api_key", input));
