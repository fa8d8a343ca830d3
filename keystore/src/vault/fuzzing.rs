//! Parsers of Vault's answers for the fuzz targets, which are another crate.

use http::StatusCode;

use super::fault::Refusal;
pub use super::listing::fuzzing::names;
use crate::remote::{self, Refusal as _};

/// The log's text of a refusal with this body, without the secret of the request.
pub fn refusal(body: &[u8], secret: &str) -> String {
    Refusal::parse(body, Some(secret)).describe("https://vault.example:8200", StatusCode::FORBIDDEN)
}

/// A text of a server as one line for the log, without the secret of the request.
pub fn one_line(text: &str, secret: &str) -> String {
    remote::one_line(text, Some(secret))
}

/// The text at a path of field names, if there is one; `None` if the body is refused.
pub fn text_at(body: &[u8], path: &[&str]) -> Option<Option<String>> {
    let text = remote::text_at(body, path).ok()?;
    Some(text.map(|text| text.as_str().to_owned()))
}
