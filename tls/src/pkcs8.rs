//! PKCS#8 encryption of private keys (RFC 5958, 3, with PBES2 of RFC 8018).

use pkcs8::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use pkcs8::der::{self, Decode, ErrorKind};
use pkcs8::pkcs5::pbes2::{
    DES_EDE3_CBC_OID, EncryptionScheme, Kdf, PBES2_OID, Parameters, Salt, ScryptParams,
};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{LineEnding, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::error::Fault;

/// The label of the PEM section of an encrypted key.
pub(crate) const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// The most rounds of PBKDF2. openssl uses 2,048, and the highest recommendation is near a million.
/// Without a limit a crafted file could delay the start for minutes.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// The most memory for scrypt, in bytes: 16 times what openssl uses.
const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;

/// The highest parallelism of scrypt; the runs are executed one after another. openssl uses 1.
const MAX_SCRYPT_RUNS: u16 = 16;

/// Decrypts an `EncryptedPrivateKeyInfo` to a PKCS#8 private key in DER.
pub(crate) fn decrypt(der: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let (parameters, encrypted) = parse(der)?;
    check_cost(&parameters)?;
    let mut bytes = Zeroizing::new(encrypted.to_vec());
    let len = parameters.decrypt_in_place(password, &mut bytes).map_err(fault)?.len();
    bytes.truncate(len);
    // With a wrong password the padding is valid in one of 256 cases.
    PrivateKeyInfoRef::try_from(bytes.as_slice()).map_err(|_| Fault::WrongPassword)?;
    Ok(bytes)
}

/// Encrypts a PKCS#8 private key in DER with AES-256-CBC and scrypt, which openssl reads since
/// version 1.1. The result is PEM text.
pub(crate) fn encrypt(der: &[u8], password: &str) -> Result<Zeroizing<String>, Fault> {
    let random = crate::provider().secure_random;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    for bytes in [&mut salt, &mut iv] {
        random.fill(bytes).map_err(|_| Fault::Random)?;
    }
    let parameters = Parameters {
        // RFC 7914, 2. These parameters need 16 MiB, half of what openssl allows.
        kdf: Kdf::Scrypt(ScryptParams {
            salt: Salt::new(salt).map_err(|_| Fault::InvalidKey)?,
            cost_parameter: 1 << 14,
            block_size: 8,
            parallelization: 1,
            key_length: None,
        }),
        encryption: EncryptionScheme::Aes256Cbc { iv },
    };
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| Fault::InvalidKey)?;
    let encrypted =
        info.encrypt_with_params(parameters, password).map_err(|_| Fault::InvalidKey)?;
    encrypted.to_pem(LABEL, LineEnding::LF).map_err(|_| Fault::InvalidKey)
}

/// The seed of an Ed25519 key (RFC 8410, 7): an octet string in the octet string.
pub(crate) fn ed25519_seed(der: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

    let key = PrivateKeyInfoRef::try_from(der).ok()?;
    let seed = <&OctetStringRef>::from_der(key.private_key.as_bytes()).ok()?.as_bytes();
    if key.algorithm.oid != ED25519 {
        return None;
    }
    let mut copy = Zeroizing::new([0; 32]);
    copy.as_mut_slice().copy_from_slice(<&[u8; 32]>::try_from(seed).ok()?);
    Some(copy)
}

/// The parameters of the encryption, and the encrypted bytes.
fn parse(der: &[u8]) -> Result<(Parameters, &[u8]), Fault> {
    let malformed = |error: der::Error| match error.kind() {
        ErrorKind::OidUnknown { oid } => Fault::UnsupportedCipher { cipher: oid.to_string() },
        _ => invalid("it is not PKCS#8 in DER"),
    };
    let info = AnyRef::from_der(der).map_err(malformed)?;
    let (scheme, encrypted) = info
        .sequence(|info| {
            Ok((AlgorithmIdentifierRef::decode(info)?, <&OctetStringRef>::decode(info)?))
        })
        .map_err(malformed)?;
    if scheme.oid != PBES2_OID {
        // PBES1 and the schemes of PKCS#12: DES, RC2 and RC4 with short keys.
        return Err(Fault::UnsupportedCipher { cipher: scheme.oid.to_string() });
    }
    let parameters = scheme.parameters.ok_or_else(|| invalid("it has no parameters"))?;
    // Checked here because the parser of the parameters reads 8 bytes unchecked.
    let iv_len = parameters
        .sequence(|parameters| {
            AlgorithmIdentifierRef::decode(parameters)?;
            let cipher = AlgorithmIdentifierRef::decode(parameters)?;
            match cipher.parameters {
                Some(iv) if cipher.oid == DES_EDE3_CBC_OID => Ok(Some(iv.value().len())),
                _ => Ok(None),
            }
        })
        .map_err(malformed)?;
    if iv_len.is_some_and(|len| len != 8) {
        return Err(invalid("the initialization vector is not 8 bytes long"));
    }
    Ok((Parameters::try_from(parameters).map_err(malformed)?, encrypted.as_bytes()))
}

fn check_cost(parameters: &Parameters) -> Result<(), Fault> {
    let affordable = match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => (1..=MAX_PBKDF2_ROUNDS).contains(&pbkdf2.iteration_count),
        Kdf::Scrypt(scrypt) => {
            let memory = scrypt.cost_parameter.checked_mul(128 * u64::from(scrypt.block_size));
            // The crate does not accept a cost of 0.
            scrypt.cost_parameter > 1
                && memory.is_some_and(|memory| memory <= MAX_SCRYPT_MEMORY)
                && scrypt.parallelization <= MAX_SCRYPT_RUNS
        }
        _ => return Err(Fault::UnsupportedCipher { cipher: parameters.kdf.oid().to_string() }),
    };
    if affordable { Ok(()) } else { Err(invalid("its key derivation is out of bounds")) }
}

fn fault(error: pkcs8::pkcs5::Error) -> Fault {
    use pkcs8::pkcs5::Error;
    match error {
        Error::AlgorithmParametersInvalid { .. } => invalid("its parameters are invalid"),
        Error::UnsupportedAlgorithm { oid } => Fault::UnsupportedCipher { cipher: oid.to_string() },
        _ => Fault::WrongPassword,
    }
}

fn invalid(what: &'static str) -> Fault {
    Fault::InvalidEncryption { what }
}
