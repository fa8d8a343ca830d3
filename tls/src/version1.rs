//! Certificates of X.509 version 1, for a library that only reads version 3.
//!
//! A certificate of version 1 has the fields of version 3 without the version and the extensions
//! (RFC 5280, 4.1). It is rewritten here as version 3, so that the library builds and checks its
//! chain like any other. Its signature is verified over the original bytes, which the CA signed.

use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, Tagged, asn1::AnyRef};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};

/// A certificate of version 1, rewritten as version 3.
pub(crate) struct Version1<'a> {
    /// What the CA signed.
    signed: &'a [u8],
    /// The rewritten certificate.
    rewritten: Vec<u8>,
    as_version3: CertificateDer<'static>,
}

impl<'a> Version1<'a> {
    /// `None` for another version, and if it is not a certificate.
    pub(crate) fn of(certificate: &'a [u8]) -> Option<Self> {
        Self::parse(certificate).ok()
    }

    fn parse(certificate: &'a [u8]) -> der::Result<Self> {
        /// `[0] INTEGER 2`, which is version 3.
        const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];

        let whole = AnyRef::from_der(certificate)?;
        whole.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(whole.value())?;
        let signed = reader.tlv_bytes()?;
        let algorithm = reader.tlv_bytes()?;
        let signature = reader.tlv_bytes()?;
        reader.finish()?;

        let tbs = AnyRef::from_der(signed)?;
        tbs.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(tbs.value())?;
        // The serial number comes first, because version 1 has no version field.
        AnyRef::decode(&mut fields)?.tag().assert_eq(Tag::Integer)?;
        // Algorithm, issuer, validity, subject, public key; and nothing after them.
        for _ in 0..5 {
            AnyRef::decode(&mut fields)?.tag().assert_eq(Tag::Sequence)?;
        }
        fields.finish()?;

        let rewritten = sequence(&[&VERSION_3, tbs.value()]);
        let as_version3 = sequence(&[&rewritten, algorithm, signature]).into();
        Ok(Self { signed, rewritten, as_version3 })
    }

    pub(crate) fn as_version3(&self) -> &CertificateDer<'static> {
        &self.as_version3
    }
}

/// A DER SEQUENCE of parts in DER.
fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let digits = len.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
    let mut out = Vec::with_capacity(len + 10);
    out.push(0x30);
    match digits {
        [] => out.push(0),
        [short @ 0..=0x7f] => out.push(*short),
        digits => {
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend_from_slice(digits);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A signature algorithm that verifies the signature of a rewritten certificate over the original
/// bytes, and every other signature as usual.
#[derive(Debug)]
pub(crate) struct WithVersion1<'a> {
    inner: &'static dyn SignatureVerificationAlgorithm,
    signed: &'a [u8],
    rewritten: &'a [u8],
}

impl<'a> WithVersion1<'a> {
    pub(crate) fn new(
        inner: &'static dyn SignatureVerificationAlgorithm,
        certificate: &'a Version1<'_>,
    ) -> Self {
        Self { inner, signed: certificate.signed, rewritten: &certificate.rewritten }
    }
}

impl SignatureVerificationAlgorithm for WithVersion1<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let message = if message == self.rewritten { self.signed } else { message };
        self.inner.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_all_their_forms() {
        for (len, header) in [
            (0, &[0x30, 0][..]),
            (0x7f, &[0x30, 0x7f]),
            (0x80, &[0x30, 0x81, 0x80]),
            (0x100, &[0x30, 0x82, 1, 0]),
            (0x1_0000, &[0x30, 0x83, 1, 0, 0]),
        ] {
            let out = sequence(&[&vec![7; len]]);
            assert_eq!(&out[..header.len()], header);
            assert_eq!(out.len(), header.len() + len);
        }
    }

    #[test]
    fn what_is_not_of_version_1_is_left_alone() {
        let null = [5, 0];
        let field = sequence(&[]);
        let serial: &[u8] = &[2, 1, 1];
        let fields = [serial, &field, &field, &field, &field, &field];
        let certificate = |tbs: &[&[u8]]| sequence(&[&sequence(tbs), &field, &[3, 1, 0]]);
        assert!(Version1::of(&certificate(&fields)).is_some());
        // With a version, even that of version 1, which DER leaves out.
        for version in 0..3 {
            let version: &[u8] = &[0xa0, 3, 2, 1, version];
            assert!(Version1::of(&certificate(&[&[version][..], &fields].concat())).is_none());
        }
        // With extensions, a unique identifier or anything else behind the key.
        for more in [&[0xa3, 2, 0x30, 0][..], &[0x81, 1, 0], &null] {
            assert!(Version1::of(&certificate(&[&fields[..], &[more]].concat())).is_none());
        }
        assert!(Version1::of(&certificate(&fields[..5])).is_none());
        let mut longer = certificate(&fields);
        longer.push(0);
        assert!(Version1::of(&longer).is_none());
    }
}
