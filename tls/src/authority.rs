//! What a CA certificate says of itself (RFC 5280, 4.2.1).

use std::time::SystemTime;

use pkcs8::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::certificate::{Validity, elements, read_validity};

/// The restrictions of a CA certificate on what it may sign that webpki does not check.
#[derive(Debug)]
pub(crate) struct Rules {
    validity: Validity,
    /// Whether it is of version 3, in which an extension marks a CA.
    has_extensions: bool,
    is_ca: bool,
    /// How many CA certificates may stand between it and a client's.
    path_len: Option<usize>,
    /// `None` without the extension, which allows everything.
    key_usage_allows: bool,
    extended_key_usage_allows: bool,
}

impl Rules {
    pub(crate) fn of(certificate: &[u8]) -> der::Result<Self> {
        const VERSION: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
        const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };

        let certificate = elements(AnyRef::from_der(certificate)?.value())?;
        let tbs = certificate.first().ok_or_else(|| Tag::Sequence.value_error())?;
        let fields = elements(tbs.value())?;
        let version = usize::from(fields.first().is_some_and(|field| field.tag() == VERSION));
        // Serial number, algorithm, issuer, validity.
        let validity = fields.get(version + 3).ok_or_else(|| Tag::Sequence.value_error())?;
        let mut rules = Self {
            validity: read_validity(*validity)?,
            has_extensions: version == 1,
            is_ca: false,
            path_len: None,
            key_usage_allows: true,
            extended_key_usage_allows: true,
        };
        if let Some(extensions) = fields.iter().find(|field| field.tag() == EXTENSIONS) {
            for extension in elements(AnyRef::from_der(extensions.value())?.value())? {
                rules.read(extension)?;
            }
        }
        Ok(rules)
    }

    fn read(&mut self, extension: AnyRef<'_>) -> der::Result<()> {
        const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
        const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
        const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
        const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
        const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
        /// The bit `keyCertSign`, number 5 from the left.
        const KEY_CERT_SIGN: u8 = 0x80 >> 5;

        let mut reader = SliceReader::new(extension.value())?;
        let id = ObjectIdentifier::decode(&mut reader)?;
        Option::<bool>::decode(&mut reader)?; // critical
        let value = <&OctetStringRef>::decode(&mut reader)?.as_bytes();
        match id {
            BASIC_CONSTRAINTS => {
                let content = AnyRef::from_der(value)?;
                let mut content = SliceReader::new(content.value())?;
                self.is_ca = Option::<bool>::decode(&mut content)?.unwrap_or_default();
                // A value that exceeds a u16 counts as unlimited; webpki allows at most six anyway.
                if !content.is_finished() {
                    let len = u16::decode(&mut content)?;
                    self.path_len = Some(len.into());
                }
            }
            KEY_USAGE => {
                let bits = <BitStringRef<'_>>::from_der(value)?;
                let first = bits.raw_bytes().first().copied().unwrap_or_default();
                self.key_usage_allows = first & KEY_CERT_SIGN != 0;
            }
            EXTENDED_KEY_USAGE => {
                let mut allows = false;
                for usage in elements(AnyRef::from_der(value)?.value())? {
                    let usage: ObjectIdentifier = usage.decode_as()?;
                    allows |= usage == ANY || usage == CLIENT_AUTH;
                }
                self.extended_key_usage_allows = allows;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether its key may sign certificates. A certificate of version 1 has no extensions; if it
    /// is trusted, it is trusted as a CA.
    pub(crate) fn may_sign_certificates(&self) -> bool {
        (self.is_ca || !self.has_extensions) && self.key_usage_allows
    }

    /// Checks that it may be, as a trusted certificate, the root of a client's chain with this many
    /// CA certificates in between.
    pub(crate) fn allow(&self, below: usize, now: SystemTime) -> Result<(), webpki::Error> {
        if !self.may_sign_certificates() || now < self.validity.from || now > self.validity.until {
            Err(webpki::Error::UnknownIssuer)
        } else if self.path_len.is_some_and(|most| below > most) {
            Err(webpki::Error::PathLenConstraintViolated)
        } else if !self.extended_key_usage_allows {
            Err(webpki::Error::UnknownIssuer)
        } else {
            Ok(())
        }
    }
}
