//! Runs the target `proxy_header` with libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kes_fuzz::run("proxy_header", input));
