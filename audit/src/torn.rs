use aws_lc_rs::digest::{Context, SHA256};

use crate::key::hex;

/// What is left of a line: its length and its hash.
#[derive(Clone)]
pub(crate) struct Torn {
    bytes: u64,
    hash: Context,
}

impl Default for Torn {
    fn default() -> Self {
        Self { bytes: 0, hash: Context::new(&SHA256) }
    }
}

impl Torn {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut torn = Self::default();
        torn.add(bytes);
        torn
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.hash.update(bytes);
    }

    /// As a record tells it.
    pub(crate) fn told(&self) -> (u64, String) {
        (self.bytes, hex(self.hash.clone().finish().as_ref()))
    }
}
