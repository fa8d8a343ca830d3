//! Each line ends with a field that holds a hash over the hash of the line before and the line up to
//! that field: HMAC-SHA-256, in the field `mac`, or SHA-256 without a key, in the field `hash`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::hmac as mac;
use base64_simd::STANDARD;

use crate::key::AuditKey;

/// The bytes of a hash in base64.
const TEXT: usize = 44;

const MAC: &[u8] = br#","mac":""#;
const HASH: &[u8] = br#","hash":""#;
const END: &[u8] = br#""}"#;

/// The head of a chain: the hash of its last line, which depends on all lines before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head([u8; 32]);

/// Not 32 bytes in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a head: 44 characters of base64")]
pub struct InvalidHead;

/// A chain that grows.
pub(crate) struct Chain {
    key: Option<Arc<AuditKey>>,
    /// How many lines it has.
    pub(crate) size: u64,
    pub(crate) head: Head,
}

/// A line that was taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed<'a> {
    /// The line up to the last field.
    pub(crate) text: &'a [u8],
    pub(crate) seal: Head,
    pub(crate) is_keyed: bool,
}

impl Head {
    /// That of a chain without lines.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// The head after one more line.
    pub(crate) fn after(&self, text: &[u8], key: Option<&AuditKey>) -> Self {
        let mut head = [0; 32];
        match key {
            Some(key) => {
                let mut context = mac::Context::with_key(key.chain());
                context.update(&self.0);
                context.update(text);
                head.copy_from_slice(context.sign().as_ref());
            }
            None => {
                let mut context = digest::Context::new(&digest::SHA256);
                context.update(&self.0);
                context.update(text);
                head.copy_from_slice(context.finish().as_ref());
            }
        }
        Self(head)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode_to_string(self.0))
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({self})")
    }
}

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let bytes = STANDARD.decode_to_vec(text).map_err(|_| InvalidHead)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHead)
    }
}

impl Chain {
    pub(crate) const fn new(key: Option<Arc<AuditKey>>, size: u64, head: Head) -> Self {
        Self { key, size, head }
    }

    pub(crate) fn key(&self) -> Option<&AuditKey> {
        self.key.as_deref()
    }

    /// Adds a line to `out`. `fields` writes its fields after the number, each with a comma before.
    pub(crate) fn add(&mut self, out: &mut Vec<u8>, fields: impl FnOnce(&mut Vec<u8>)) {
        use std::io::Write as _;
        let start = out.len();
        self.size += 1;
        // A Vec takes all.
        let _ = write!(out, "{{\"seq\":{}", self.size);
        fields(out);
        let text = out.get(start..).unwrap_or_default();
        self.head = self.head.after(text, self.key.as_deref());
        out.extend_from_slice(if self.key.is_some() { MAC } else { HASH });
        let _ = writeln!(out, "{}\"}}", self.head);
    }
}

impl<'a> Sealed<'a> {
    /// Takes a line apart that was read without its end; `None` if it is none of a chain.
    pub(crate) fn of_line(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(END)?;
        let (before, seal) = rest.split_at_checked(rest.len().checked_sub(TEXT)?)?;
        let seal = std::str::from_utf8(seal).ok()?.parse().ok()?;
        match (before.strip_suffix(MAC), before.strip_suffix(HASH)) {
            (Some(text), _) => Some(Self { text, seal, is_keyed: true }),
            (_, Some(text)) => Some(Self { text, seal, is_keyed: false }),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<AuditKey> {
        Arc::new(AuditKey::of_bytes(&[7; 32]).unwrap())
    }

    #[test]
    fn a_line_has_the_number_first_and_the_hash_last() {
        for (key, last) in [(Some(key()), "mac"), (None, "hash")] {
            let mut chain = Chain::new(key.clone(), 0, Head::NONE);
            let mut out = Vec::new();
            for text in ["one", "two"] {
                let before = chain.head;
                let start = out.len();
                chain.add(&mut out, |line| {
                    line.extend_from_slice(format!(",\"kind\":\"{text}\"").as_bytes())
                });
                let line = out[start..].strip_suffix(b"\n").unwrap();
                let sealed = Sealed::of_line(line).unwrap();
                assert_eq!((sealed.seal, sealed.is_keyed), (chain.head, key.is_some()));
                assert_eq!(before.after(sealed.text, key.as_deref()), chain.head);
                assert_ne!(before, chain.head);
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(value["seq"], chain.size);
                assert_eq!(value["kind"], text);
                assert_eq!(value[last], chain.head.to_string());
                assert_eq!(chain.head.to_string().parse(), Ok(chain.head));
            }
        }
    }

    #[test]
    fn other_texts_are_no_lines() {
        let seal = Head::NONE.to_string();
        for text in [
            String::new(),
            "\"}".to_owned(),
            format!("{seal}\"}}"),
            format!(r#"{{"seq":1,"mac":"{}"}}"#, seal.split_at(1).1),
            format!(r#"{{"seq":1,"other":"{seal}"}}"#),
            format!(r#"{{"seq":1,"mac":"{seal}"}}{{"#),
            format!(r#"{{"seq":1,"mac":"{seal}"}} "#),
            // The quotes of a value are escaped.
            format!(r#"{{"seq":1,"a":"\",\"mac\":\"{seal}"}}"#),
        ] {
            assert!(Sealed::of_line(text.as_bytes()).is_none(), "{text}");
        }
        assert_eq!("".parse::<Head>(), Err(InvalidHead));
        assert_eq!("AAAA".parse::<Head>(), Err(InvalidHead));
    }
}
