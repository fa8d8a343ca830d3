//! Request and response bodies. They may contain keys and plaintexts, so each is in one buffer that
//! is wiped.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize, Zeroizing};

use crate::endpoints::Endpoint;
use crate::error::Error;

/// How long an answer may take, from the first byte sent to the last received. The server's own
/// deadline is 15 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes. A page of a listing has less than 1 MiB, and the
/// answer to the largest request not much more. No key server sends more.
const MAX_RESPONSE_LEN: usize = 4 * 1024 * 1024;

/// Makes a JSON body. `bytes_len` is the total length of the byte strings in it. The buffer is
/// allocated at full size, because one that grows leaves an unwiped copy behind.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T, bytes_len: usize, items: usize) -> Bytes {
    // Base64 encodes three bytes as four characters; the names of the fields are short.
    let capacity = bytes_len.div_ceil(3) * 4 + items * 128 + 128;
    let mut buffer = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *buffer, value).expect("bodies of requests are JSON");
    Bytes::from_owner(SecretBytes::new(std::mem::take(&mut *buffer)))
}

/// Reads the body of an answer, up to a limit. A server that refuses a request before it has read
/// all of it may reset the stream or the connection after its answer. So the body of a refusal may
/// be incomplete: the status alone says what became of the request.
pub(crate) async fn read(
    endpoint: &Endpoint,
    response: Response<Incoming>,
    deadline: Instant,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let too_large =
        || Error::protocol(endpoint, format!("its answer is larger than {MAX_RESPONSE_LEN} bytes"));
    let is_refusal = response.status() != StatusCode::OK;
    let mut stream = response.into_body();
    let announced = stream.size_hint().exact().unwrap_or(0);
    let announced = usize::try_from(announced).map_err(|_| too_large())?;
    if announced > MAX_RESPONSE_LEN {
        return Err(too_large());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced));
    loop {
        let chunk = match timeout_at(deadline, chunk(&mut stream)).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) if is_refusal => break,
            Ok(Err(error)) => return Err(Error::transport(endpoint, &error)),
            Err(_) => return Err(Error::timeout(endpoint, TIMEOUT)),
        };
        if body.len() + chunk.len() > MAX_RESPONSE_LEN {
            return Err(too_large());
        }
        append(&mut body, &chunk);
    }
    Ok(body)
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        // Anything that is not data is a trailer, which key servers do not send.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Parses a JSON answer.
pub(crate) fn parse<T: DeserializeOwned>(endpoint: &Endpoint, body: &[u8]) -> Result<T, Error> {
    // The parser's own error may contain a part of the body.
    serde_json::from_slice(body).map_err(|error| {
        Error::protocol(
            endpoint,
            format!("its answer is not the JSON that was expected (column {})", error.column()),
        )
    })
}

/// Appends bytes. If the buffer has to grow, the old one is wiped.
fn append(body: &mut Vec<u8>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.len() + chunk.len()) * 2);
        larger.extend_from_slice(body);
        body.zeroize();
        *body = larger;
    }
    body.extend_from_slice(chunk);
}
