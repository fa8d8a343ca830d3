use std::fmt;

use kes_api::name::MAX_NAME_LEN;

/// A shell pattern for whole names: `*` stands for any text, `?` for one character, `[a-z]` for one
/// of some characters, `[^a-z]` or `[!a-z]` for one of all others, and `\` takes the meaning from the
/// character that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `*`
    Text,
    /// `?`
    Character,
    Literal(char),
    /// `[a-z]`
    Class {
        excludes: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPattern {
    pattern: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Open,
    Empty,
    Escape,
    Range(char, char),
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed pattern {:?}: ", self.pattern)?;
        match self.fault {
            Fault::Open => f.write_str("a '[' has no ']'"),
            Fault::Empty => f.write_str("there is nothing in '[]'"),
            Fault::Escape => f.write_str("no character follows the '\\' at its end"),
            Fault::Range(first, last) => write!(f, "nothing is in the range '{first}-{last}'"),
        }
    }
}

impl std::error::Error for InvalidPattern {}

impl Pattern {
    /// Every name.
    pub fn all() -> Self {
        Self(vec![Part::Text])
    }

    /// Parses a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] if it can match nothing because it is malformed.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let mut parts = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let part = match character {
                '*' => Ok(Part::Text),
                '?' => Ok(Part::Character),
                '\\' => characters.next().map(Part::Literal).ok_or(Fault::Escape),
                '[' => class(&mut characters),
                literal => Ok(Part::Literal(literal)),
            };
            let part = part.map_err(|fault| InvalidPattern { pattern: text.to_owned(), fault })?;
            // Two in a row mean the same as one.
            if part != Part::Text || parts.last() != Some(&Part::Text) {
                parts.push(part);
            }
        }
        Ok(Self(parts))
    }

    /// Whether a whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let (mut parts, mut rest) = (self.0.as_slice(), name);
        // Behind the last `*`, and where the text that it stands for ends for now. Going back to
        // that one is enough, so the time is at most the product of both lengths.
        let mut last = None;
        loop {
            match parts.split_first() {
                Some((Part::Text, after)) => {
                    last = Some((after, rest));
                    parts = after;
                    continue;
                }
                Some((part, after)) => {
                    if let Some((first, behind)) = split_first(rest)
                        && part.takes(first)
                    {
                        (parts, rest) = (after, behind);
                        continue;
                    }
                }
                None if rest.is_empty() => return true,
                None => {}
            }
            let Some((after, from)) = last else { return false };
            let Some((_, behind)) = split_first(from) else { return false };
            last = Some((after, behind));
            (parts, rest) = (after, behind);
        }
    }

    /// What each matching name of a key begins with.
    pub(crate) fn prefix(&self) -> String {
        let literals = self.0.iter().map_while(|part| match part {
            Part::Literal(literal) if is_of_names(*literal) => Some(*literal),
            _ => None,
        });
        literals.take(MAX_NAME_LEN).collect()
    }
}

impl Part {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Text | Self::Character => true,
            Self::Literal(literal) => *literal == character,
            Self::Class { excludes, ranges } => {
                let is_in =
                    ranges.iter().any(|(first, last)| (*first..=*last).contains(&character));
                is_in != *excludes
            }
        }
    }
}

/// The rest of a class, behind its `[`. A `-` at either end stands for itself.
fn class(characters: &mut std::str::Chars<'_>) -> Result<Part, Fault> {
    let negates = |text: &str| text.starts_with(['^', '!']);
    let excludes = negates(characters.as_str());
    if excludes {
        characters.next();
    }
    let mut ranges = Vec::new();
    loop {
        let first = match characters.next().ok_or(Fault::Open)? {
            ']' if ranges.is_empty() => return Err(Fault::Empty),
            ']' => return Ok(Part::Class { excludes, ranges }),
            '\\' => characters.next().ok_or(Fault::Open)?,
            first => first,
        };
        let rest = characters.as_str();
        if !rest.starts_with('-') || rest.starts_with("-]") {
            ranges.push((first, first));
            continue;
        }
        characters.next();
        let last = match characters.next().ok_or(Fault::Open)? {
            '\\' => characters.next().ok_or(Fault::Open)?,
            last => last,
        };
        if last < first {
            return Err(Fault::Range(first, last));
        }
        ranges.push((first, last));
    }
}

fn split_first(text: &str) -> Option<(char, &str)> {
    let mut characters = text.chars();
    characters.next().map(|first| (first, characters.as_str()))
}

fn is_of_names(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, good, bad) in [
            ("*", &["", "a", "a-b_c"][..], &[][..]),
            ("**", &["", "a"], &[]),
            ("", &[""], &["a"]),
            ("key", &["key"], &["key1", "akey", "ke", ""]),
            ("key-*", &["key-", "key-1"], &["key", "akey-1"]),
            ("*-1", &["a-1", "-1", "-1-1"], &["a-11"]),
            ("a*b*c", &["abc", "aXbXc", "abcbc"], &["ab", "acb", "xabc"]),
            ("k?y", &["key", "k-y"], &["ky", "keey"]),
            ("[a-c]1", &["a1", "c1"], &["d1", "a", "-1", "A1"]),
            ("[^a-c]", &["d", "-"], &["a", ""]),
            ("[!a-c]", &["d"], &["b"]),
            ("[a-cx]", &["b", "x"], &["w", "-"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[-a]", &["a", "-"], &["b"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[\\a-\\c]", &["b"], &["\\"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("\\[a]", &["[a]"], &["a"]),
            ("a]", &["a]"], &["a"]),
            ("?", &["\u{e4}"], &[]),
            // Many ways to fail.
            ("*a*a*a*a*a*a*a*a*b", &["aaaaaaaab"], &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for name in good {
                assert!(parsed.matches(name), "{pattern} {name}");
            }
            for name in bad {
                assert!(!parsed.matches(name), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_malformed_pattern_is_refused_and_says_why() {
        for (pattern, text) in [
            ("[", "malformed pattern \"[\": a '[' has no ']'"),
            ("key-[a-", "malformed pattern \"key-[a-\": a '[' has no ']'"),
            ("[a\\", "malformed pattern \"[a\\\\\": a '[' has no ']'"),
            ("[]", "malformed pattern \"[]\": there is nothing in '[]'"),
            ("[^]", "malformed pattern \"[^]\": there is nothing in '[]'"),
            ("a\\", "malformed pattern \"a\\\\\": no character follows the '\\' at its end"),
            ("[z-a]", "malformed pattern \"[z-a]\": nothing is in the range 'z-a'"),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_listing_begins_with_what_is_literal() {
        for (pattern, prefix) in [
            ("*", ""),
            ("key-*", "key-"),
            ("key", "key"),
            ("k\\-1?", "k-1"),
            ("a.b*", "a"),
            ("[a]b", ""),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().prefix(), prefix, "{pattern}");
        }
        assert_eq!(Pattern::parse(&"n".repeat(99)).unwrap().prefix().len(), MAX_NAME_LEN);
        assert_eq!(Pattern::all(), Pattern::parse("*").unwrap());
    }

    /// Tries all lengths of each `*`.
    fn slow(parts: &[Part], name: &str) -> bool {
        match (parts.split_first(), split_first(name)) {
            (None, first) => first.is_none(),
            (Some((Part::Text, after)), first) => {
                slow(after, name) || first.is_some_and(|(_, behind)| slow(parts, behind))
            }
            (Some((part, after)), Some((first, behind))) => {
                part.takes(first) && slow(after, behind)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn a_match_is_found_as_by_trying_all(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let pattern = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(pattern.matches(&name), slow(&pattern.0, &name));
        }

        #[test]
        fn any_text_is_a_pattern_or_refused(pattern in any::<String>(), name in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&pattern)
                && pattern.matches(&name)
                && name.chars().all(is_of_names)
            {
                prop_assert!(name.starts_with(&pattern.prefix()));
            }
        }
    }
}
