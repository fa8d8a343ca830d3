//! The age format, version 1 (age-encryption.org/v1): a file key of its own for each file, wrapped for
//! X25519 recipients or by a passphrase (scrypt), and the content in chunks of 64 KiB, each encrypted with
//! ChaCha20-Poly1305 under its number and a mark of the last one. So a file that was cut, or whose chunks were
//! moved, is not opened.
//!
//! The crate `age` is not used: it has second versions of ten crates of cryptography, HPKE and ML-KEM, and
//! its messages in nine languages (`docs/contract/crypto-and-storage.md` says what is supported). The ciphers
//! are those that the program has already.

/// HKDF and the AEAD.
mod primitives;

/// Recipients and identities as text.
mod keys;

/// The header: who can open the file.
mod header;

/// The content.
mod stream;

#[cfg(test)]
mod vectors;

use std::io;

use zeroize::Zeroizing;

pub use self::keys::{Identity, InvalidKey, Recipient, identities, recipients};
pub use self::stream::{Opened, ReadAt, Sealer};

/// The message about a header that is refused.
#[cfg(feature = "fuzzing")]
pub(crate) fn refused_header(bytes: &[u8]) -> Option<String> {
    header::Header::parse(bytes).err().map(|error| error.to_string())
}

/// The bytes of plaintext in a chunk.
pub const CHUNK: usize = 64 * 1024;

/// The most recipients of a file: far more than anybody names, and few enough for the largest header.
pub const MAX_RECIPIENTS: usize = 256;

/// For whom a file is sealed.
pub enum Sealing<'a> {
    /// For each of these.
    Recipients(&'a [Recipient]),
    /// For whoever knows this.
    Passphrase(&'a Zeroizing<String>),
}

/// By what a file is opened.
pub enum Opening {
    /// By one of these.
    Identities(Vec<Identity>),
    /// By this.
    Passphrase(Zeroizing<String>),
}

/// Why a file cannot be sealed or opened. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not begin as an age file of version 1.
    #[error("it is no age file: it does not begin with 'age-encryption.org/v1'")]
    NotAge,

    /// It is in PEM armor.
    #[error("it is an age file in armor, which is not supported: decode it first")]
    Armored,

    /// Its header is not that of an age file.
    #[error("the header of the age file is damaged: {0}")]
    Header(&'static str),

    /// It is sealed by a passphrase.
    #[error("it was sealed with a passphrase, and not for a recipient")]
    NeedsPassphrase,

    /// It is sealed for recipients.
    #[error("it was sealed for recipients, and not with a passphrase")]
    NeedsIdentity,

    /// None of the identities opens it.
    #[error("it was sealed for none of these identities")]
    WrongIdentity,

    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,

    /// To try a passphrase would take too long.
    #[error(
        "it asks for the work factor {0} of scrypt, which takes more than a gibibyte of memory: at most {max} is \
         taken",
        max = header::MAX_WORK
    )]
    Work(u8),

    /// Its header is not the one that was written with it.
    #[error("the header of the age file was changed")]
    NotAuthentic,

    /// A chunk is not what was written.
    #[error("it was damaged or changed between bytes {from} and {to}, or is cut off")]
    Damaged {
        /// Where the chunk begins in the file.
        from: u64,
        /// Where it ends.
        to: u64,
    },

    /// It ends before its content does.
    #[error("it is cut off")]
    Truncated,

    /// It cannot be sealed for so many, or for nobody.
    #[error("a file is sealed for 1 to {MAX_RECIPIENTS} recipients")]
    Recipients,

    /// The library of ciphers refuses.
    #[error("the cryptographic library failed")]
    Library,

    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}
