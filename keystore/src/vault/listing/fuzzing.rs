//! The parser of listings for the fuzz targets.

use bytes::Bytes;

use super::names::NameParser;
use crate::remote::BodySink as _;

/// The names in a listing that comes in pieces of this length; `None` if it is refused.
pub fn names(body: &[u8], piece: usize) -> Option<Vec<String>> {
    let mut names = NameParser::new(Vec::new());
    names.begin(body.len());
    for piece in body.chunks(piece) {
        names.write(Bytes::copy_from_slice(piece)).ok()?;
    }
    names.end().ok()?;
    Some(names.into_sink())
}
