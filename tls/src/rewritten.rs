//! Certificates that are rewritten for a library that refuses their original form.
//!
//! The library builds and verifies the chain of the rewritten certificate like any other:
//! signatures, dates, CA flags, path lengths, extended key usage and name constraints. Only the
//! signature of the rewritten certificate itself is verified over the original bytes, which the CA
//! signed.

use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, Tagged};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};

/// A rewritten certificate.
pub(crate) struct Rewritten<'a> {
    /// What the CA signed.
    signed: &'a [u8],
    /// The same, rewritten.
    shown: Vec<u8>,
    certificate: CertificateDer<'static>,
}

impl Rewritten<'_> {
    /// The certificate that the library gets.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signature algorithms that verify the signature of this certificate over the original bytes,
    /// and every other signature as usual.
    pub(crate) fn algorithms(
        &self,
        all: &[&'static dyn SignatureVerificationAlgorithm],
    ) -> Vec<OverSigned<'_>> {
        let over = |inner: &&'static dyn SignatureVerificationAlgorithm| OverSigned {
            inner: *inner,
            signed: self.signed,
            shown: &self.shown,
        };
        all.iter().map(over).collect()
    }
}

/// The three parts of a certificate, as DER.
pub(crate) struct Parts<'a> {
    /// What the CA signs.
    pub(crate) signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn of(certificate: &'a [u8]) -> der::Result<Self> {
        let whole = AnyRef::from_der(certificate)?;
        whole.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(whole.value())?;
        let signed = reader.tlv_bytes()?;
        let algorithm = reader.tlv_bytes()?;
        let signature = reader.tlv_bytes()?;
        reader.finish()?;
        Ok(Self { signed, algorithm, signature })
    }

    /// The certificate with these bytes in place of those that the CA signed.
    pub(crate) fn rewritten(self, shown: Vec<u8>) -> Rewritten<'a> {
        let certificate = sequence(&[&shown, self.algorithm, self.signature]).into();
        Rewritten { signed: self.signed, shown, certificate }
    }
}

/// A DER SEQUENCE of parts in DER.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    constructed(0x30, parts)
}

/// A constructed DER value with this tag, of parts in DER.
pub(crate) fn constructed(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let digits = len.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(zeros..).unwrap_or_default();
    let mut out = Vec::with_capacity(len + 10);
    out.push(tag);
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
pub(crate) struct OverSigned<'a> {
    inner: &'static dyn SignatureVerificationAlgorithm,
    signed: &'a [u8],
    shown: &'a [u8],
}

impl SignatureVerificationAlgorithm for OverSigned<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let message = if message == self.shown { self.signed } else { message };
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
}
