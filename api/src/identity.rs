//! Who a client is (contract `api.md`, Identity).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
#[cfg(not(feature = "fips"))]
use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, Malformed};
use crate::hex;

/// SHA-256 over the DER `SubjectPublicKeyInfo` of a client's certificate; 64 lower-case hex
/// digits as text. It is not secret, so comparing it need not take constant time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity([u8; 32]);

/// A text that is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity is the 64 hexadecimal digits of a SHA-256 hash")]
pub struct InvalidIdentity;

/// Why a list of client certificates gives no identity. The server sends these texts (contract
/// `api.md`, Identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// No certificate, or only CA certificates.
    #[error("tls: client certificate is required")]
    Missing,
    /// More than one certificate that is not a CA's.
    #[error("tls: received more than one client certificate")]
    Ambiguous,
}

#[cfg(not(feature = "fips"))]
fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(feature = "fips")]
fn sha256(bytes: &[u8]) -> [u8; 32] {
    use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut digest = [0; SHA256_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Identity {
    /// The identity of a public key, from its exact DER `SubjectPublicKeyInfo` (RFC 5280, 4.1).
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(sha256(spki))
    }

    /// The identity of one certificate in DER.
    ///
    /// # Errors
    /// [`Malformed`] if it is not an X.509 certificate.
    pub fn of_certificate(der: &[u8]) -> Result<Self, Malformed> {
        Ok(Self::of_public_key(Certificate::parse(der)?.public_key()))
    }

    /// The identity of a peer that sent these certificates: that of the one that is not a CA's.
    ///
    /// It must be the first one, because the handshake proves possession of that private key only.
    /// A CA certificate followed by somebody else's certificate gives no identity.
    ///
    /// # Errors
    /// [`NoIdentity`] if there is none or more than one. A certificate that cannot be parsed is
    /// skipped; the handshake refuses it anyway.
    pub fn of_peer<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NoIdentity> {
        let mut identity = Err(NoIdentity::Missing);
        for (position, der) in chain.into_iter().enumerate() {
            let Ok(certificate) = Certificate::parse(der) else { continue };
            if certificate.is_ca() {
                continue;
            }
            identity = match (position, identity) {
                (0, _) => Ok(Self::of_public_key(certificate.public_key())),
                (_, Ok(_)) => return Err(NoIdentity::Ambiguous),
                (_, Err(reason)) => Err(reason),
            };
        }
        identity
    }

    /// The 64 hex digits, without an allocation.
    pub fn to_hex(self) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        #[expect(clippy::indexing_slicing, reason = "four bits are less than 16")]
        let digit = |bits: u8| DIGITS[usize::from(bits & 15)];
        let mut hex = [0; 64];
        for (pair, byte) in hex.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte)];
        }
        Hex(hex)
    }
}

/// The text of an [`Identity`].
#[derive(Clone, Copy)]
pub struct Hex([u8; 64]);

impl Hex {
    /// The digits.
    #[expect(clippy::expect_used, reason = "to_hex wrote ASCII")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    /// Accepts upper-case digits too.
    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        hex::decode(text).map(Self).ok_or(InvalidIdentity)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_hex().as_str())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_hex().as_str())
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_both_ways() {
        let text = "7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382";
        let identity: Identity = text.parse().unwrap();
        assert_eq!(identity.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(identity));
        for bad in [
            "",
            "disabled",
            "_",
            text.get(1..).unwrap(),
            &format!("{text}0"),
            &text.replace('e', "g"),
        ] {
            assert_eq!(bad.parse::<Identity>(), Err(InvalidIdentity), "{bad}");
        }
    }

    #[test]
    fn of_a_public_key() {
        // SHA-256 of the empty string (FIPS 180-4 example values).
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Identity::of_public_key(b"").to_string(), empty);
    }

    #[test]
    fn nobody_without_a_certificate() {
        assert_eq!(Identity::of_peer([]), Err(NoIdentity::Missing));
        assert_eq!(Identity::of_peer([b"no certificate".as_slice()]), Err(NoIdentity::Missing));
    }
}
