//! Request bodies: read up to a limit, and wiped after use.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kes_api::SecretBytes;
use zeroize::Zeroize as _;

use crate::error::Error;

/// The body of a request. It may hold a key or a plaintext.
pub(crate) struct RequestBody(Pieces);

/// What arrives in one piece is not copied.
enum Pieces {
    One(Bytes),
    Joined(SecretBytes),
}

impl RequestBody {
    /// Reads a body of at most `limit` bytes. What is over the limit is not kept, and the rest
    /// of it not read.
    pub(crate) async fn read(mut incoming: Incoming, limit: u64) -> Result<Self, Error> {
        // Most bodies arrive in one piece, which takes no list.
        let mut first = Bytes::new();
        let mut more: Vec<Bytes> = Vec::new();
        let mut length = 0;
        let result = loop {
            match incoming.frame().await {
                None => break Ok(()),
                Some(Err(_)) => break Err(Error::BodyIncomplete),
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue }; // trailers
                    length += piece.len() as u64;
                    if length > limit {
                        wipe(piece);
                        break Err(Error::BodyTooLarge);
                    }
                    if first.is_empty() {
                        first = piece;
                    } else if !piece.is_empty() {
                        more.push(piece);
                    }
                }
            }
        };
        if result.is_ok() && more.is_empty() {
            return Ok(Self(Pieces::One(first)));
        }
        more.insert(0, first);
        let joined = result.map(|()| SecretBytes::new(more.concat()));
        more.into_iter().for_each(wipe);
        joined.map(|bytes| Self(Pieces::Joined(bytes)))
    }

    /// The bytes.
    pub(crate) fn expose(&self) -> &[u8] {
        match &self.0 {
            Pieces::One(bytes) => bytes,
            Pieces::Joined(bytes) => bytes.expose(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Pieces::One(bytes) = &mut self.0 {
            wipe(std::mem::take(bytes));
        }
    }
}

/// Wipes a piece whose memory nobody else holds. What shares a connection's read buffer is
/// overwritten by the requests that follow.
fn wipe(piece: Bytes) {
    if let Ok(mut piece) = piece.try_into_mut() {
        piece.as_mut().zeroize();
    }
}
