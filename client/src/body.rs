//! Bodies that are sent and received. They may hold keys and plaintexts, so each lives in one
//! buffer that is wiped.

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
use crate::transport::TIMEOUT;

/// The largest answer that is read, in bytes. A page of a listing has less than 1 MiB, the
/// answer to the largest request not much more than that; beyond stands no key server.
const MAX_RESPONSE_LEN: usize = 4 * 1024 * 1024;

/// A JSON body. `bytes_len` is how many bytes the byte strings in it have: the buffer gets its
/// full size at once, as one that grows leaves an unwiped copy behind.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T, bytes_len: usize, items: usize) -> Bytes {
    // Base64 makes four characters of three bytes; the names of the fields are short.
    let capacity = bytes_len.div_ceil(3) * 4 + items * 128 + 128;
    let mut buffer = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *buffer, value).expect("bodies of requests are JSON");
    Bytes::from_owner(SecretBytes::new(std::mem::take(&mut *buffer)))
}

/// The body of an answer, as long as it is not too large. A server that refuses a request before it
/// has read it may reset the stream or the connection behind its answer: of a refusal what has
/// arrived counts, since the status alone says what became of the request.
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

/// The next bytes of a body; none at its end.
pub(crate) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        // What is no data is a trailer, which no answer of a key server has.
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Reads a JSON answer.
pub(crate) fn parse<T: DeserializeOwned>(endpoint: &Endpoint, body: &[u8]) -> Result<T, Error> {
    // The parser's words may hold a part of the body.
    serde_json::from_slice(body).map_err(|error| {
        Error::protocol(
            endpoint,
            format!("its answer is not the JSON that was expected (column {})", error.column()),
        )
    })
}

/// Appends, and wipes the buffer that is left behind when it grows.
fn append(body: &mut Vec<u8>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Vec::with_capacity((body.len() + chunk.len()) * 2);
        larger.extend_from_slice(body);
        body.zeroize();
        *body = larger;
    }
    body.extend_from_slice(chunk);
}
