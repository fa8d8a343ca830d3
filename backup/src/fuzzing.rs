//! The parsers of what is in a backup, for fuzz targets.

use kes_api::{Fingerprint, KeyName};
use kes_keystore::Value;

use crate::age;
use crate::archive::line::{self, Line};

/// A line of the content: the key that it is, if it is one.
pub fn key(text: &[u8]) -> Option<(KeyName, Fingerprint, Value)> {
    match line::parse(text) {
        Ok(Line::Key { name, fingerprint, value }) => Some((name, fingerprint, value)),
        Ok(Line::End(_)) | Err(_) => None,
    }
}

/// Writes the line of a key.
///
/// # Panics
/// If it cannot be written.
#[expect(clippy::expect_used, reason = "a fuzz target looks for that")]
pub fn line(name: &KeyName, fingerprint: Fingerprint, value: &Value) -> Vec<u8> {
    line::write(name, fingerprint, value).expect("any text is JSON").expose().to_vec()
}

/// The message about the header of an age file that is refused.
pub fn refused_header(bytes: &[u8]) -> Option<String> {
    age::refused_header(bytes)
}
