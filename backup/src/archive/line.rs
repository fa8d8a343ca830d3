use std::borrow::Cow;

use kes_api::{Fingerprint, KeyName, SecretBytes};
use kes_keystore::{Record, Value};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Fault, Summary};

/// The most bytes of a line: a value has 64 KiB, and each byte may be an escape of six.
pub(crate) const MAX_LEN: usize = 6 * Value::MAX_LEN + 1024;

/// What the last line begins with, and no other.
const END: &[u8] = b"{\"keys\":";

/// A line behind the first.
pub(crate) enum Line {
    Key { name: KeyName, fingerprint: Fingerprint, value: Value },
    End(Summary),
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    fingerprint: String,
    value: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    fingerprint: Cow<'a, str>,
    /// Wiped by whoever takes it.
    value: String,
}

/// Writes the line of a key, without its line break.
pub(crate) fn write(
    name: &KeyName,
    fingerprint: Fingerprint,
    value: &Value,
) -> Result<SecretBytes, serde_json::Error> {
    let text = value.expose();
    // At full size for all but values with many escapes, which cost a second buffer.
    let mut line = SecretBytes::with_capacity(text.len() + 256);
    let fingerprint = fingerprint.to_string();
    serde_json::to_writer(&mut line, &Written { name: name.as_str(), fingerprint, value: text })?;
    Ok(line)
}

/// Parses a line behind the first.
pub(crate) fn parse(line: &[u8]) -> Result<Line, Fault> {
    if line.starts_with(END) {
        return serde_json::from_slice(line).map(Line::End).map_err(|_| Fault::Json);
    }
    // The parser's own message may have a part of the line.
    let Read { name, fingerprint, value } =
        serde_json::from_slice(line).map_err(|_| Fault::Json)?;
    let value = Value::new(value);
    let name = KeyName::parse(&name).map_err(|_| Fault::Name)?;
    let fingerprint = fingerprint.parse().map_err(|_| Fault::Json)?;
    Ok(Line::Key { name, fingerprint, value })
}

/// Makes sure that a value is a stored key with this fingerprint.
pub(crate) fn check(fingerprint: Fingerprint, value: &Value) -> Result<(), Fault> {
    let record = Record::decode(value).map_err(Fault::Value)?;
    let is_same = Fingerprint::new(record.key.fingerprint()) == fingerprint;
    if is_same { Ok(()) } else { Err(Fault::Fingerprint) }
}

/// Bytes as lower-case digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line as a text in memory that is wiped.
pub(crate) type Buffer = Zeroizing<Vec<u8>>;
