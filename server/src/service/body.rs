//! Request bodies: read up to a limit, and wiped after use. The rest of a body that was not used is
//! read and dropped, within limits, so that its client gets the answer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use kes_api::bytes::wipe;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::budget::{self, Reservation};
use super::context::RequestContext;
use super::error::Error;
use crate::transport::ActiveRequest;

/// How many bytes of an unused body are read and dropped: twice the largest body that a route
/// takes, so that a body that is somewhat too large is read to its end.
const MAX_UNUSED: u64 = 2 * 1024 * 1024;

/// How long that takes at most, as long as a head may take: some round trips on a slow network, in
/// which the answer arrives and the client stops sending. Each body uses a task and one of the
/// connection's streams for this long.
const UNUSED_TIME: Duration = Duration::from_secs(5);

/// The body of a request while it arrives.
pub(crate) struct Arriving {
    incoming: Incoming,
    /// Whether all of it was read, or the client broke off.
    has_ended: bool,
    /// Whether a handler waits for it.
    is_being_read: bool,
    /// The memory for it and for the answer, unless both are small.
    reservation: Option<Reservation>,
}

impl Arriving {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming, has_ended: false, is_being_read: false, reservation: None }
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

    /// The next piece of it; `None` at its end. If the client has not sent that yet, the memory for
    /// the bytes that are kept meanwhile is reserved.
    async fn next_piece(
        &mut self,
        body: &mut RequestBody,
        context: &RequestContext<'_>,
    ) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = if body.expose().is_empty() {
                self.incoming.frame().await
            } else if let Some(frame) = self.incoming.frame().now_or_never() {
                frame
            } else {
                self.reserve(budget::SMALL, context).await?;
                // A piece of the connection's buffer would keep all of that buffer.
                body.join(0, budget::SMALL);
                self.incoming.frame().await
            };
            match frame {
                None => {
                    self.has_ended = true;
                    return Ok(None);
                }
                Some(Err(_)) => {
                    self.has_ended = true;
                    return Err(Error::BodyIncomplete);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => return Ok(Some(piece)),
                    _ => {} // trailers, or nothing
                },
            }
        }
    }

    /// Reserves memory for the body, unless enough is reserved. Boxed: few bodies need it, and the
    /// future of each request would have its size.
    async fn reserve(&mut self, bytes: usize, context: &RequestContext<'_>) -> Result<(), Error> {
        if !self.reservation.as_ref().is_some_and(|reserved| reserved.covers(bytes)) {
            self.is_being_read = false;
            self.reservation = Some(Box::pin(context.reserve(bytes)).await?);
            self.is_being_read = true;
        }
        Ok(())
    }

    /// Reserves memory for the answer, unless the body has a reservation, which the answer takes
    /// over.
    pub(crate) async fn reserve_for_answer(
        &mut self,
        bytes: usize,
        context: &RequestContext<'_>,
    ) -> Result<(), Error> {
        if bytes > budget::SMALL && self.reservation.is_none() {
            self.reservation = Some(Box::pin(context.reserve(bytes)).await?);
        }
        Ok(())
    }

    /// The reservation, for the answer.
    pub(crate) fn take_reservation(&mut self) -> Option<Reservation> {
        self.reservation.take()
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
pub(crate) enum RequestBody {
    /// A small body that arrives whole is not copied.
    Whole(Bytes),
    Joined(SecretBytes),
}

impl RequestBody {
    /// Reads the body of a request, up to the limit of its route.
    pub(crate) async fn read(
        arriving: &mut Arriving,
        context: &RequestContext<'_>,
    ) -> Result<Self, Error> {
        arriving.is_being_read = true;
        let body = Self::read_pieces(arriving, context).await;
        arriving.is_being_read = false;
        // The answer to a small body is small.
        arriving.reservation.take_if(|reservation| !reservation.is_large());
        body
    }

    async fn read_pieces(
        arriving: &mut Arriving,
        context: &RequestContext<'_>,
    ) -> Result<Self, Error> {
        let limit = usize::try_from(context.target.route.max_body).unwrap_or(usize::MAX);
        let announced = arriving.announced().and_then(|length| usize::try_from(length).ok());
        let most = announced.unwrap_or(limit).min(limit);
        let mut body = Self::Whole(Bytes::new());
        loop {
            let Some(piece) = arriving.next_piece(&mut body, context).await? else {
                return Ok(body);
            };
            let length = body.expose().len() + piece.len();
            if length > limit {
                wipe(piece);
                return Err(Error::BodyTooLarge);
            }
            let needed = most.max(length);
            if length > budget::SMALL
                && let Err(error) = arriving.reserve(needed, context).await
            {
                wipe(piece);
                return Err(error);
            }
            body.add(piece, needed);
        }
    }

    /// Adds a piece, which is dropped at once, so that the connection reads the next one into the
    /// same memory. The whole body will have at most `most` bytes.
    fn add(&mut self, piece: Bytes, most: usize) {
        if let Self::Whole(whole) = self
            && whole.is_empty()
        {
            *whole = piece;
            return;
        }
        self.join(piece.len(), most);
        if let Self::Joined(joined) = self {
            joined.extend_from_slice(&piece);
        }
        wipe(piece);
    }

    /// Gives the body memory of its own, with room for a piece. Memory that it had before is wiped.
    fn join(&mut self, piece: usize, most: usize) {
        let needed = self.expose().len() + piece;
        if let Self::Joined(joined) = self
            && needed <= joined.capacity()
        {
            return;
        }
        // As bytes arrive: a client that announces much and sends little costs little.
        let capacity = needed.saturating_mul(2).min(most.max(needed));
        let mut joined = SecretBytes::with_capacity(capacity);
        joined.extend_from_slice(self.expose());
        *self = Self::Joined(joined);
    }

    /// The bytes.
    pub(crate) fn expose(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Joined(bytes) => bytes.expose(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Self::Whole(bytes) = self {
            wipe(std::mem::take(bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(body: &RequestBody) -> usize {
        let RequestBody::Joined(joined) = body else { return 0 };
        joined.capacity()
    }

    #[test]
    fn memory_is_taken_as_bytes_come() {
        const MOST: usize = 1_000_000;
        for piece in [1, 100, 16 * 1024] {
            let mut body = RequestBody::Whole(Bytes::new());
            body.add(vec![1; piece].into(), MOST);
            assert_eq!(capacity(&body), 0, "the first piece is not copied");
            for number in 2..=MOST / piece.max(100) {
                body.add(vec![1; piece].into(), MOST);
                let length = body.expose().len();
                assert_eq!(length, number * piece);
                assert!(capacity(&body) <= (2 * length).min(MOST), "{length}");
            }
            assert!(body.expose().iter().all(|byte| *byte == 1));
        }
    }

    #[test]
    fn a_piece_that_has_to_wait_does_not_keep_the_buffer_of_its_connection() {
        let buffer = Bytes::from(vec![1; 16 * 1024]);
        let mut body = RequestBody::Whole(Bytes::new());
        body.add(buffer.slice(..10), 1_000_000);
        assert!(!buffer.is_unique());
        body.join(0, budget::SMALL);
        assert!(buffer.is_unique());
        assert_eq!(body.expose(), [1; 10]);
        assert!(capacity(&body) <= budget::SMALL);
    }
}
