//! Where the body of an answer goes while it comes.

use bytes::Bytes;

use serde::de::IgnoredAny;

use super::body::{self, BadBody, Buffer};
use super::client::{Call, Client, Credentials};
use super::fault::Fault;
use super::session::Session;

/// What takes the body of a 2xx answer in, piece by piece.
pub(super) trait Intake: Send {
    /// Makes ready for a body of so many bytes, zero if nobody has said how many. A request that
    /// is repeated begins again, whatever came before.
    fn begin(&mut self, announced: usize);

    /// Takes a piece in.
    fn take(&mut self, piece: Bytes) -> Result<(), BadBody>;

    /// Nothing more comes.
    fn end(&mut self) -> Result<(), BadBody>;
}

impl Intake for Buffer {
    fn begin(&mut self, announced: usize) {
        *self = Self::with_capacity(announced);
    }

    fn take(&mut self, piece: Bytes) -> Result<(), BadBody> {
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
    /// Whether Vault may have sent this where it has nothing to say: the page of a proxy is no
    /// answer of Vault.
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
