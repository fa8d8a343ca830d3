//! Expected lines with placeholders: see [`super::transcript`].

use std::collections::BTreeMap;

type Kept = BTreeMap<String, String>;

/// Whether the lines are the expected ones; an expected `...` stands for any number of lines.
pub(super) fn lines_fit(expected: &[String], got: &[&str], kept: &mut Kept) -> bool {
    match (expected.split_first(), got.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "..." => {
            (0..=got.len()).any(|skipped| lines_fit(rest, &got[skipped..], kept))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, lines))) => {
            let mut found = kept.clone();
            let fits = fits(first, line, &mut found) && lines_fit(rest, lines, &mut found);
            if fits {
                *kept = found;
            }
            fits
        }
    }
}

fn fits(expected: &str, got: &str, kept: &mut Kept) -> bool {
    let Some(placeholder) = next_placeholder(expected) else { return expected == got };
    let (before, after) = (&expected[..placeholder.start], &expected[placeholder.end..]);
    let Some(got) = got.strip_prefix(before) else { return false };
    // The longest first: what follows then decides.
    (0..=got.len()).rev().filter(|&end| got.is_char_boundary(end)).any(|end| {
        let mut found = kept.clone();
        if let Some(name) = placeholder.name {
            found.insert(name.to_owned(), got[..end].to_owned());
        }
        let all = (placeholder.kind)(&got[..end]) && fits(after, &got[end..], &mut found);
        if all {
            *kept = found;
        }
        all
    })
}

struct Placeholder<'t> {
    start: usize,
    end: usize,
    name: Option<&'t str>,
    kind: fn(&str) -> bool,
}

/// The first `<kind>` or `<name:kind>` of a kind that is known; other brackets are text.
fn next_placeholder(text: &str) -> Option<Placeholder<'_>> {
    text.match_indices('<').find_map(|(start, _)| {
        let end = start + text[start..].find('>')?;
        let inner = &text[start + 1..end];
        let (name, kind) = match inner.split_once(':') {
            Some((name, kind)) => (Some(name), kind),
            None => (None, inner),
        };
        let kind: fn(&str) -> bool = match kind {
            "n" => |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            "word" => |text| !text.is_empty() && !text.contains(' '),
            "any" => |_| true,
            "time" => |text| has_form(text, "0000-00-00 00:00:00"),
            "rfc3339" => |text| {
                text.get(..19).is_some_and(|start| has_form(start, "0000-00-00T00:00:00"))
                    && text.ends_with('Z')
            },
            "identity" => |text| has_form(text, &"x".repeat(64)),
            "fingerprint" => |text| has_form(text, &"x".repeat(32)),
            "api-key" => |text| {
                text.strip_prefix("kes:v1:").is_some_and(|key| key.len() == 44 && is_base64(key))
            },
            "base64" => |text| text.len() >= 4 && text.len() % 4 == 0 && is_base64(text),
            _ => return None,
        };
        Some(Placeholder { start, end: end + 1, name, kind })
    })
}

/// `0` stands for a digit, `x` for a lower-case hexadecimal digit.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            _ => byte == form,
        })
}

fn is_base64(text: &str) -> bool {
    text.trim_end_matches('=')
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
