//! Request bodies: read up to a limit, and wiped after use. The rest of a body that was not used is
//! read and dropped, within limits, so that its client gets the answer.

use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use zeroize::optimization_barrier;

use super::error::Error;
use crate::transport::ActiveRequest;

/// How many bytes of an unused body are read and dropped: twice the largest body that a route
/// takes, so that a body that is somewhat too large is read to its end.
const MAX_UNUSED: u64 = 2 * 1024 * 1024;

/// How long that takes at most: some round trips, in which the answer arrives and the client stops
/// sending. Each body uses a task and one of the connection's streams for this long.
const UNUSED_TIME: Duration = Duration::from_secs(2);

/// The body of a request while it arrives.
pub(crate) struct Arriving {
    incoming: Incoming,
    /// Whether all of it was read, or the client broke off.
    has_ended: bool,
    /// Whether a handler waits for it.
    is_being_read: bool,
}

impl Arriving {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming, has_ended: false, is_being_read: false }
    }

    /// Its length in bytes, if the client has announced it.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Whether a handler was waiting for it when it was dropped: the client was too slow.
    pub(crate) fn is_being_read(&self) -> bool {
        self.is_being_read
    }

    /// Whether the client may still be sending it. For a body that was read, the connection is not
    /// asked.
    pub(crate) fn is_unread(&self) -> bool {
        !self.has_ended && !self.incoming.is_end_stream()
    }

    /// Reads the rest of it after its request was refused, within limits.
    ///
    /// Dropping the body would reset its HTTP/2 stream right after the answer. A client that is
    /// still sending (curl 7.88 of Debian 12) then sees the reset before it has read the answer,
    /// and loses it. Over HTTP/1.1 the connection would be closed, and could not be used for the
    /// next request.
    pub(crate) fn drain_after_refusal(mut self, head: &Parts, in_request: ActiveRequest) {
        if self.may_never_come(head) {
            return;
        }
        let is_h2 = head.version == Version::HTTP_2;
        tokio::spawn(async move {
            let _in_request = in_request;
            let end = Instant::now() + UNUSED_TIME;
            let ended = timeout_at(end, self.skip(MAX_UNUSED)).await;
            // A client that sends without a pause has not read its answer yet. It will when its
            // HTTP/2 window is used up, which the server no longer opens.
            if is_h2 && ended == Ok(false) {
                sleep_until(end).await;
            }
        });
    }

    /// Reads the rest of it before its request is answered with a success, within limits. A client
    /// goes on sending after such an answer, and the same curl waits for ever when its HTTP/2
    /// window is used up.
    pub(crate) async fn drain_before_success(&mut self, head: &Parts) {
        if !self.may_never_come(head) {
            let _ = timeout(UNUSED_TIME, self.skip(MAX_UNUSED)).await;
        }
    }

    /// Whether the client waits for `100 Continue`. Over HTTP/1.1 a client that gets another answer
    /// may send its body or not, so the connection has to be closed.
    fn may_never_come(&self, head: &Parts) -> bool {
        head.version != Version::HTTP_2 && head.headers.contains_key(EXPECT)
    }

    /// Reads and drops at most `most` bytes; whether the body has ended then.
    async fn skip(&mut self, most: u64) -> bool {
        let mut length = 0;
        while length <= most {
            match self.incoming.frame().await {
                None | Some(Err(_)) => return true,
                Some(Ok(frame)) => {
                    let Ok(piece) = frame.into_data() else { continue }; // trailers
                    length += piece.len() as u64;
                    wipe(piece);
                }
            }
        }
        false
    }
}

/// The body of a request. It may hold a key or a plaintext.
pub(crate) struct RequestBody(Pieces);

/// A body that arrives in one piece is not copied.
enum Pieces {
    One(Bytes),
    Joined(SecretBytes),
}

impl RequestBody {
    /// Reads a body of at most `limit` bytes. Bytes over the limit are wiped.
    pub(crate) async fn read(arriving: &mut Arriving, limit: u64) -> Result<Self, Error> {
        arriving.is_being_read = true;
        let body = Self::read_pieces(arriving, limit).await;
        arriving.is_being_read = false;
        body
    }

    async fn read_pieces(arriving: &mut Arriving, limit: u64) -> Result<Self, Error> {
        let Arriving { incoming, has_ended, .. } = arriving;
        let announced = incoming.size_hint().lower().min(limit);
        // Most bodies arrive in one piece, which is not copied.
        let mut first = Bytes::new();
        let mut joined: Option<Buffer> = None;
        let mut length = 0;
        let result = loop {
            match incoming.frame().await {
                None => {
                    *has_ended = true;
                    break Ok(());
                }
                Some(Err(_)) => {
                    *has_ended = true;
                    break Err(Error::BodyIncomplete);
                }
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
                            // Each piece is dropped at once, so that the connection reads the
                            // next one into the same memory.
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

/// A buffer for pieces. When it grows, the old memory is wiped.
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

/// Wipes a piece that does not share its memory. A piece of the connection's read buffer is
/// overwritten by later requests.
fn wipe(piece: Bytes) {
    if let Ok(mut piece) = piece.try_into_mut() {
        piece.fill(0);
        optimization_barrier(piece.as_ref());
    }
}
