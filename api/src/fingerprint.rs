//! What tells keys apart without telling anything of them (contract `crypto-and-storage.md`,
//! Fingerprint).

use std::fmt;
use std::str::FromStr;

use crate::hex;

/// The fingerprint of a key: 16 bytes, 32 lower-case hexadecimal digits as text. It is not secret,
/// so comparing it need not take constant time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; Self::LEN]);

/// A text that is not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 32 hexadecimal digits, as 'kes key info' shows it")]
pub struct InvalidFingerprint;

impl Fingerprint {
    /// Its size in bytes.
    pub const LEN: usize = 16;

    /// The fingerprint with these bytes.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    /// Accepts upper-case digits too.
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        hex::decode(text).map(Self).ok_or(InvalidFingerprint)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_back_and_anything_else_is_refused() {
        let text = "00112233445566778899aabbccddeeff";
        let read: Fingerprint = text.parse().unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(read));
        for wrong in [
            "",
            "00",
            text.get(1..).unwrap(),
            &format!("{text}00"),
            &text.replace('0', "g"),
            &format!("{text} "),
        ] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(InvalidFingerprint), "{wrong:?}");
        }
    }
}
