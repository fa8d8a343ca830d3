//! Where the body of an answer goes while it arrives.

use bytes::Bytes;
use kes_api::SecretBytes;
use kes_api::bytes::wipe;
use serde::de::IgnoredAny;

use super::body::{BadBody, from_json};
use super::fault::{Fault, Refusal};

/// Receives the body of a 2xx answer, piece by piece.
pub(crate) trait BodySink: Send {
    /// Prepares for a body of so many bytes, or of unknown length if `announced` is zero. A
    /// request that is repeated begins again, and the sink discards what it has received.
    fn begin(&mut self, announced: usize);

    /// Receives a piece.
    fn write(&mut self, piece: Bytes) -> Result<(), BadBody>;

    /// The body is complete.
    fn end(&mut self) -> Result<(), BadBody>;
}

impl BodySink for SecretBytes {
    fn begin(&mut self, announced: usize) {
        *self = Self::with_capacity(announced);
    }

    fn write(&mut self, piece: Bytes) -> Result<(), BadBody> {
        self.extend_from_slice(&piece);
        wipe(piece);
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadBody> {
        Ok(())
    }
}

/// A 2xx answer as a whole.
pub(crate) struct Answer {
    pub(crate) endpoint: String,
    pub(crate) body: SecretBytes,
}

impl Answer {
    /// Succeeds if the body is empty or JSON, as stores answer a request that returns nothing. The
    /// page of a proxy is neither.
    pub(crate) fn is_empty_or_json<R: Refusal>(&self) -> Result<(), Fault<R>> {
        if self.body.expose().is_empty() {
            return Ok(());
        }
        from_json::<IgnoredAny>(self.body.expose())
            .map(drop)
            .map_err(|bad| Fault::bad_answer(&self.endpoint, bad))
    }
}
