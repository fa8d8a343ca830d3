use aws_lc_rs::digest::{Context, SHA256};
use serde::de::IgnoredAny;

use crate::key::hex;

/// What stands after the last line of a chain and is no line: its length, its hash, and whether a
/// server can have left it.
#[derive(Clone)]
pub(crate) struct Torn {
    bytes: u64,
    hash: Context,
    is_foreign: bool,
}

impl Default for Torn {
    fn default() -> Self {
        Self { bytes: 0, hash: Context::new(&SHA256), is_foreign: false }
    }
}

impl Torn {
    /// What was found in a file after the line before line `next`.
    pub(crate) fn found(bytes: &[u8], next: u64) -> Self {
        let mut torn = Self::default();
        for (number, piece) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                torn.add(b"\n");
            }
            torn.add_found(piece, next);
        }
        torn
    }

    /// Adds what a server has written.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.hash.update(bytes);
    }

    /// Adds what was found between two line ends. A full disk can leave several starts of the same
    /// line, and line ends after one.
    pub(crate) fn add_found(&mut self, piece: &[u8], next: u64) {
        let is_usual = match piece {
            [] => self.bytes > 0,
            piece => is_start_of(piece, next),
        };
        self.is_foreign |= !is_usual;
        self.add(piece);
    }

    /// Whether no server has left it: it is not the start of the next line alone.
    pub(crate) const fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// As a record tells it.
    pub(crate) fn told(&self) -> (u64, String) {
        (self.bytes, hex(self.hash.clone().finish().as_ref()))
    }

    /// What a server says of it that has not left it, after this line.
    pub(crate) fn warning(&self, seq: u64) -> Option<String> {
        self.is_foreign.then(|| format!(
            "{} bytes after line {seq} were not written by a server: somebody has added or changed them while none ran; they stay, and `kes audit verify` tells of them",
            self.bytes
        ))
    }
}

/// Whether bytes are the start of a line with this number, and not all of it.
pub(crate) fn is_start_of(piece: &[u8], seq: u64) -> bool {
    let start = format!("{{\"seq\":{seq},\"time\":\"");
    let compared = piece.len().min(start.len());
    piece.get(..compared) == start.as_bytes().get(..compared)
        && serde_json::from_slice::<IgnoredAny>(piece).is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_start_of_the_next_line_is_what_a_server_leaves() {
        let line = r#"{"seq":12,"time":"2026-11-27T00:00:00.000000Z","kind":"stop"}"#;
        for end in 1..line.len() {
            let (start, _) = line.split_at(end);
            assert!(!Torn::found(start.as_bytes(), 12).is_foreign(), "{start}");
            let again = format!("{start}\n\n{start}\n");
            assert!(!Torn::found(again.as_bytes(), 12).is_foreign(), "{start}");
            for other in [format!("\n{start}"), format!("{start}\n{line}\n"), format!("{start}\0")]
            {
                assert!(Torn::found(other.as_bytes(), 12).is_foreign(), "{other}");
            }
            assert!(end < 9 || Torn::found(start.as_bytes(), 13).is_foreign(), "{start}");
        }
        for other in ["x", "\n", line, &format!("{line}\n"), "{\"seq\":12}", "{\"seq\":12,\"a"] {
            assert!(Torn::found(other.as_bytes(), 12).is_foreign(), "{other}");
        }
    }
}
