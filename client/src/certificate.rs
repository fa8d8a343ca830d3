//! Self-signed certificates: for identities that are stored in files, and for the dev server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use kes_tls::PrivateKey;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The contents of a self-signed certificate. It is not a CA certificate: clients that trust the
/// file accept a server that uses it.
#[derive(Clone, Copy, Debug)]
pub struct SelfSigned<'a> {
    /// The common name; may be empty.
    pub subject: &'a str,
    /// DNS names of the server, also with `*.` in front.
    pub dns: &'a [String],
    /// Addresses of the server.
    pub ips: &'a [IpAddr],
    /// How long it is valid from now on.
    pub validity: Duration,
    /// Whether servers or clients may use it.
    pub usage: Usage,
}

/// Whether servers or clients may use a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// For clients.
    Client,
    /// For servers and clients.
    ServerAndClient,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A DNS name with characters that are not ASCII.
    #[error("'{name}' is not a DNS name: write international names with 'xn--'")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// A certificate that would expire after the year 9999, or at once.
    #[error("a certificate cannot be valid for {} seconds", validity.as_secs())]
    InvalidValidity {
        /// How long.
        validity: Duration,
    },
    /// The system's generator of random numbers failed.
    #[error("the random number generator failed")]
    Random,
    /// The certificate could not be signed.
    #[error("the certificate could not be signed: {error}")]
    Signing {
        /// Why.
        error: rcgen::Error,
    },
}

/// How long ago the validity of a certificate begins, because clocks differ.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// How long the dev server's certificate is valid: longer than a test installation usually runs.
const DEV_SERVER_VALIDITY: Duration = Duration::from_hours(90 * 24);

impl SelfSigned<'_> {
    /// Makes a P-256 key and its certificate.
    ///
    /// # Errors
    /// [`CertificateError`] for a name or validity that no certificate can have, and if the
    /// system has no random numbers.
    pub fn generate(&self) -> Result<(CertificateDer<'static>, PrivateKey), CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Zeroizing::new)
            .map_err(|_| CertificateError::Random)?;
        self.sign(&key)
    }

    /// Signs the certificate of a key; returns the key in PKCS#8.
    pub(crate) fn sign(
        &self,
        key: &KeyPair,
    ) -> Result<(CertificateDer<'static>, PrivateKey), CertificateError> {
        let certificate = self
            .parameters()?
            .self_signed(key)
            .map_err(|error| CertificateError::Signing { error })?;
        let der = PrivatePkcs8KeyDer::from(key.serialized_der().to_vec());
        let private = PrivateKey::new(PrivateKeyDer::from(der))
            .expect("a key that signed is one that the provider takes");
        Ok((certificate.der().clone(), private))
    }

    fn parameters(&self) -> Result<CertificateParams, CertificateError> {
        let mut parameters = CertificateParams::default();
        (parameters.not_before, parameters.not_after) = self.period()?;
        parameters.serial_number = Some(random_serial()?);
        parameters.distinguished_name = DistinguishedName::new();
        if !self.subject.is_empty() {
            parameters.distinguished_name.push(DnType::CommonName, self.subject);
        }
        for name in self.dns {
            let invalid = || CertificateError::InvalidName { name: name.clone() };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(invalid());
            }
            let name = Ia5String::try_from(name.as_str()).map_err(|_| invalid())?;
            parameters.subject_alt_names.push(SanType::DnsName(name));
        }
        parameters.subject_alt_names.extend(self.ips.iter().copied().map(SanType::IpAddress));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match self.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::ServerAndClient => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
        };
        Ok(parameters)
    }

    fn period(&self) -> Result<(OffsetDateTime, OffsetDateTime), CertificateError> {
        let now = OffsetDateTime::now_utc();
        let end = time::Duration::try_from(self.validity)
            .ok()
            .and_then(|validity| now.checked_add(validity))
            .filter(|end| *end > now && end.year() <= 9999);
        match end {
            Some(end) => Ok((now - CLOCK_SKEW, end)),
            None => Err(CertificateError::InvalidValidity { validity: self.validity }),
        }
    }
}

/// The certificate of a dev server: for the machine's addresses, and for `localhost` and its
/// addresses.
///
/// # Errors
/// [`CertificateError`] if the system has no random numbers.
pub fn dev_server(
    addresses: &[IpAddr],
) -> Result<(CertificateDer<'static>, PrivateKey), CertificateError> {
    let mut ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    ips.extend(addresses.iter().filter(|ip| !ip.is_loopback() && !ip.is_unspecified()));
    let certificate = SelfSigned {
        subject: "localhost",
        dns: &["localhost".to_owned()],
        ips: &ips,
        validity: DEV_SERVER_VALIDITY,
        usage: Usage::ServerAndClient,
    };
    certificate.generate()
}

/// A certificate as PEM text.
pub fn certificate_to_pem(certificate: &CertificateDer<'_>) -> String {
    std::mem::take(&mut *kes_tls::pem("CERTIFICATE", certificate))
}

/// Fills `bytes` from the generator of the provider of TLS.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), CertificateError> {
    kes_tls::provider().secure_random.fill(bytes).map_err(|_| CertificateError::Random)
}

/// 126 random bits: positive, and never the same for two certificates (RFC 5280, 4.1.2.2).
fn random_serial() -> Result<SerialNumber, CertificateError> {
    let mut serial = [0; 16];
    random(&mut serial)?;
    // A first byte between 0x40 and 0x7f keeps the number positive and its length fixed.
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}
