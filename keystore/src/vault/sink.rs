//! Where the body of an answer goes while it arrives.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::body::{self, BadBody, Buffer};
use super::client::{Call, Client, Credentials};
use super::fault::Fault;
use super::session::Session;

/// Receives the body of a 2xx answer, piece by piece.
pub(super) trait BodySink: Send {
    /// Prepares for a body of so many bytes, or of unknown length if `announced` is zero. A
    /// request that is repeated begins again, and the sink discards what it has received.
    fn begin(&mut self, announced: usize);

    /// Receives a piece.
    fn write(&mut self, piece: Bytes) -> Result<(), BadBody>;

    /// The body is complete.
    fn end(&mut self) -> Result<(), BadBody>;
}

impl BodySink for Buffer {
    fn begin(&mut self, announced: usize) {
        *self = Self::with_capacity(announced);
    }

    fn write(&mut self, piece: Bytes) -> Result<(), BadBody> {
        self.absorb(piece);
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadBody> {
        Ok(())
    }
}

/// A 2xx answer as a whole.
pub(super) struct Answer {
    pub(super) endpoint: String,
    pub(super) body: Buffer,
}

impl Client {
    /// As [`Client::send_into`], for an answer that fits in memory.
    pub(super) async fn send(&self, call: &Call, who: Credentials<'_>) -> Result<Answer, Fault> {
        let mut body = Buffer::default();
        let endpoint = self.send_into(call, who, &mut body).await?;
        Ok(Answer { endpoint, body })
    }
}

impl Answer {
    /// Succeeds if this can be the answer of Vault to a request that returns nothing: the page of a
    /// proxy cannot.
    pub(super) fn is_vaults(&self) -> Result<(), Fault> {
        if self.body.as_slice().is_empty() {
            return Ok(());
        }
        body::from_json::<IgnoredAny>(self.body.as_slice())
            .map(drop)
            .map_err(|bad| Fault::bad_answer(&self.endpoint, bad))
    }
}

impl Session {
    /// As [`Session::call_into`], for an answer that fits in memory.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, Fault> {
        let mut body = Buffer::default();
        let endpoint = self.call_into(call, &mut body).await?;
        Ok(Answer { endpoint, body })
    }

    /// As [`Session::try_call_into`], for an answer that fits in memory.
    pub(super) async fn try_call(&self, call: &Call) -> Result<Answer, Fault> {
        let mut body = Buffer::default();
        let endpoint = self.try_call_into(call, &mut body).await?;
        Ok(Answer { endpoint, body })
    }
}
