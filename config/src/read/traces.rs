use std::collections::HashMap;

use kes_keystore::config::SecretText;
use url::Url;

use super::{exposure, path, secret};
use crate::Traces;
use crate::bounds::{HEADER_VALUE, WEB_SCHEMES};
use crate::value::{AlreadyReported, Text, Value};

/// More headers than any collector wants.
const MAX_HEADERS: usize = 32;

/// Headers that belong to the message itself (RFC 9110, RFC 9112).
const OWN: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads the section; `None` without it.
pub(super) fn read(value: &Value<'_>) -> Result<Option<Traces>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("traces")?;
    let endpoint_field = section.take("endpoint");
    let endpoint = endpoint_field
        .required_or("is required, such as http://127.0.0.1:4318")
        .and_then(|text| Ok((endpoint(&text)?, text)));
    let headers = headers(&section.take("headers"));
    let ca_field = section.take("ca");
    let ca = ca_field.filled();
    let sample = sample(&section.take("sample"));
    section.end();
    let ((endpoint, text), ca) = (endpoint?, ca?);
    exposure::warn_of_plain_traces(&text, &endpoint);
    if ca.is_some() && endpoint.scheme() == "http" {
        ca_field.warn("has no effect: the endpoint does not begin with https://");
    }
    let ca = ca.as_ref().map(path);
    Ok(Some(Traces { endpoint, headers: headers?, ca, sample: sample? }))
}

/// No message shows the text: it may be a secret.
fn endpoint(text: &Text<'_>) -> Result<Url, AlreadyReported> {
    const EXPECTED: &str = "not a URL such as http://127.0.0.1:4318";
    let url = Url::parse(text.as_str()).map_err(|_| text.mistake(EXPECTED))?;
    if !WEB_SCHEMES.contains(&url.scheme()) || !text.as_str().contains("://") {
        return Err(text.mistake(format!("{EXPECTED}: it begins with https:// or http://")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(text.mistake(
            "user and password in the URL would not be used; set traces.headers.Authorization",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(text.mistake("what follows '?' or '#' would not be used; remove it"));
    }
    if url.port() == Some(4317) {
        text.warn(
            "4317 is the port of OTLP over gRPC; over HTTP, which is spoken here, it is 4318",
        );
    }
    Ok(url)
}

/// No message shows a value.
fn headers(value: &Value<'_>) -> Result<Vec<(String, SecretText)>, AlreadyReported> {
    let entries = value.entries("a map of headers, such as 'Authorization: …'")?;
    if entries.len() > MAX_HEADERS {
        return Err(value.mistake(format!("more than {MAX_HEADERS} headers")));
    }
    let mut lines = HashMap::new();
    let read: Vec<_> = entries
        .into_iter()
        .map(|(name, field)| {
            let name = name.to_ascii_lowercase();
            if let Some(line) = lines.insert(name.clone(), field.line) {
                return Err(field.mistake(format!("named twice, first in line {line}")));
            }
            Ok((header(&name, &field)?, secret(&header_value(&field)?)))
        })
        .collect();
    read.into_iter().collect()
}

/// A name of RFC 9110, 5.1.
fn header(name: &str, field: &Value<'_>) -> Result<String, AlreadyReported> {
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(of_a_token) {
        return Err(field.mistake("not the name of a header"));
    }
    if OWN.contains(&name) {
        return Err(field.mistake("is set by the server; remove it"));
    }
    Ok(name.to_owned())
}

fn header_value<'a>(field: &Value<'a>) -> Result<Text<'a>, AlreadyReported> {
    let text = field.required()?;
    if text.as_str().len() > HEADER_VALUE {
        return Err(text.mistake(format!("longer than {HEADER_VALUE} bytes")));
    }
    let is_valid = text.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_valid && text.as_str().trim() == text.as_str() {
        return Ok(text);
    }
    Err(text.mistake(
        "not the value of a header: it has a line break, a character that is not ASCII, or blanks \
         at an end",
    ))
}

/// The share of requests, from 0 to 1.
fn sample(value: &Value<'_>) -> Result<f64, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(Traces::SAMPLE) };
    let is_plain = text.as_str().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text.as_str().parse::<f64>() {
        Ok(share) if is_plain && share <= 1.0 => Ok(share),
        _ => Err(text.mistake(format!(
            "{} is not a share of requests; write a number from 0 to 1, such as 0.01",
            text.shown()
        ))),
    }
}
