//! Why a request got no answer: the layers of the HTTP client only say that sending failed, and name
//! the URL.

use std::error::Error;

use super::tls;
use crate::files_hint;

/// Whether the TLS handshake failed because of a certificate. With TLS 1.3 a server refuses the
/// certificate of its client only after the handshake, in place of an answer.
pub(super) fn is_certificate(error: &reqwest::Error) -> bool {
    causes(error).any(tls::is_of_certificate)
}

/// The innermost cause, and what to do about it.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    if let Some(advice) = causes(error).find_map(tls::explain) {
        return advice;
    }
    let hint: String =
        causes(error).filter_map(|cause| cause.downcast_ref()).map(files_hint).collect();
    // The outermost text has the URL, of which a redirect may have named the path.
    let cause = causes(error).last().map_or_else(|| "it failed".to_owned(), ToString::to_string);
    format!("{cause}{hint}")
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
