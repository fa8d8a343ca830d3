use axum::body::Body;
use axum::response::Response;

use super::text;
use crate::error::Error;
use crate::logging::stream::Stream;

/// The lines of a log from now on, until the client or the server ends it.
pub(super) fn follow(log: &Stream) -> Result<Response, Error> {
    let lines = log.follow().ok_or(Error::TooManyStreams)?;
    Ok(text("application/x-ndjson", Body::new(lines)))
}
