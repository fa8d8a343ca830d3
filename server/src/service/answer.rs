//! Answers, and their form on the wire.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use kes_api::SecretBytes;
use kes_api::body::ErrorBody;
use kes_api::message::Message;
use serde::Serialize;

use super::budget::{self, Reservation};
use super::limits::Turn;
use crate::observe::logging::stream::Lines;
use crate::transport::{ActiveRequest, UntakenAnswer, fairness};

/// An answer: status, the few header fields that an answer can have, and content.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<HeaderValue>,
    /// Of a redirect.
    location: Option<HeaderValue>,
    /// The method of the route, in the answer to another method.
    allow: Option<&'static str>,
    /// After how many seconds the client may send the request again.
    retry_after: Option<NonZeroU32>,
    /// Whether the connection is closed after it; of HTTP/1.1 alone.
    closes: bool,
    payload: Payload,
    /// The turn of its request, until a stream ends. Boxed: few answers have one.
    turn: Option<Box<Turn>>,
}

/// What an answer says.
enum Payload {
    Empty,
    Static(&'static [u8]),
    Text(Vec<u8>),
    /// A text that other answers may have as well.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Secret(SecretBytes),
    Lines(Lines),
}

/// The content of an answer, as it is sent.
pub(crate) enum Content {
    Whole(Bytes),
    /// The rest of a large answer, of which the client has to take each piece in time.
    Pieces {
        rest: Bytes,
        untaken: UntakenAnswer,
    },
    /// A stream, whose request is active until it ends.
    Lines {
        lines: Lines,
        _request: ActiveRequest,
        _turn: Option<Box<Turn>>,
    },
}

/// The largest piece of an answer that is sent at once. A client that takes as much within the time
/// for an answer can take its time with the rest.
const PIECE: usize = 64 * 1024;

/// The largest answer that is sent at once on a connection that several clients share. A proxy takes
/// as much of each answer whatever its client does, since RFC 9113 (6.5.2) has a window of 64 KiB.
const SHARED_PIECE: usize = budget::SMALL;

/// The bytes of an answer until the client has taken them, or gone away.
struct Sending {
    payload: Payload,
    _reservation: Option<Reservation>,
    /// `None` for a large answer, whose pieces have their own.
    _untaken: Option<UntakenAnswer>,
}

/// A piece of a large answer, until the client has taken it.
struct Piece {
    bytes: Bytes,
    _untaken: UntakenAnswer,
}

impl Answer {
    fn new(status: StatusCode, content_type: Option<HeaderValue>, payload: Payload) -> Self {
        let (location, allow, retry_after, closes) = (None, None, None, false);
        Self { status, content_type, location, allow, retry_after, closes, payload, turn: None }
    }

    fn ok(content_type: HeaderValue, payload: Payload) -> Self {
        Self::new(StatusCode::OK, Some(content_type), payload)
    }

    /// Makes an answer of `len` bytes that an operation returned. If they are many, other
    /// connections run first.
    pub(crate) async fn encode(len: usize, encode: impl FnOnce() -> Self) -> Self {
        fairness::yield_after(len).await;
        encode()
    }

    /// 200 without content.
    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::OK, None, Payload::Empty)
    }

    /// 200 with JSON.
    #[expect(clippy::expect_used, reason = "maps with text keys are JSON")]
    pub(crate) fn json(body: &impl Serialize) -> Self {
        let mut text = serde_json::to_vec(body).expect("maps with text keys are JSON");
        text.push(b'\n');
        Self::json_text(text)
    }

    /// 200 with encoded JSON.
    pub(crate) fn json_text(text: Vec<u8>) -> Self {
        Self::ok(JSON, Payload::Text(text))
    }

    /// 200 with encoded JSON that other answers may have as well.
    pub(crate) fn shared_json(text: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self::ok(JSON, Payload::Shared(text))
    }

    /// 200 with encoded JSON that may hold a plaintext. It is wiped after it was sent.
    pub(crate) fn secret_json(body: SecretBytes) -> Self {
        Self::ok(JSON, Payload::Secret(body))
    }

    /// 200 with a text of another type.
    pub(crate) fn text(content_type: &'static str, text: String) -> Self {
        Self::ok(HeaderValue::from_static(content_type), Payload::Text(text.into_bytes()))
    }

    /// 200 with a stream of lines.
    pub(crate) fn lines(lines: Lines) -> Self {
        Self::ok(HeaderValue::from_static("application/x-ndjson"), Payload::Lines(lines))
    }

    /// An error, in the contract's form.
    pub(crate) fn refusal(message: &Message) -> Self {
        let body = ErrorBody { message: message.text.to_string() };
        let status = StatusCode::from_u16(message.status);
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), ..Self::json(&body) }
    }

    /// The same, with the method of the route.
    pub(crate) fn with_method(self, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..self }
    }

    /// The same, with the time after which the client may try again.
    pub(crate) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        let seconds = retry_after.and_then(|time| u32::try_from(time.as_secs()).ok());
        Self { retry_after: seconds.and_then(NonZeroU32::new), ..self }
    }

    /// The same, and the connection is closed after it.
    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// 307 to another path.
    pub(crate) fn redirect(location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => Self {
                status: StatusCode::TEMPORARY_REDIRECT,
                location: Some(location),
                ..Self::empty()
            },
            Err(_) => Self::not_found(),
        }
    }

    /// 404 for a path without a route.
    pub(crate) fn not_found() -> Self {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = Payload::Static(b"404 page not found\n");
        Self::new(StatusCode::NOT_FOUND, Some(text), body)
    }

    /// The same, with the turn of its request: the request goes on as long as a stream does. It ends
    /// with any other answer.
    pub(crate) fn keeping(self, turn: Option<Turn>) -> Self {
        let turn = turn.filter(|_| matches!(self.payload, Payload::Lines(_)));
        Self { turn: turn.map(Box::new), ..self }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.payload.as_ref().len()
    }

    /// The response. `headers` are those of the request: their memory is used again. Until the
    /// client has taken it, the reservation stays.
    pub(crate) fn into_response(
        self,
        mut headers: HeaderMap,
        is_head: bool,
        request: ActiveRequest,
        reservation: Option<Reservation>,
    ) -> Response<Content> {
        headers.clear();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        if let Some(allow) = self.allow {
            headers.insert(ACCEPT, HeaderValue::from_static(allow));
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, retry_after.get().into());
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let content = match self.payload {
            // The answer to HEAD has the usual headers and no content (RFC 9110, 9.3.2). Over
            // HTTP/2 hyper would send the content, and the client would close the connection.
            Payload::Lines(_) if is_head => Content::Whole(Bytes::new()),
            payload if is_head => {
                headers.insert(CONTENT_LENGTH, payload.as_ref().len().into());
                Content::Whole(Bytes::new())
            }
            Payload::Lines(mut lines) => {
                lines.limit_wait(request.pieces());
                Content::Lines { lines, _request: request, _turn: self.turn }
            }
            Payload::Empty => Content::Whole(Bytes::new()),
            // The answer is complete: a client that does not take it is idle.
            payload => Content::of(payload, &request, reservation),
        };
        let mut response = Response::new(content);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

impl Content {
    /// The content of another server's answer.
    pub(crate) fn passed_on(bytes: Bytes, request: &ActiveRequest) -> Self {
        Self::of(Payload::Shared(Arc::new(bytes)), request, None)
    }

    fn of(payload: Payload, request: &ActiveRequest, reservation: Option<Reservation>) -> Self {
        let largest = if request.shares_connection() { SHARED_PIECE } else { PIECE };
        if payload.as_ref().len() <= largest {
            let _untaken = Some(request.begin_answer());
            let sending = Sending { payload, _reservation: reservation, _untaken };
            return Self::Whole(Bytes::from_owner(sending));
        }
        let sending = Sending { payload, _reservation: reservation, _untaken: None };
        Self::Pieces { rest: Bytes::from_owner(sending), untaken: request.begin_piece() }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Empty | Self::Lines(_) => &[],
            Self::Static(bytes) => bytes,
            Self::Text(bytes) => bytes,
            Self::Shared(text) => (**text).as_ref(),
            Self::Secret(bytes) => bytes.expose(),
        }
    }
}

impl AsRef<[u8]> for Sending {
    fn as_ref(&self) -> &[u8] {
        self.payload.as_ref()
    }
}

/// A piece that the client has to take in time.
pub(crate) fn until_taken(bytes: Bytes, untaken: UntakenAnswer) -> Bytes {
    Bytes::from_owner(Piece { bytes, _untaken: untaken })
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces { rest, .. } if rest.is_empty() => Poll::Ready(None),
            Self::Pieces { rest, untaken } => {
                // The last byte is a piece of its own. Over HTTP/2 hyper hands a piece over when the
                // client's window has room for a byte of it, and the request ends with the last
                // one: then the client takes it whole.
                let bytes = rest.split_to((rest.len() - 1).clamp(1, PIECE));
                let piece = until_taken(bytes, untaken.next_piece());
                // The time of the rest begins anew.
                *untaken = untaken.next_piece();
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Self::Lines { lines, .. } => {
                lines.poll_next(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(rest) | Self::Pieces { rest, .. } if rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(rest) | Self::Pieces { rest, .. } => {
                SizeHint::with_exact(rest.len() as u64)
            }
            Self::Lines { .. } => SizeHint::default(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
