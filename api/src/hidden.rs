use std::fmt::Write as _;

/// Whether a terminal or an editor obeys a character, or does not show it: control characters (C1 as
/// well), line and paragraph separators, those that change the direction of writing, and invisible
/// ones, with which a name looks like another one. Texts from elsewhere are shown without them.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    let is_in = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    character.is_control() || !character.is_ascii() && INVISIBLE.iter().any(is_in)
}

/// Writes a character of a JSON string as `\u` and four hex digits: twice if it needs more of them
/// (RFC 8259, 7).
pub fn escape_json(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        // A `String` takes all.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// How many bytes [`escape_json`] writes.
#[must_use]
pub const fn escaped_len(character: char) -> usize {
    6 * character.len_utf16()
}

/// Characters that no terminal shows, and with which a name looks like another one: those of the
/// general categories Cf, Zl and Zp, and those that Unicode calls ignorable by default (Unicode 17,
/// `DerivedGeneralCategory.txt` and `DerivedCoreProperties.txt`).
const INVISIBLE: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_is_shown() {
        for c in "aé ü漢क्षि🙂–\"\\".chars() {
            assert!(!is_hidden(c), "{c:?}");
        }
        for c in
            "\0\u{1b}\u{7f}\u{9b}\u{ad}\u{61c}\u{200b}\u{2028}\u{202e}\u{2060}\u{feff}\u{e0041}"
                .chars()
        {
            assert!(is_hidden(c), "{c:?}");
        }
        assert!(INVISIBLE.is_sorted() && INVISIBLE.iter().all(|(first, last)| first <= last));
    }

    #[test]
    fn an_escaped_character_is_read_back() {
        for c in ['\0', '\u{9b}', '\u{202e}', '\u{e0041}'] {
            let mut text = String::new();
            escape_json(&mut text, c);
            assert_eq!(text.len(), escaped_len(c));
            assert_eq!(serde_json::from_str::<char>(&format!("\"{text}\"")).unwrap(), c);
        }
    }
}
