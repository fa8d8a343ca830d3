//! Names of certificates, for logs.

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use pkcs8::der::{self, Decode, Tag, TagNumber, Tagged};

use crate::certificate::elements;

/// Attributes of a name that have a short form (RFC 4514, 3; the last is that of `openssl`).
const SHORT: [(&str, &str); 8] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// How many characters of a subject are shown. Whoever made the certificate chose it.
const MAX_LEN: usize = 200;

/// The subject of a certificate, such as `CN=minio,O=Example`, in the order of the certificate.
/// `None` if it is not a certificate.
///
/// The text is for people: a long one is cut, and nothing in it is escaped.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let name = read(certificate).ok()?;
    let end = name.char_indices().nth(MAX_LEN);
    match end.and_then(|(end, _)| name.get(..end)) {
        Some(start) => Some(format!("{start}…")),
        None => Some(name),
    }
}

fn read(certificate: &[u8]) -> der::Result<String> {
    const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

    let missing = || der::Error::from(Tag::Sequence.value_error());
    let certificate = elements(AnyRef::from_der(certificate)?.value())?;
    let fields = elements(certificate.first().ok_or_else(missing)?.value())?;
    let version = usize::from(fields.first().is_some_and(|field| field.tag() == VERSION));
    // Serial number, algorithm, issuer, validity, subject.
    let subject = fields.get(version + 4).ok_or_else(missing)?;

    let mut text = String::new();
    for set in elements(subject.value())? {
        for attribute in elements(set.value())? {
            let parts = elements(attribute.value())?;
            let [kind, value] = parts.as_slice() else { return Err(missing()) };
            let kind = kind.decode_as::<ObjectIdentifier>()?.to_string();
            let short = SHORT.iter().find(|(id, _)| *id == kind).map(|(_, short)| *short);
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(short.unwrap_or(&kind));
            text.push('=');
            text.push_str(&string(value));
        }
    }
    Ok(text)
}

/// The text of a value of any string type.
fn string(value: &AnyRef<'_>) -> String {
    if value.tag() == Tag::BmpString {
        let (units, _) = value.value().as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        return String::from_utf16_lossy(&units);
    }
    String::from_utf8_lossy(value.value()).into_owned()
}
