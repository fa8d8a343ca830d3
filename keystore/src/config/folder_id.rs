use std::fmt;

/// The ID of a key folder. Its marker file holds it, and `keystore.fs.id` may demand it. Not a
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FolderId(u128);

impl FolderId {
    /// The number of hexadecimal digits of an ID.
    pub const DIGITS: usize = 32;

    /// A new one, which no other folder has.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        kes_crypto::random::fill(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }

    /// Reads an ID; `None` if the text is not exactly its hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == Self::DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = FolderId::random();
        assert_eq!(FolderId::parse(&id.to_string()), Some(id));
        assert_ne!(FolderId::random(), id);
        let digits = "00000000000000000000000000000Fff";
        assert_eq!(FolderId::parse(digits), Some(FolderId(0xfff)));
        assert_eq!(FolderId(0xfff).to_string(), digits.to_lowercase());
        for text in [
            "",
            "fff",
            digits.get(1..).unwrap(),
            "+0000000000000000000000000000fff",
            "g000000000000000000000000000000f",
        ] {
            assert_eq!(FolderId::parse(text), None, "{text}");
        }
        assert_eq!(FolderId::parse(&format!("{digits}0")), None);
    }
}
