//! Certificate chains, and the private key that belongs to one.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use pkcs8::der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef, UtcTime};
use pkcs8::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::error::{Error, Fault};
use crate::file;
use crate::pem::sections;
use crate::private_key::{PrivateKey, parse_private_key};

/// Reads the certificates of a PEM file in their order, usually the leaf first. Other sections,
/// such as a private key, are skipped.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is larger than [`crate::MAX_FILE_LEN`], or has no
/// certificate or a damaged one.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    file::read(path).and_then(|pem| parse_certificates(&pem)).map_err(|fault| fault.at(path))
}

/// Reads the certificates of a PEM text, as [`load_certificates`] does.
///
/// # Errors
/// As there.
pub fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = read(pem)?;
    if chain.is_empty() {
        return Err(Fault::NoCertificate);
    }
    for (index, certificate) in chain.iter().enumerate() {
        Leaf::parse(certificate).map_err(|_| Fault::InvalidCertificate { number: index + 1 })?;
    }
    Ok(chain)
}

/// The `CERTIFICATE` sections of a PEM text, base64-decoded but not parsed.
pub(crate) fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    sections(pem)
        .filter(|section| section.as_ref().map_or(true, |section| section.label == "CERTIFICATE"))
        .map(|section| Ok(CertificateDer::from(section?.decode()?.to_vec())))
        .collect()
}

/// Reads a certificate chain and its private key from two PEM files, which may be the same, or pipes
/// that a person names on a command line.
///
/// # Errors
/// Those of [`load_certificates`] and [`load_private_key`](crate::load_private_key), and [`Error::Pair`] if the two do
/// not belong together.
pub fn load_certified_key(
    certificate: &Path,
    key: &Path,
    password: Option<&str>,
) -> Result<Arc<CertifiedKey>, Error> {
    let chain = file::read_any(certificate).and_then(|pem| parse_certificates(&pem));
    let chain = chain.map_err(|fault| fault.at(certificate))?;
    let private_key = file::read_any(key).and_then(|pem| parse_private_key(&pem, password));
    let private_key = private_key.map_err(|fault| fault.at(key))?;
    match_key(&chain, &private_key).map_err(|fault| Error::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        fault,
    })
}

/// Joins a certificate chain, the leaf first, with the leaf's private key.
///
/// # Errors
/// [`Fault::NoCertificate`], [`Fault::InvalidCertificate`], and [`Fault::Mismatch`] if the key
/// belongs to another certificate.
pub fn match_key(
    chain: &[CertificateDer<'_>],
    key: &PrivateKey,
) -> Result<Arc<CertifiedKey>, Fault> {
    let first = chain.first().ok_or(Fault::NoCertificate)?;
    let leaf = Leaf::parse(first).map_err(|_| Fault::InvalidCertificate { number: 1 })?;
    let signer = any_supported_type(key.expose()).map_err(|_| Fault::InvalidKey)?;
    let public_key = signer.public_key().ok_or(Fault::InvalidKey)?;
    if !is_same_key(leaf.public_key, &public_key) {
        return Err(Fault::Mismatch);
    }
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok(Arc::new(CertifiedKey::new(chain, signer)))
}

/// Checks that a server can use a certificate: clients compare its name or address only with the
/// subject alternative names (RFC 9525, 6.2; contract `config.md`, TLS).
///
/// # Errors
/// [`Fault::NoServerName`], or [`Fault::InvalidCertificate`].
pub fn check_server_certificate(leaf: &CertificateDer<'_>) -> Result<(), Fault> {
    let leaf = Leaf::parse(leaf).map_err(|_| Fault::InvalidCertificate { number: 1 })?;
    if leaf.has_server_name { Ok(()) } else { Err(Fault::NoServerName) }
}

/// When a certificate is valid (RFC 5280, 4.1.2.5), both times included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this.
    pub from: SystemTime,
    /// Not after this.
    pub until: SystemTime,
}

/// When a certificate is valid.
///
/// # Errors
/// [`Fault::InvalidCertificate`] if it does not say so, or names a time before 1970.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, Fault> {
    let parse = |der| Leaf::parse(der).and_then(|leaf| read_validity(leaf.validity));
    parse(certificate).map_err(|_| Fault::InvalidCertificate { number: 1 })
}

pub(crate) fn read_validity(validity: AnyRef<'_>) -> der::Result<Validity> {
    validity.tag().assert_eq(Tag::Sequence)?;
    match elements(validity.value())?.as_slice() {
        [from, until] => Ok(Validity { from: time(from)?, until: time(until)? }),
        _ => Err(Tag::Sequence.value_error().into()),
    }
}

fn time(time: &AnyRef<'_>) -> der::Result<SystemTime> {
    match time.tag() {
        Tag::UtcTime => time.decode_as::<UtcTime>().map(|time| time.to_system_time()),
        _ => time.decode_as::<GeneralizedTime>().map(|time| time.to_system_time()),
    }
}

/// The fields of a certificate that are used here (RFC 5280, 4.1). The TLS library's parser is not
/// used, because it refuses X.509 v1, which clients may send.
struct Leaf<'a> {
    /// The sequence of both times, not parsed.
    validity: AnyRef<'a>,
    /// DER of the `SubjectPublicKeyInfo`.
    public_key: &'a [u8],
    /// Whether the subject alternative names include a DNS name or an IP address.
    has_server_name: bool,
}

impl<'a> Leaf<'a> {
    fn parse(der: &'a [u8]) -> der::Result<Self> {
        const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };

        let certificate = AnyRef::from_der(der)?;
        certificate.tag().assert_eq(Tag::Sequence)?;
        let mut reader = SliceReader::new(certificate.value())?;
        let tbs = AnyRef::decode(&mut reader)?;
        AnyRef::decode(&mut reader)?; // signatureAlgorithm
        AnyRef::decode(&mut reader)?; // signatureValue
        reader.finish()?;

        tbs.tag().assert_eq(Tag::Sequence)?;
        let mut tbs = SliceReader::new(tbs.value())?;
        // The version, or the serial number in X.509 v1, which has no version field.
        let version = AnyRef::decode(&mut tbs)?.tag().is_context_specific();
        for _ in 0..(if version { 3 } else { 2 }) {
            AnyRef::decode(&mut tbs)?; // to the issuer
        }
        let validity = AnyRef::decode(&mut tbs)?;
        AnyRef::decode(&mut tbs)?; // subject
        let public_key = tbs.tlv_bytes()?;
        let mut has_server_name = false;
        while !tbs.is_finished() {
            let field = AnyRef::decode(&mut tbs)?;
            if field.tag() == EXTENSIONS {
                has_server_name = names_server(field.value())?;
            }
        }
        Ok(Self { validity, public_key, has_server_name })
    }
}

/// Searches the extensions for a DNS name or IP address as subject alternative name.
fn names_server(extensions: &[u8]) -> der::Result<bool> {
    /// RFC 5280, 4.2.1.6
    const SUBJECT_ALTERNATIVE_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    const DNS_NAME: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(2) };
    const IP_ADDRESS: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(7) };

    for extension in elements(AnyRef::from_der(extensions)?.value())? {
        let mut reader = SliceReader::new(extension.value())?;
        let id = ObjectIdentifier::decode(&mut reader)?;
        Option::<bool>::decode(&mut reader)?; // critical
        let value = <&OctetStringRef>::decode(&mut reader)?;
        if id == SUBJECT_ALTERNATIVE_NAME {
            let names = elements(AnyRef::from_der(value.as_bytes())?.value())?;
            return Ok(names.iter().any(|name| matches!(name.tag(), DNS_NAME | IP_ADDRESS)));
        }
    }
    Ok(false)
}

/// The DER elements in a row of them.
pub(crate) fn elements(content: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(content)?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader)?);
    }
    Ok(elements)
}

/// Whether two `SubjectPublicKeyInfo` have the same key. The parameters of the algorithm are not
/// compared: RSA has NULL or none, and a point determines its curve.
fn is_same_key(one: &[u8], other: &[u8]) -> bool {
    let parse = |der| SubjectPublicKeyInfoRef::from_der(der).ok();
    match (parse(one), parse(other)) {
        (Some(one), Some(other)) => {
            one.algorithm.oid == other.algorithm.oid
                && one.subject_public_key == other.subject_public_key
        }
        _ => one == other,
    }
}
