use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{self, PrivateKey, X25519};
use bech32::Bech32;
use bech32::Hrp;
use bech32::primitives::decode::CheckedHrpstring;
use zeroize::Zeroizing;

use super::primitives::Key;
use super::{Error, MAX_RECIPIENTS};

/// What a recipient begins with, before its `1`.
const RECIPIENT: &str = "age";

/// What an identity begins with, before its `1`.
const IDENTITY: &str = "age-secret-key-";

/// Whom a file can be sealed for: `age1…`, the public half of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(pub(super) [u8; 32]);

/// What opens files that are sealed for its recipient: `AGE-SECRET-KEY-1…`. It is wiped when dropped.
pub struct Identity(Key);

/// A text that is no recipient or no identity. It has no part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// It is something else.
    #[error("it is no {0}")]
    Other(&'static str),

    /// It is an identity where a recipient is needed: a secret.
    #[error(
        "it is an identity, which is secret: its recipient is needed, `age-keygen -y` tells it"
    )]
    Secret,

    /// It is a recipient or an identity of another kind.
    #[error("it is of a kind that is not supported: X25519 alone is, 'age1...' with 62 characters")]
    Kind,

    /// It was mistyped.
    #[error("it is mistyped: its checksum does not fit")]
    Checksum,

    /// There is none, or too many are there.
    #[error("there are not 1 to {MAX_RECIPIENTS}")]
    Number,
}

impl FromStr for Recipient {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let lower = text.to_ascii_lowercase();
        if lower.starts_with(IDENTITY) {
            return Err(InvalidKey::Secret);
        }
        if text.starts_with("ssh-") || lower.starts_with("age1pq1") {
            return Err(InvalidKey::Kind);
        }
        if !text.starts_with("age1") {
            return Err(InvalidKey::Other("recipient, which begins with 'age1'"));
        }
        decode(text, RECIPIENT).map(|bytes| Self(*bytes))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = Hrp::parse(RECIPIENT).map_err(|_| fmt::Error)?;
        bech32::encode_lower_to_fmt::<Bech32, _>(f, prefix, &self.0).map_err(|_| fmt::Error)
    }
}

impl Identity {
    /// Parses `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// [`InvalidKey`] for any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        if lower.starts_with("age-plugin-") || lower.starts_with("age-secret-key-pq-") {
            return Err(InvalidKey::Kind);
        }
        if !lower.starts_with("age-secret-key-1") {
            return Err(InvalidKey::Other("identity, which begins with 'AGE-SECRET-KEY-1'"));
        }
        decode(text, IDENTITY).map(Self)
    }

    /// A new one.
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        kes_crypto::random::fill(key.as_mut_slice());
        Self(key)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`Error::Library`] if the library refuses it.
    pub fn recipient(&self) -> Result<Recipient, Error> {
        let public = self.private()?.compute_public_key().map_err(|_| Error::Library)?;
        public.as_ref().try_into().map(Recipient).map_err(|_| Error::Library)
    }

    /// Its text.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(96));
        // Neither can fail: the prefix is one, and so few bytes have a checksum.
        if let Ok(prefix) = Hrp::parse(IDENTITY) {
            let _ = bech32::encode_upper_to_fmt::<Bech32, _>(&mut *text, prefix, self.0.as_slice());
        }
        text
    }

    /// What X25519 makes of this and somebody's public key; `None` for a public key that makes the same of
    /// every private one.
    pub(super) fn agree(&self, public: &[u8; 32]) -> Result<Option<Key>, Error> {
        agree(&self.private()?, public)
    }

    pub(super) fn private(&self) -> Result<PrivateKey, Error> {
        PrivateKey::from_private_key(&X25519, self.0.as_slice()).map_err(|_| Error::Library)
    }
}

/// X25519.
pub(super) fn agree(private: &PrivateKey, public: &[u8; 32]) -> Result<Option<Key>, Error> {
    let public = agreement::UnparsedPublicKey::new(&X25519, public.as_slice());
    let agreed = agreement::agree(private, public, (), |shared| {
        let mut key = Zeroizing::new([0; 32]);
        if shared.len() != key.len() {
            return Err(());
        }
        key.copy_from_slice(shared);
        Ok(key)
    });
    // RFC 7748, 6.1: a share of low order gives zeros.
    Ok(agreed.ok().filter(|key| key.iter().any(|byte| *byte != 0)))
}

/// The 32 bytes of a text in Bech32 with one prefix.
fn decode(text: &str, prefix: &str) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| InvalidKey::Checksum)?;
    let hrp = checked.hrp();
    if !hrp.lowercase_byte_iter().eq(prefix.bytes()) {
        return Err(InvalidKey::Kind);
    }
    let mut bytes = Zeroizing::new([0; 32]);
    let mut read = checked.byte_iter();
    for byte in bytes.iter_mut() {
        *byte = read.next().ok_or(InvalidKey::Kind)?;
    }
    if read.next().is_some() {
        return Err(InvalidKey::Kind);
    }
    // Unused bits that are not zero.
    let mut again = Zeroizing::new(String::with_capacity(text.len() + 1));
    let written = bech32::encode_lower_to_fmt::<Bech32, _>(&mut *again, hrp, bytes.as_slice());
    if written.is_err() || !again.eq_ignore_ascii_case(text) {
        return Err(InvalidKey::Checksum);
    }
    Ok(bytes)
}

/// The recipients of a file: one a line, among blank lines and comments.
///
/// # Errors
/// The line, from 1 on, and what is wrong with it; line 0 for their number.
pub fn recipients(text: &str) -> Result<Vec<Recipient>, (usize, InvalidKey)> {
    lines(text, str::parse)
}

/// The identities of a file, as `age-keygen` writes it: one a line, among blank lines and comments.
///
/// # Errors
/// As [`recipients`].
pub fn identities(text: &str) -> Result<Vec<Identity>, (usize, InvalidKey)> {
    lines(text, Identity::parse)
}

fn lines<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, InvalidKey>,
) -> Result<Vec<T>, (usize, InvalidKey)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let parsed: Vec<T> = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| parse(line).map_err(|error| (number, error)))
        .collect::<Result<_, _>>()?;
    let is_some = (1..=MAX_RECIPIENTS).contains(&parsed.len());
    if is_some { Ok(parsed) } else { Err((0, InvalidKey::Number)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of age's test kit.
    const KNOWN: &str =
        "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";

    #[test]
    fn texts_are_read_back() {
        let identity = Identity::parse(KNOWN).unwrap();
        assert_eq!(*identity.expose(), *KNOWN);
        let recipient = identity.recipient().unwrap();
        let text = recipient.to_string();
        assert!(text.starts_with("age1") && text.len() == 62, "{text}");
        assert_eq!(text.parse(), Ok(recipient));
        let new = Identity::generate();
        assert!(*new.expose() != *identity.expose());
        assert_eq!(*Identity::parse(&new.expose()).unwrap().expose(), *new.expose());
    }

    #[test]
    fn a_mistyped_key_is_told_and_not_shown() {
        let recipient = Identity::parse(KNOWN).unwrap().recipient().unwrap().to_string();
        for at in 4..recipient.len() {
            let mut wrong = recipient.clone().into_bytes();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(wrong.parse::<Recipient>(), Err(InvalidKey::Checksum), "{wrong}");
        }
        assert_eq!(KNOWN.parse::<Recipient>(), Err(InvalidKey::Secret));
        assert_eq!("ssh-ed25519 AAAA".parse::<Recipient>(), Err(InvalidKey::Kind));
        for text in ["", "age", "AGE", "x"] {
            let error = text.parse::<Recipient>().unwrap_err();
            assert!(matches!(error, InvalidKey::Other(_)), "{text}: {error}");
            assert!(Identity::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Identity::parse(&recipient).err(),
            Some(InvalidKey::Other("identity, which begins with 'AGE-SECRET-KEY-1'"))
        );
        assert_eq!(Identity::parse("AGE-SECRET-KEY-PQ-1AAAA").err(), Some(InvalidKey::Kind));
        assert_eq!(Identity::parse("AGE-SECRET-KEY-1AAAA").err(), Some(InvalidKey::Checksum));
    }

    #[test]
    fn a_file_has_one_key_a_line_among_comments() {
        let recipient = Identity::parse(KNOWN).unwrap().recipient().unwrap();
        let text = format!("# created: 2026-11-28\r\n# public key: {recipient}\r\n{KNOWN}\r\n\n");
        assert_eq!(identities(&text).ok().map(|found| found.len()), Some(1));
        assert_eq!(recipients(&format!("\n {recipient} \n# x\n")), Ok(vec![recipient.clone()]));
        assert_eq!(recipients("# nobody\n"), Err((0, InvalidKey::Number)));
        assert_eq!(recipients(&format!("{recipient}\n{KNOWN}\n")), Err((2, InvalidKey::Secret)));
        let many = format!("{recipient}\n").repeat(MAX_RECIPIENTS + 1);
        assert_eq!(recipients(&many), Err((0, InvalidKey::Number)));
    }
}
