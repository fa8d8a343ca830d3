use url::{ParseError, Url};

use crate::bounds::WEB_SCHEMES;
use crate::value::{AlreadyReported, Text, Value};

/// Reads URLs that are separated by commas.
pub(super) fn read(value: &Value<'_>) -> Result<Vec<Url>, AlreadyReported> {
    let Some(text) = value.text_or("one text; separate several endpoints with commas")? else {
        return Err(value.mistake("is required"));
    };
    let parts = text.as_str().split(',').map(str::trim).filter(|url| !url.is_empty());
    // Collected first, so that the mistakes of all are recorded.
    let urls: Vec<_> = parts.map(|url| endpoint(url, &text)).collect();
    let urls: Vec<_> = urls.into_iter().collect::<Result<_, _>>()?;
    if urls.is_empty() {
        value.required()?;
        return Err(text.mistake("is required"));
    }
    Ok(urls)
}

fn endpoint(written: &str, text: &Text<'_>) -> Result<Url, AlreadyReported> {
    let url = match Url::parse(written) {
        Ok(url) => url,
        Err(ParseError::RelativeUrlWithoutBase) => return Err(no_scheme(written, text)),
        Err(ParseError::InvalidPort) => {
            let hint = "invalid port; separate several endpoints with commas";
            return Err(text.mistake(format!("not a URL: {hint}")));
        }
        Err(error) => return Err(text.mistake(format!("not a URL: {error}"))),
    };
    // `vault:8200` is a URL of the scheme `vault`.
    if !written.contains("://") {
        return Err(no_scheme(written, text));
    }
    if !WEB_SCHEMES.contains(&url.scheme()) || url.host_str().is_none() {
        return Err(text.mistake("not a URL that begins with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(text.mistake("user and password in the URL would not be used"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(text.mistake("give host and port only: what follows '?' or '#' is not used"));
    }
    check_path(&url, text)?;
    Ok(url)
}

/// The message shows the text only if it is clearly a host and a port: it may be a secret.
fn no_scheme(written: &str, text: &Text<'_>) -> AlreadyReported {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let is_shown = text.variable().is_none()
        && written.chars().all(is_plain)
        && written.rsplit_once(':').is_some_and(|(_, port)| is_port(port));
    let shown = if is_shown { written } else { "127.0.0.1:8200" };
    text.mistake(format!("has no scheme; write it as https://{shown}"))
}

/// Allows a path, with a warning, since a proxy may serve Vault below one. Refuses `/v1`, which
/// people copy from the documentation of Vault's API: it is added to the path of every call anyway.
fn check_path(url: &Url, text: &Text<'_>) -> Result<(), AlreadyReported> {
    let mut segments = url.path().split('/').filter(|segment| !segment.is_empty()).peekable();
    if segments.peek().is_none() {
        return Ok(());
    }
    if segments.any(|segment| segment == "v1") {
        return Err(text.mistake("give host and port only: '/v1' is added to every call"));
    }
    text.warn(
        "its path is prepended to that of every call; give host and port only, \
         unless a proxy serves Vault below this path",
    );
    Ok(())
}
