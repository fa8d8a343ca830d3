//! Request and response bodies. They may contain keys and plaintexts, so each is in a buffer that is
//! wiped.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::endpoints::Endpoint;
use crate::error::Error;

/// How long an answer may take, from the first byte sent to the last received. The server's own
/// deadline is 15 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes. A page of a listing has less than 1 MiB, and the
/// answer to the largest request not much more. No key server sends more.
const MAX_RESPONSE_LEN: usize = 4 * 1024 * 1024;

/// Makes a JSON body.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut body = SecretBytes::with_capacity(1024); // most requests are smaller
    serde_json::to_writer(&mut body, value).expect("bodies of requests are JSON");
    Bytes::from_owner(body)
}

/// Reads the body of an answer, up to a limit. A server that refuses a request before it has read
/// all of it may reset the stream or the connection after its answer. So the body of a refusal may
/// be incomplete: the status alone says what became of the request.
pub(crate) async fn read(
    endpoint: &Endpoint,
    response: Response<Incoming>,
    deadline: Instant,
) -> Result<SecretBytes, Error> {
    let too_large =
        || Error::protocol(endpoint, format!("its answer is larger than {MAX_RESPONSE_LEN} bytes"));
    let is_refusal = response.status() != StatusCode::OK;
    let mut stream = response.into_body();
    let announced = stream.size_hint().exact().unwrap_or(0);
    let announced = usize::try_from(announced).map_err(|_| too_large())?;
    if announced > MAX_RESPONSE_LEN {
        return Err(too_large());
    }
    let mut body = SecretBytes::with_capacity(announced);
    loop {
        let chunk = match timeout_at(deadline, chunk(&mut stream)).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) if is_refusal => break,
            Ok(Err(error)) => return Err(Error::transport(endpoint, &error)),
            Err(_) => return Err(Error::timeout(endpoint, TIMEOUT)),
        };
        body.absorb(chunk, MAX_RESPONSE_LEN).map_err(|_| too_large())?;
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
