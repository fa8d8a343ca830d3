//! Fuzz targets for the parsers of what strangers, operators and stores send.
//!
//! A target is a function that takes any bytes, calls a parser, and panics if a property of the
//! parser does not hold: it never panics itself, what it accepts is written and read back to the
//! same value, a second implementation says the same, and no message shows a secret.
//!
//! The inputs in `corpus/` are replayed by `cargo test` (`tests/replay.rs`). `fuzz/run` looks for new
//! ones with libFuzzer. The layout is that of `cargo fuzz`, which works as well.

/// Certificates of clients and servers, and their chains.
mod certificate;

/// Files of the audit log.
mod audit;

/// Backups and their manifests.
mod backup;

/// Stored keys.
mod record;

/// Ciphertexts in their three formats.
mod ciphertext;

/// Request and response bodies, and the lines of the streams.
mod body;

/// The configuration file.
mod config;

/// Paths of requests, names and patterns of listings.
mod path;

/// Keys that a server hands over.
mod handover;

/// Snapshots of the keys in use.
mod snapshot;

/// Headers of the PROXY protocol.
mod proxy_header;

/// Headers that name a trace.
mod traceparent;

/// Patterns of policies.
mod pattern;

/// API keys, and PEM files of private keys and certificates.
mod credential;

/// Answers of Vault.
mod vault;

/// Base64, written as simply as possible.
mod naive;

/// YAML, beside a second reader.
mod yaml;

/// Texts of the command line and of single fields of the configuration.
mod text;

/// A target: takes any bytes, and panics if the parser has a fault.
pub type Target = fn(&[u8]);

/// All targets by name. Each has a folder in `corpus/` and a program in `targets/`.
pub const TARGETS: [(&str, Target); 22] = [
    ("answer", body::answer),
    ("api_key", credential::api_key),
    ("audit", audit::audit),
    ("backup", backup::backup),
    ("certificate", certificate::certificate),
    ("chain", certificate::chain),
    ("ciphertext", ciphertext::ciphertext),
    ("config", config::config),
    ("handover", handover::handover),
    ("metrics", text::metrics),
    ("path", path::path),
    ("pattern", pattern::pattern),
    ("pem", credential::pem),
    ("protobuf", record::protobuf),
    ("proxy_header", proxy_header::proxy_header),
    ("record", record::record),
    ("request", body::request),
    ("snapshot", snapshot::snapshot),
    ("text", text::text),
    ("traceparent", traceparent::traceparent),
    ("vault", vault::vault),
    ("yaml", yaml::yaml),
];

/// Runs a target on an input.
///
/// # Panics
/// If there is no such target, or if the parser has a fault.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    target(input);
}

/// The text before the first line break, and what follows it: two inputs in one.
fn split_line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}
