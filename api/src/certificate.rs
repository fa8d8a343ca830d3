//! Reads two fields of a client's certificate: its public key and whether it is a CA's.
//!
//! This is a walk over the DER of RFC 5280, 4.1. Certificate parsers refuse certificates that Go
//! clients send and that are accepted here (X.509 v1, unknown critical extensions, unique
//! identifiers). The walk checks nothing but the two fields and the structure around them.

/// The largest certificate that is read, in bytes. An RSA-8192 certificate has about 3 KiB.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;

/// The fields of a certificate that the server looks at.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    public_key: &'a [u8],
    is_ca: bool,
}

/// The bytes are not an X.509 certificate in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed X.509 certificate")]
pub struct Malformed;

impl<'a> Certificate<'a> {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`Malformed`] if a field up to the extensions is missing, has another type, or is longer
    /// than the element around it, if bytes follow the certificate, or if it is larger than
    /// [`MAX_CERTIFICATE_LEN`].
    pub fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(Malformed);
        }
        let mut outer = Reader(der);
        let mut certificate = Reader(outer.expect(SEQUENCE)?.content);
        outer.expect_end()?;

        let mut tbs = Reader(certificate.expect(SEQUENCE)?.content);
        tbs.skip_optional(VERSION)?;
        tbs.expect(INTEGER)?; // serialNumber
        tbs.expect(SEQUENCE)?; // signature
        tbs.expect(SEQUENCE)?; // issuer
        tbs.expect(SEQUENCE)?; // validity
        tbs.expect(SEQUENCE)?; // subject
        let public_key = tbs.expect(SEQUENCE)?.whole;
        tbs.skip_optional(ISSUER_UNIQUE_ID)?;
        tbs.skip_optional(SUBJECT_UNIQUE_ID)?;
        let is_ca = match tbs.optional(EXTENSIONS)? {
            Some(extensions) => is_ca(extensions.content)?,
            None => false,
        };

        certificate.expect(SEQUENCE)?; // signatureAlgorithm
        certificate.expect(BIT_STRING)?; // signatureValue
        certificate.expect_end()?;
        Ok(Self { public_key, is_ca })
    }

    /// The exact DER bytes of the `SubjectPublicKeyInfo`, header included.
    pub fn public_key(&self) -> &'a [u8] {
        self.public_key
    }

    /// Whether `basicConstraints` says `cA = TRUE`.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }
}

/// `extensions` is the content of the explicit tag: one SEQUENCE of Extension.
fn is_ca(extensions: &[u8]) -> Result<bool, Malformed> {
    /// 2.5.29.19, id-ce-basicConstraints.
    const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

    let mut list = Reader(Reader(extensions).expect(SEQUENCE)?.content);
    while !list.0.is_empty() {
        let mut extension = Reader(list.expect(SEQUENCE)?.content);
        let id = extension.expect(OBJECT_IDENTIFIER)?.content;
        extension.skip_optional(BOOLEAN)?; // critical
        let value = extension.expect(OCTET_STRING)?.content;
        if id == BASIC_CONSTRAINTS {
            let mut constraints = Reader(Reader(value).expect(SEQUENCE)?.content);
            let ca = constraints.optional(BOOLEAN)?;
            return Ok(ca.is_some_and(|ca| ca.content != [0]));
        }
    }
    Ok(false)
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

/// One DER element (X.690, 8.1): its content, and all of it with tag and length.
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    fn skip_optional(&mut self, tag: u8) -> Result<(), Malformed> {
        self.optional(tag).map(|_| ())
    }

    /// The next element if it has this tag.
    fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        let first = *self.0.get(1).ok_or(Malformed)?;
        let (header, len) = if first < 0x80 {
            (2, usize::from(first))
        } else {
            // Long form. Two length bytes reach MAX_CERTIFICATE_LEN; the indefinite form
            // (0x80) is not DER.
            let count = usize::from(first & 0x7f);
            if !(1..=3).contains(&count) {
                return Err(Malformed);
            }
            let digits = self.0.get(2..2 + count).ok_or(Malformed)?;
            (2 + count, digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)))
        };
        let (whole, rest) = self.0.split_at_checked(header + len).ok_or(Malformed)?;
        let content = whole.get(header..).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some(Element { whole, content }))
    }

    fn expect_end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use crate::identity::NoIdentity;
    use proptest::prelude::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(len) if len < 0x80 => out.push(len),
            _ => {
                let len = u16::try_from(content.len()).unwrap().to_be_bytes();
                out.extend([0x82, len[0], len[1]]);
            }
        }
        out.extend(content);
        out
    }

    fn certificate(version: &[u8], key: &[u8], extensions: &[u8]) -> Vec<u8> {
        let empty = element(SEQUENCE, &[]);
        let tbs =
            [version, &element(INTEGER, &[1]), &empty, &empty, &empty, &empty, key, extensions];
        let tbs = element(SEQUENCE, &tbs.concat());
        element(SEQUENCE, &[tbs, empty, element(BIT_STRING, &[0])].concat())
    }

    fn basic_constraints(content: &[u8]) -> Vec<u8> {
        let value = element(OCTET_STRING, &element(SEQUENCE, content));
        let extension = [element(OBJECT_IDENTIFIER, &[0x55, 0x1d, 0x13]), value].concat();
        element(EXTENSIONS, &element(SEQUENCE, &element(SEQUENCE, &extension)))
    }

    #[test]
    fn a_peer_is_the_first_certificate_if_that_is_no_ca() {
        let version = element(VERSION, &element(INTEGER, &[2]));
        let [mine, theirs] = [1, 2].map(|n| element(SEQUENCE, &[n]));
        let leaf = certificate(&[], &mine, &[]);
        let other = certificate(&[], &theirs, &[]);
        let ca = certificate(&version, &mine, &basic_constraints(&element(BOOLEAN, &[0xff])));
        let peer = |chain: &[&Vec<u8>]| Identity::of_peer(chain.iter().map(|der| der.as_slice()));

        assert_eq!(peer(&[&leaf]), Ok(Identity::of_public_key(&mine)));
        assert_eq!(peer(&[&leaf, &ca]), Ok(Identity::of_public_key(&mine)));
        assert_eq!(peer(&[&leaf, &other]), Err(NoIdentity::Ambiguous));
        assert_eq!(peer(&[&ca]), Err(NoIdentity::Missing));
        // The handshake proves only the CA certificate's key.
        assert_eq!(peer(&[&ca, &other]), Err(NoIdentity::Missing));
    }

    #[test]
    fn version_1_without_extensions() {
        let key = element(SEQUENCE, &[5; 200]);
        let der = certificate(&[], &key, &[]);
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.public_key(), key);
        assert!(!certificate.is_ca());
    }

    #[test]
    fn basic_constraints_tell_a_ca() {
        let key = element(SEQUENCE, &[5]);
        let version = element(VERSION, &element(INTEGER, &[2]));
        for (constraints, ca) in [
            (element(BOOLEAN, &[0xff]), true),
            (element(BOOLEAN, &[1]), true),
            (element(BOOLEAN, &[0]), false),
            (vec![], false),
            ([element(BOOLEAN, &[0xff]), element(INTEGER, &[3])].concat(), true),
        ] {
            let der = certificate(&version, &key, &basic_constraints(&constraints));
            assert_eq!(Certificate::parse(&der).unwrap().is_ca(), ca);
        }
    }

    #[test]
    fn cut_or_prolonged_bytes_are_refused() {
        let der = certificate(&[], &element(SEQUENCE, &[5; 300]), &[]);
        for end in 0..der.len() {
            assert!(Certificate::parse(&der[..end]).is_err(), "{end}");
        }
        assert!(Certificate::parse(&[der, vec![0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(der in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Certificate::parse(&der);
        }

        #[test]
        fn a_changed_byte_never_panics(position in 0_usize..300, byte in any::<u8>()) {
            let key = element(SEQUENCE, &[5; 200]);
            let mut der = certificate(&[], &key, &basic_constraints(&element(BOOLEAN, &[0xff])));
            let position = position % der.len();
            der[position] = byte;
            let _ = Certificate::parse(&der);
        }
    }
}
