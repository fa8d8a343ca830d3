use std::fmt::Display;

/// How many names a message lists. A line with ten of them can still be read.
const MOST_LISTED: usize = 10;

/// How many characters of a name are shown. The hash of an identity has 64; a name that needs more
/// is told by its begin.
const LONGEST_SHOWN: usize = 100;

/// Names for a message: those that fit, and how many there are in addition. Each is escaped and
/// limited in length, so that the text is one line of a few hundred words at most, whatever the
/// names and their number.
pub fn listed<N: Display>(
    names: impl IntoIterator<Item = N, IntoIter: ExactSizeIterator>,
) -> String {
    let mut names = names.into_iter();
    let count = names.len();
    let first: Vec<_> =
        names.by_ref().take(MOST_LISTED).map(|name| shown(&name.to_string())).collect();
    let more = count.saturating_sub(first.len());
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A text of the configuration for a message: in quotes and escaped, unless it is one plain word.
pub fn shown(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/*[]=".contains(c);
    if !text.is_empty() && text.len() <= LONGEST_SHOWN && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let begin: String = text.chars().take(LONGEST_SHOWN).collect();
    let more = if begin.len() < text.len() { "…" } else { "" };
    format!("'{}{more}'", begin.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_ten_and_counts_the_rest() {
        assert_eq!(listed(["a"]), "a");
        assert_eq!(listed(["a", "b c"]), "a, 'b c'");
        let many: Vec<String> = (0..10_000).map(|number| format!("p{number}")).collect();
        let first = "p0, p1, p2, p3, p4, p5, p6, p7, p8, p9";
        assert_eq!(listed(&many[..10]), first);
        assert_eq!(listed(&many), format!("{first} and 9990 more"));
    }

    #[test]
    fn no_text_can_forge_a_line_or_fill_the_log() {
        assert_eq!(shown("a\nlevel=ERROR"), r"'a\nlevel=ERROR'");
        assert_eq!(shown(""), "''");
        assert_eq!(shown("a' and 'b"), r"'a\' and \'b'");
        assert_eq!(shown("/v1/key/create/*"), "/v1/key/create/*");
        let long = shown(&"é".repeat(1_000_000));
        assert_eq!(long, format!("'{}…'", "é".repeat(LONGEST_SHOWN)));
    }
}
