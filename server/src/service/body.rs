//! Request bodies: read up to a limit, and wiped after use. What nobody wanted of one is read
//! and dropped for a while, so that its sender gets its answer.

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

use crate::service::error::Error;
use crate::transport::idle::ActiveRequest;

/// How much of a body that nobody wants is read and dropped, in bytes: twice the largest body that
/// a route takes, so that one that is somewhat too large ends by itself.
const MAX_UNWANTED: u64 = 2 * 1024 * 1024;

/// How long that takes at most: some round trips, for an answer to arrive and for the client to
/// stop sending. Each body keeps a task and one of its connection's streams busy for as long.
const UNWANTED_TIME: Duration = Duration::from_secs(2);

/// The body of a request while it arrives.
pub(crate) struct Arriving {
    incoming: Incoming,
    /// Whether all of it was read, or it broke off.
    has_ended: bool,
}

impl Arriving {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming, has_ended: false }
    }

    /// Its length in bytes, where the client told it.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// Whether the client may be sending it still. A request whose body was read does not ask
    /// the connection for it.
    pub(crate) fn is_unread(&self) -> bool {
        !self.has_ended && !self.incoming.is_end_stream()
    }

    /// Reads what is left of it after its request was refused, for a while.
    ///
    /// To drop it would reset its HTTP/2 stream right behind the answer. A client that is still
    /// sending then (curl 7.88 as Debian 12 has it) finds the stream reset before it has looked
    /// at the answer, and loses it. Over HTTP/1.1 the connection would be closed, and could not
    /// be used for the next request.
    pub(crate) fn drain_after_refusal(mut self, head: &Parts, in_request: ActiveRequest) {
        if self.may_never_come(head) {
            return;
        }
        let is_h2 = head.version == Version::HTTP_2;
        tokio::spawn(async move {
            let _in_request = in_request;
            let end = Instant::now() + UNWANTED_TIME;
            let ended = timeout_at(end, self.skip(MAX_UNWANTED)).await;
            // A client that sends without a pause has not read its answer yet. It has to once its
            // HTTP/2 window is used up, which is not opened any more.
            if is_h2 && ended == Ok(false) {
                sleep_until(end).await;
            }
        });
    }

    /// Reads what is left of it before its request is answered with a success, for a while. A
    /// client goes on sending after such an answer, and the same curl waits for ever once its
    /// HTTP/2 window is used up: it does not read any more.
    pub(crate) async fn drain_before_success(&mut self, head: &Parts) {
        if !self.may_never_come(head) {
            let _ = timeout(UNWANTED_TIME, self.skip(MAX_UNWANTED)).await;
        }
    }

    /// Whether the client waits for `100 Continue`. Who is told something else over HTTP/1.1 may
    /// send its body then or not, so that the connection has to be closed.
    fn may_never_come(&self, head: &Parts) -> bool {
        head.version != Version::HTTP_2 && head.headers.contains_key(EXPECT)
    }

    /// Reads and drops at most so many bytes; whether the body has ended then.
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

/// What arrives in one piece is not copied.
enum Pieces {
    One(Bytes),
    Joined(SecretBytes),
}

impl RequestBody {
    /// Reads a body of at most `limit` bytes. What is over the limit is not kept.
    pub(crate) async fn read(arriving: &mut Arriving, limit: u64) -> Result<Self, Error> {
        let Arriving { incoming, has_ended } = arriving;
        let announced = incoming.size_hint().lower().min(limit);
        // Most bodies arrive in one piece, which stays where it is.
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
