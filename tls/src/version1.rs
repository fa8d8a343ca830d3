//! Certificates of X.509 version 1, for a library that only reads version 3.
//!
//! A certificate of version 1 has the fields of version 3 without the version and the extensions
//! (RFC 5280, 4.1). It is rewritten here as version 3.

use pkcs8::der::asn1::AnyRef;
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, Tagged};

use crate::rewritten::{Parts, Rewritten, sequence};

/// A certificate of version 1, rewritten as version 3; `None` for another version, and if it is not
/// a certificate.
pub(crate) fn as_version3(certificate: &[u8]) -> Option<Rewritten<'_>> {
    rewrite(certificate).ok()
}

fn rewrite(certificate: &[u8]) -> der::Result<Rewritten<'_>> {
    /// `[0] INTEGER 2`, which is version 3.
    const VERSION_3: [u8; 5] = [0xa0, 0x03, 0x02, 0x01, 0x02];

    let parts = Parts::of(certificate)?;
    let tbs = AnyRef::from_der(parts.signed)?;
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
    Ok(parts.rewritten(rewritten))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_version_1_is_left_alone() {
        let null = [5, 0];
        let field = sequence(&[]);
        let serial: &[u8] = &[2, 1, 1];
        let fields = [serial, &field, &field, &field, &field, &field];
        let certificate = |tbs: &[&[u8]]| sequence(&[&sequence(tbs), &field, &[3, 1, 0]]);
        assert!(as_version3(&certificate(&fields)).is_some());
        // With a version, even that of version 1, which DER leaves out.
        for version in 0..3 {
            let version: &[u8] = &[0xa0, 3, 2, 1, version];
            assert!(as_version3(&certificate(&[&[version][..], &fields].concat())).is_none());
        }
        // With extensions, a unique identifier or anything else behind the key.
        for more in [&[0xa3, 2, 0x30, 0][..], &[0x81, 1, 0], &null] {
            assert!(as_version3(&certificate(&[&fields[..], &[more]].concat())).is_none());
        }
        assert!(as_version3(&certificate(&fields[..5])).is_none());
        let mut longer = certificate(&fields);
        longer.push(0);
        assert!(as_version3(&longer).is_none());
    }
}
