//! Checkpoints: the head of a chain as a signed note (c2sp.org/signed-note), so that somebody else
//! can keep it. The text has three lines as a checkpoint of c2sp.org/tlog-checkpoint has: the origin,
//! how many lines the chain has, and its head. The head is that of the chain, and not the root of a
//! Merkle tree.

use std::fmt::Write as _;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64_simd::STANDARD;

use crate::chain::Head;
use crate::key::{AuditKey, hex};

/// The algorithm Ed25519 in keys and signatures of notes.
const ALGORITHM: u8 = 1;

/// What each signature begins with: an em dash and a blank.
const DASH: &str = "— ";

/// How many bytes a note may have: a witness may have added its signatures.
const MAX: usize = 64 * 1024;

/// A state of a chain that somebody keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The random name of the log.
    pub log: String,
    /// How many lines the chain has.
    pub size: u64,
    /// Its head.
    pub head: Head,
}

/// How far a checkpoint can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// By one of the given keys.
    Yes,
    /// It has no signature, as those of a chain without a key.
    No,
    /// By none of the given keys.
    ByOthers,
}

/// Not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNote {
    /// It is another text.
    #[error("it is not a checkpoint of an audit file")]
    Form,
    /// A signature under the name of a given key is not its.
    #[error("its signature is wrong: it was changed, or made with another key")]
    Signature,
}

/// What the first line begins with.
const ORIGIN: &str = "kes-audit/";

impl Checkpoint {
    fn text(&self) -> String {
        format!("{ORIGIN}{}\n{}\n{}\n", self.log, self.size, self.head)
    }

    /// The note, signed if there is a key.
    pub fn note(&self, key: Option<&AuditKey>) -> String {
        let mut note = self.text();
        let signed = key.map(|key| (name(key), id(key), key.sign(note.as_bytes())));
        note.push('\n');
        if let Some((name, id, signature)) = signed {
            let signature = STANDARD.encode_to_string([&id[..], &signature].concat());
            let _ = writeln!(note, "{DASH}{name} {signature}");
        }
        note
    }

    /// Parses a note and checks its signatures by these keys. Those of others are left alone.
    ///
    /// # Errors
    /// [`InvalidNote`]
    pub fn parse(note: &str, keys: &[&AuditKey]) -> Result<(Self, Signed), InvalidNote> {
        let (text, signatures) = split(note).ok_or(InvalidNote::Form)?;
        let checkpoint = Self::of_text(text).ok_or(InvalidNote::Form)?;
        let mut signed = Signed::No;
        for line in signatures.lines() {
            let (signer, signature) = line
                .strip_prefix(DASH)
                .and_then(|line| line.split_once(' '))
                .ok_or(InvalidNote::Form)?;
            let bytes = STANDARD.decode_to_vec(signature).map_err(|_| InvalidNote::Form)?;
            let (key_id, signature) = bytes.split_first_chunk::<4>().ok_or(InvalidNote::Form)?;
            let known = keys.iter().find(|key| name(key) == signer && id(key) == *key_id);
            let Some(key) = known else {
                if signed == Signed::No {
                    signed = Signed::ByOthers;
                }
                continue;
            };
            UnparsedPublicKey::new(&ED25519, key.public())
                .verify(text.as_bytes(), signature)
                .map_err(|_| InvalidNote::Signature)?;
            signed = Signed::Yes;
        }
        Ok((checkpoint, signed))
    }

    fn of_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (log, size, head) = (lines.next()?.strip_prefix(ORIGIN)?, lines.next()?, lines.next()?);
        let is_log = log.len() == 32 && log.bytes().all(|byte| byte.is_ascii_hexdigit());
        let checkpoint =
            Self { log: log.to_owned(), size: size.parse().ok()?, head: head.parse().ok()? };
        (is_log && checkpoint.text() == text).then_some(checkpoint)
    }

    /// Whether a file seems to be a checkpoint, and no segment.
    pub fn is_likely(start: &[u8]) -> bool {
        start.starts_with(ORIGIN.as_bytes())
    }
}

/// The text of a note with the end of its last line, and its signatures.
fn split(note: &str) -> Option<(&str, &str)> {
    let at = note.len().le(&MAX).then(|| note.rfind("\n\n"))?? + 1;
    Some((note.get(..at)?, note.get(at + 1..)?))
}

/// The name of a key in signatures.
fn name(key: &AuditKey) -> String {
    format!("{ORIGIN}key/{}", key.id())
}

/// The ID of a key in signatures.
fn id(key: &AuditKey) -> [u8; 4] {
    let named = [name(key).as_bytes(), b"\n", &[ALGORITHM], key.public()].concat();
    digest(&SHA256, &named).as_ref().first_chunk().copied().unwrap_or_default()
}

/// The key that checks signatures, in the form that tools for signed notes take:
/// `name+id+key`.
pub fn verifier(key: &AuditKey) -> String {
    let public = STANDARD.encode_to_string([&[ALGORITHM], key.public()].concat());
    format!("{}+{}+{public}", name(key), hex(&id(key)))
}

/// A head as the server logs it: `<size>:<head>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedHead {
    /// How many lines the chain had.
    pub size: u64,
    /// Its head.
    pub head: Head,
}

impl FromStr for LoggedHead {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(size, head)| {
            Some(Self { size: size.parse().ok()?, head: head.parse().ok()? })
        });
        parsed
            .ok_or_else(|| "write it as in the log of the server: 1234:<44 characters>".to_owned())
    }
}

impl std::fmt::Display for LoggedHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.size, self.head)
    }
}

/// What the server writes before a head in its log.
pub const LOGGED: &str = "audit file: head ";

/// The heads in a text, such as the log of a server. What else is in it does not matter.
pub fn logged_heads(text: &str) -> Vec<LoggedHead> {
    let after = text.split(LOGGED).skip(1);
    let word = |rest: &str| {
        rest.split(|c: char| c.is_whitespace() || c == '"' || c == ',').next()?.parse().ok()
    };
    after.filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> AuditKey {
        AuditKey::of_bytes(&[byte; 32]).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        let log = "0123456789abcdef0123456789abcdef".to_owned();
        Checkpoint { log, size: 1234, head: Head::NONE.after(b"line", None) }
    }

    #[test]
    fn a_note_is_signed_and_a_changed_one_is_refused() {
        let (own, other) = (key(7), key(8));
        let note = checkpoint().note(Some(&own));
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!(lines.len(), 5, "{note}");
        assert_eq!(lines[..2], ["kes-audit/0123456789abcdef0123456789abcdef", "1234"]);
        assert!(lines[4].starts_with(&format!("— kes-audit/key/{} ", own.id())), "{note}");
        assert_eq!(Checkpoint::parse(&note, &[&other, &own]), Ok((checkpoint(), Signed::Yes)));
        assert_eq!(Checkpoint::parse(&note, &[&other]), Ok((checkpoint(), Signed::ByOthers)));
        let changed = note.replace("1234", "1233");
        assert_eq!(Checkpoint::parse(&changed, &[&own]), Err(InvalidNote::Signature));
        // A witness adds its own line.
        let witnessed = format!("{note}— witness.example/w AAAAAAAA\n");
        assert_eq!(Checkpoint::parse(&witnessed, &[&own]), Ok((checkpoint(), Signed::Yes)));
    }

    #[test]
    fn a_note_without_a_key_is_not_signed() {
        let note = checkpoint().note(None);
        assert_eq!(Checkpoint::parse(&note, &[&key(7)]), Ok((checkpoint(), Signed::No)));
    }

    #[test]
    fn another_text_is_no_checkpoint() {
        let note = checkpoint().note(Some(&key(7)));
        for text in [
            String::new(),
            note.replace("kes-audit/0", "kes-audit/x"),
            note.replace("1234\n", "01234\n"),
            note.replace("\n\n", "\n"),
            note.replace("— kes", "- kes"),
            note.replace("1234\n", "1234\nmore\n"),
        ] {
            assert_eq!(Checkpoint::parse(&text, &[]), Err(InvalidNote::Form), "{text}");
        }
    }

    /// c2sp.org/signed-note: the ID is the start of SHA-256 over name, line end, algorithm and key.
    #[test]
    fn the_verifier_is_what_other_tools_take() {
        let key = key(7);
        let text = verifier(&key);
        let parts: Vec<&str> = text.splitn(3, '+').collect();
        assert_eq!(parts[0], format!("kes-audit/key/{}", key.id()));
        let public = STANDARD.decode_to_vec(parts[2]).unwrap();
        assert_eq!((public.len(), public[0]), (33, 1));
        let named = [parts[0].as_bytes(), b"\n", &public].concat();
        assert_eq!(parts[1], hex(&digest(&SHA256, &named).as_ref()[..4]));
    }

    #[test]
    fn heads_are_found_in_a_log() {
        let head = LoggedHead { size: 7, head: checkpoint().head };
        let text = format!(
            "a\nx level=INFO msg=\"{LOGGED}{head}, segment 1\"\nb {LOGGED}? {LOGGED}{head}"
        );
        assert_eq!(logged_heads(&text), [head, head]);
        assert!("7".parse::<LoggedHead>().is_err() && "x:y".parse::<LoggedHead>().is_err());
    }
}
