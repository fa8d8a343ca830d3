//! The document: a template, and what stands in its places. Texts are escaped on their way in, whoever
//! they come from: names of keys and identities are their clients' choice.

use std::fmt::Write as _;

use kes_api::hidden::is_hidden;

use super::chart::{self, Chart, HEIGHT};
use super::history::POINTS;
use super::view::{Cell, Tone, View};

/// The document around the figures.
const TEMPLATE: &str = include_str!("page.html");

/// Its style; the policy of its contents names the hash.
pub(super) const STYLE: &str = include_str!("page.css");

/// Its script; the same.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The document of a view. `host` is the name by which the reader has asked for it.
pub(super) fn document(view: &View, host: &str) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let mut rest = TEMPLATE;
    // A place is written as `{{name}}` or `{{kind:name}}`.
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((place, after)) = after.split_once("}}") else { break };
        page.push_str(before);
        fill(&mut page, place, view, host);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn fill(page: &mut String, place: &str, view: &View, host: &str) {
    match place.split_once(':') {
        Some(("tone", name)) => {
            let tone = view.texts.get(name).and_then(|(tone, _)| *tone);
            page.push_str(tone.map_or("", word));
        }
        Some(("chart", id)) => {
            if let Some(chart) = view.charts.iter().find(|chart| chart.id == id) {
                draw(page, chart);
            }
        }
        Some(("head", name)) => {
            for heading in headings(name) {
                page.push_str("<th role=\"columnheader\" scope=\"col\">");
                escape(page, heading);
                page.push_str("</th>");
            }
        }
        Some(("rows", name)) => {
            for row in view.tables.get(name).into_iter().flatten() {
                add_row(page, row, view, name);
            }
        }
        _ => match place {
            "style" => page.push_str(STYLE),
            "script" => page.push_str(SCRIPT),
            "host" => escape(page, host),
            name => {
                if let Some((_, text)) = view.texts.get(name) {
                    escape(page, text);
                }
            }
        },
    }
}

/// The word for a tone, in the document and in the event stream.
pub(super) const fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
    }
}

fn draw(page: &mut String, chart: &Chart) {
    let Chart { id, label, top, lines } = chart;
    page.push_str("<svg role=\"img\" preserveAspectRatio=\"none\" data-c=\"");
    escape(page, id);
    page.push_str("\" aria-label=\"");
    escape(page, label);
    let _ = write!(page, "\" viewBox=\"0 0 {POINTS} {HEIGHT}\">");
    if let Some(first) = lines.first() {
        let _ = write!(page, "<path class=\"a\" d=\"{}\"/>", chart::area(first, *top));
    }
    // The first line lies above the others.
    for (number, line) in lines.iter().enumerate().rev() {
        let _ = write!(page, "<path class=\"l l{number}\" d=\"{}\"/>", chart::line(line, *top));
    }
    page.push_str("</svg>");
}

/// The headings of the columns of a table. In a narrow window each cell has its own.
fn headings(table: &str) -> &'static [&'static str] {
    match table {
        "operations" => {
            &["Operation", "Five minutes", "A second", "Half within", "99 of 100 within", "In all"]
        }
        "certificates" => &["Certificate", "End", "Left"],
        "refusals" => &["Last", "Times", "Request", "Identity", "Reason", "What would allow it"],
        _ => &[],
    }
}

fn add_row(page: &mut String, row: &[Cell], view: &View, table: &str) {
    if table == "problems" {
        for cell in row {
            if let Cell::Toned(tone, text) = cell {
                let _ = write!(page, "<li data-k=\"{}\">", word(*tone));
                escape(page, text);
                page.push_str("</li>");
            }
        }
        return;
    }
    page.push_str("<tr role=\"row\">");
    let headings = headings(table).iter().map(|heading| format!(" data-h=\"{heading}\""));
    for (cell, heading) in row.iter().zip(headings) {
        page.push_str("<td role=\"cell\"");
        match cell {
            Cell::None(_) => page.push_str(" colspan=\"9\" class=\"none\">"),
            Cell::Toned(tone, _) => {
                let _ = write!(page, "{heading} data-k=\"{}\">", word(*tone));
            }
            Cell::Text(_) | Cell::Code(_) | Cell::Chart(_) => {
                let _ = write!(page, "{heading}>");
            }
        }
        match cell {
            Cell::None(text) => escape(page, text),
            Cell::Text(text) | Cell::Toned(_, text) => escape(page, text),
            Cell::Code(text) => {
                page.push_str("<code>");
                escape(page, text);
                page.push_str("</code>");
            }
            Cell::Chart(id) => {
                let chart = view.charts.iter().find(|chart| chart.id == *id);
                chart.into_iter().for_each(|chart| draw(page, chart));
            }
        }
        page.push_str("</td>");
    }
    page.push_str("</tr>");
}

/// Adds a text so that it is nothing but text, between tags and in a quoted attribute. Characters that
/// control a terminal, turn the direction of writing or cannot be seen are replaced: a name could look
/// like another one.
pub(super) fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match shown(c) {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

/// What a character is shown as.
pub(super) fn shown(c: char) -> char {
    if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut page = String::new();
        escape(&mut page, text);
        page
    }

    #[test]
    fn a_text_is_no_markup() {
        let evil = "\"><script>alert('x')</script>&amp;\r\n\u{202e}";
        let expected = "&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;\u{fffd}\
                        \u{fffd}\u{fffd}";
        assert_eq!(escaped(evil), expected);
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_ends_an_attribute_or_begins_a_tag(text in any::<String>()) {
            let page = escaped(&text);
            prop_assert!(!page.contains(['<', '>', '"', '\'']), "{page}");
            // Each ampersand begins one of five references, which give the text back.
            let back = page.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            let back = back.replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(back, text.chars().map(shown).collect::<String>());
            for part in page.split('&').skip(1) {
                let is_known = ["lt;", "gt;", "quot;", "#39;", "amp;"]
                    .iter()
                    .any(|reference| part.starts_with(reference));
                prop_assert!(is_known, "{}", part);
            }
        }

        #[test]
        fn no_character_is_left_that_cannot_be_seen(text in "[\\x00-\\x9f\u{2000}-\u{2070}\u{feff}]*") {
            prop_assert!(!escaped(&text).contains(is_hidden));
        }
    }

    /// The same characters as in the logs and on a terminal.
    #[test]
    fn a_name_cannot_look_like_another_one() {
        for hidden in ['\u{ad}', '\u{34f}', '\u{61c}', '\u{3164}', '\u{fe0f}', '\u{e0041}'] {
            assert_eq!(escaped(&format!("a{hidden}b")), "a\u{fffd}b", "{hidden:?}");
        }
    }

    #[test]
    fn every_place_of_the_template_is_one_that_is_filled() {
        let places = TEMPLATE.split("{{").skip(1).map(|part| part.split_once("}}").unwrap().0);
        let places: Vec<_> = places.collect();
        assert!(places.len() > 30, "{places:?}");
        let view = super::super::view::example();
        for place in places {
            let mut page = String::new();
            fill(&mut page, place, &view, "host");
            let is_filled = match place.split_once(':') {
                Some(("tone", name)) => view.texts[name].0.is_some(),
                // There may be none.
                Some(("rows", name)) => view.tables.contains_key(name),
                Some((_, _)) => !page.is_empty(),
                None => {
                    matches!(place, "style" | "script" | "host") || view.texts.contains_key(place)
                }
            };
            assert!(is_filled, "{place}");
        }
    }
}
