//! Request bodies: read up to a limit, and wiped after use.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use zeroize::optimization_barrier;

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
        let announced = incoming.size_hint().lower().min(limit);
        // Most bodies arrive in one piece, which stays where it is.
        let mut first = Bytes::new();
        let mut joined: Option<Buffer> = None;
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
                    match &mut joined {
                        Some(buffer) => buffer.absorb(piece),
                        None if first.is_empty() => first = piece,
                        None => {
                            // Each piece is given back at once: the connection reads the next
                            // one into the same memory.
                            let mut buffer = Buffer::with_capacity(announced);
                            buffer.absorb(std::mem::take(&mut first));
                            buffer.absorb(piece);
                            joined = Some(buffer);
                        }
                    }
                }
            }
        };
        let body = match joined {
            Some(buffer) => Self(Pieces::Joined(buffer.0)),
            None => Self(Pieces::One(first)),
        };
        result.map(|()| body)
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

/// Pieces as one. Where it has to grow it leaves nothing behind.
struct Buffer(SecretBytes);

impl Buffer {
    fn with_capacity(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or_default();
        Self(SecretBytes::new(Vec::with_capacity(capacity)))
    }

    fn absorb(&mut self, piece: Bytes) {
        let needed = self.0.expose().len() + piece.len();
        let mut bytes = std::mem::take(&mut self.0).into_inner();
        if needed > bytes.capacity() {
            let mut grown = Vec::with_capacity(needed.max(2 * bytes.len()));
            grown.extend_from_slice(&bytes);
            drop(SecretBytes::new(std::mem::replace(&mut bytes, grown)));
        }
        bytes.extend_from_slice(&piece);
        self.0 = SecretBytes::new(bytes);
        wipe(piece);
    }
}

/// Wipes a piece whose memory nobody else holds. What shares a connection's read buffer is
/// overwritten by the requests that follow.
fn wipe(piece: Bytes) {
    if let Ok(mut piece) = piece.try_into_mut() {
        piece.fill(0);
        optimization_barrier(piece.as_ref());
    }
}
