//! Names of keys and policies, and the patterns that list them (contract `api.md`, Names).

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest name, in characters. All of them are ASCII, so also in bytes.
pub const MAX_NAME_LEN: usize = 80;

/// The name of a key: 1 to 80 characters of `0-9 A-Z a-z - _`, `-` neither first nor last, not
/// just `_`. It is stored inline, so a request needs no allocation for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(Name);

/// The name of a policy: the same rule as for a [`KeyName`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyName(Name);

/// Which names to list: those that start with `prefix`, from `from` on.
///
/// Written as `<prefix>`, `<prefix>*`, or `<prefix>*<name>`. A page of a listing ends with a
/// pattern of the last form, which the client sends back to get the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPattern<'a> {
    prefix: &'a str,
    from: &'a str,
}

/// A text that is not a name or pattern. The answer to the client adds what it should have been and
/// the text (see [`crate::message`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is empty, too long or contains invalid characters")]
pub struct InvalidName;

impl KeyName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`] if the text breaks the rule above.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        Name::parse(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PolicyName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`InvalidName`] if the text breaks the rule of [`KeyName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        Name::parse(text).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<'a> ListPattern<'a> {
    /// Every name.
    pub const ALL: Self = Self { prefix: "", from: "" };

    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidName`] if prefix or name is too long or has a character that no name may have.
    pub fn parse(text: &'a str) -> Result<Self, InvalidName> {
        let (prefix, from) = text.split_once('*').unwrap_or((text, ""));
        for half in [prefix, from] {
            if half.len() > MAX_NAME_LEN || !half.bytes().all(is_name_byte) {
                return Err(InvalidName);
            }
        }
        Ok(Self { prefix, from })
    }

    /// What the listed names start with; empty for all.
    pub fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// The smallest name that may be listed, by bytes; empty for no limit.
    pub fn from(&self) -> &'a str {
        self.from
    }

    /// Whether the pattern lists a name.
    pub fn matches(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && name >= self.from
    }

    /// The pattern of the page that starts with `next`.
    pub fn continue_at(&self, next: &str) -> String {
        format!("{}*{next}", self.prefix)
    }
}

impl Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for PolicyName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

// The same as for `str`, which `Borrow` requires.
impl Hash for KeyName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Hash for PolicyName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A checked name. Bytes past `len` are 0, so that the derived order is that of the texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    bytes: [u8; MAX_NAME_LEN],
    len: u8,
}

impl Name {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let source = text.as_bytes();
        let outer_dash = source.first() == Some(&b'-') || source.last() == Some(&b'-');
        if source.is_empty()
            || source.len() > MAX_NAME_LEN
            || outer_dash
            || source == b"_"
            || !source.iter().copied().all(is_name_byte)
        {
            return Err(InvalidName);
        }
        let mut bytes = [0; MAX_NAME_LEN];
        bytes.get_mut(..source.len()).ok_or(InvalidName)?.copy_from_slice(source);
        let len = u8::try_from(source.len()).map_err(|_| InvalidName)?;
        Ok(Self { bytes, len })
    }

    #[expect(
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "parse made it of at most 80 bytes of ASCII"
    )]
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a name is ASCII")
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_contract() {
        let longest = "n".repeat(80);
        for good in ["a", "0", "__", "A-Z_0-9", "_-_", "CON", &longest] {
            assert_eq!(KeyName::parse(good).unwrap().as_str(), good);
        }
        let too_long = "n".repeat(81);
        for bad in ["", "_", "-", "-a", "a-", "a.b", "a/b", "a b", "a*", "é", "a\0", &too_long] {
            assert_eq!(KeyName::parse(bad), Err(InvalidName), "{bad:?}");
            assert!(PolicyName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn patterns_of_the_contract() {
        let longest = "n".repeat(80);
        for good in ["", "*", "k", "k*", "k-", "_", "k*k1", "*a", &longest] {
            assert!(ListPattern::parse(good).is_ok(), "{good:?}");
        }
        let too_long = "n".repeat(81);
        for bad in ["**", "a*b*", "a.b", "a/b", "é", "a*b.c", &too_long] {
            assert!(ListPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_continuation_lists_from_its_name_on() {
        let pattern = ListPattern::parse("k*").unwrap();
        let next = pattern.continue_at("k5");
        let next = ListPattern::parse(&next).unwrap();
        assert_eq!((next.prefix(), next.from()), ("k", "k5"));
        assert!(!next.matches("k4") && next.matches("k5") && next.matches("k51"));
        assert!(!next.matches("l"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in any::<String>()) {
            if let Ok(name) = KeyName::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!((1..=80).contains(&text.len()));
            }
            if let Ok(pattern) = ListPattern::parse(&text) {
                prop_assert!(pattern.prefix().len() + pattern.from().len() <= text.len());
            }
        }

        #[test]
        fn names_sort_as_their_texts(a in "[0-9A-Za-z_]{2,80}", b in "[0-9A-Za-z_]{2,80}") {
            let (x, y) = (KeyName::parse(&a).unwrap(), KeyName::parse(&b).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
