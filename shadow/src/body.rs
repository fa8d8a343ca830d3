use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use kes_api::SecretBytes;
use kes_api::bytes::wipe;
use tokio::time::timeout;

use crate::room::{Place, SMALL_BODY};

/// How much of a body is read and dropped that is not passed on. A client that gets its answer while
/// it still sends may lose it.
const MAX_UNUSED: u64 = 1_000_000;

/// How long that may take.
const UNUSED_TIME: Duration = Duration::from_secs(1);

/// A body that broke off.
pub(crate) struct Broken;

/// Reads a body, up to `max` bytes of it.
pub(crate) async fn read(
    mut incoming: Incoming,
    max: usize,
    place: &mut Place,
) -> Result<Bytes, Broken> {
    let mut body = SecretBytes::new(Vec::new());
    while body.expose().len() < max {
        let Some(frame) = incoming.frame().await else { return Ok(Bytes::from_owner(body)) };
        // What is no data are trailers.
        let Ok(mut piece) = frame.map_err(|_| Broken)?.into_data() else { continue };
        let room = max - body.expose().len();
        if body.expose().len() + piece.len() > SMALL_BODY {
            place.enlarge().await;
        }
        let rest = piece.split_off(piece.len().min(room));
        // It fits.
        let _ = body.absorb(piece, max);
        wipe(rest);
    }
    if !incoming.is_end_stream() {
        let _ = timeout(UNUSED_TIME, skip(incoming)).await;
    }
    Ok(Bytes::from_owner(body))
}

async fn skip(mut incoming: Incoming) {
    let mut length = 0;
    while length <= MAX_UNUSED {
        let Some(Ok(frame)) = incoming.frame().await else { return };
        if let Ok(piece) = frame.into_data() {
            length += piece.len() as u64;
            wipe(piece);
        }
    }
}
