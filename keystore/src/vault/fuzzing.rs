//! Parsers of Vault's answers for the fuzz targets, which are another crate.

use http::StatusCode;

use super::fault::Refusal;
pub use super::listing::fuzzing::names;
use crate::remote::{self, Refusal as _};

/// The log's text of a refusal with this body, to a request with a role of this name.
pub fn refusal(body: &[u8], role: Option<&str>) -> String {
    Refusal::parse(body, role).describe("https://vault.example:8200", StatusCode::FORBIDDEN)
}

/// Whether a text is a part of what Vault is known to say.
pub fn is_known(text: &str) -> bool {
    super::fault::KNOWN.iter().any(|words| words.contains(text))
}

/// The text at a path of field names, if there is one; `None` if the body is refused.
pub fn text_at(body: &[u8], path: &[&str]) -> Option<Option<String>> {
    let text = remote::text_at(body, path).ok()?;
    Some(text.map(|text| text.as_str().to_owned()))
}
