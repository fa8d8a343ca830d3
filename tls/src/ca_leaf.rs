//! Certificates of servers that are marked as a CA's, for a library that accepts no such certificate
//! from a server.
//!
//! `openssl req -x509` and some CAs make them, and other TLS libraries only look at the CA flag of
//! issuers. Such a certificate is rewritten here without its basicConstraints (RFC 5280, 4.2.1.9),
//! which the last certificate of a chain does not need. Everything else stays in it, and the flags
//! and path lengths of its issuers are checked as usual.

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::rewritten::{Parts, Rewritten, constructed, sequence};

/// A certificate without its basicConstraints; `None` if it is not a certificate of version 3.
pub(crate) fn without_basic_constraints(certificate: &[u8]) -> Option<Rewritten<'_>> {
    rewrite(certificate).ok()
}

fn rewrite(certificate: &[u8]) -> der::Result<Rewritten<'_>> {
    const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };

    let parts = Parts::of(certificate)?;
    let tbs = AnyRef::from_der(parts.signed)?;
    tbs.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(tbs.value())?;
    let mut fields: Vec<&[u8]> = Vec::new();
    let mut extensions = None;
    while !reader.is_finished() {
        let field = reader.tlv_bytes()?;
        if AnyRef::from_der(field)?.tag() == EXTENSIONS {
            // The last field of all.
            reader.finish()?;
            extensions = Some(kept(field)?);
            break;
        }
        fields.push(field);
    }
    let extensions = extensions.ok_or_else(|| EXTENSIONS.value_error())?;
    fields.push(&extensions);
    let rewritten = sequence(&fields);
    Ok(parts.rewritten(rewritten))
}

/// All extensions but the basicConstraints.
fn kept(extensions: &[u8]) -> der::Result<Vec<u8>> {
    const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

    let list = AnyRef::from_der(AnyRef::from_der(extensions)?.value())?;
    list.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(list.value())?;
    let mut kept: Vec<&[u8]> = Vec::new();
    while !reader.is_finished() {
        let extension = reader.tlv_bytes()?;
        let mut content = SliceReader::new(AnyRef::from_der(extension)?.value())?;
        if ObjectIdentifier::decode(&mut content)? != BASIC_CONSTRAINTS {
            kept.push(extension);
        }
    }
    Ok(constructed(0xa3, &[&sequence(&kept)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An extension with this last arc below 2.5.29.
    fn extension(arc: u8) -> Vec<u8> {
        sequence(&[&[6, 3, 0x55, 0x1d, arc], &[4, 1, arc]])
    }

    #[test]
    fn one_extension_is_left_out_and_all_else_stays() {
        let certificate = |arcs: &[u8]| {
            let extensions: Vec<_> = arcs.iter().map(|arc| extension(*arc)).collect();
            let extensions: Vec<&[u8]> = extensions.iter().map(Vec::as_slice).collect();
            let extensions = constructed(0xa3, &[&sequence(&extensions)]);
            let tbs = sequence(&[&[0xa0, 3, 2, 1, 2], &[2, 1, 1], &sequence(&[]), &extensions]);
            sequence(&[&tbs, &sequence(&[]), &[3, 1, 0]])
        };
        let shown = |arcs: &[u8]| {
            let certificate = certificate(arcs);
            without_basic_constraints(&certificate).unwrap().certificate().to_vec()
        };
        assert_eq!(shown(&[17, 19, 37]), certificate(&[17, 37]));
        assert_eq!(shown(&[17, 37]), certificate(&[17, 37]));
        assert_eq!(shown(&[19]), certificate(&[]));
        let whole = certificate(&[17, 19]);
        for cut in 0..whole.len() {
            assert!(without_basic_constraints(&whole[..cut]).is_none(), "{cut}");
        }
        // Version 1 has no extensions.
        let tbs = sequence(&[&[2, 1, 1], &sequence(&[])]);
        let version1 = sequence(&[&tbs, &sequence(&[]), &[3, 1, 0]]);
        assert!(without_basic_constraints(&version1).is_none());
    }
}
