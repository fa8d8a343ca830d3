use super::*;

/// The colours of a scheme, by their names.
fn colours(block: &str) -> std::collections::BTreeMap<String, [f64; 3]> {
    let declared =
        block.split(['{', '}', ';', '\n']).filter_map(|part| part.trim().split_once(": #"));
    let named = declared.map(|(name, hex)| {
        let part = |at: usize| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap();
        (name.trim_start_matches("--").to_owned(), [0, 2, 4].map(|at| f64::from(part(at)) / 255.0))
    });
    named.collect()
}

/// The ratio of WCAG 2.
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear = colour.map(|part| match part {
            ..=0.040_45 => part / 12.92,
            _ => ((part + 0.055) / 1.055).powf(2.4),
        });
        linear[0] * 0.2126 + linear[1] * 0.7152 + linear[2] * 0.0722
    };
    let (a, b) = (luminance(one), luminance(other));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn texts_and_lines_stand_out_in_both_schemes() {
    let (light, dark) = html::STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let dark = dark.split_once("\n}").unwrap().0;
    for scheme in [light.split_once("\n}").unwrap().0, dark] {
        let of = colours(scheme);
        assert!(of.len() >= 14, "{of:?}");
        let check = |front: &str, back: &str, least: f64| {
            let found = contrast(of[front], of[back]);
            assert!(found >= least, "{front} on {back}: {found:.2}");
        };
        // AA: 4.5 for texts, 3 for what is drawn.
        for back in ["ground", "card"] {
            for front in ["text", "quiet", "good", "warning", "bad"] {
                check(front, back, 4.5);
            }
        }
        for tone in ["good", "warning", "bad"] {
            check(tone, &format!("{tone}-ground"), 4.5);
        }
        for line in ["line", "second", "bad", "warning"] {
            check(line, "card", 3.0);
        }
    }
}

#[test]
fn the_page_is_small_and_asks_no_other_host() {
    let page = html::document(&view::example(), "127.0.0.1:7374");
    assert!(page.len() < 40_000, "{} bytes", page.len());
    // Names of XML, which nothing is fetched from.
    let foreign = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http://", "https://", "//cdn", "@import", "url(", "src=", " style=", " onclick"] {
        assert!(!foreign.contains(word), "{word}");
    }
    assert_eq!(page.matches("<script>").count(), 1);
    assert!(!page.contains("{{") && !page.contains("}}"), "a place was left");
}

#[test]
fn names_are_text_in_the_document() {
    let mut view = view::example();
    let evil = "</title><script>alert(1)</script><img src=x onerror=\"y\">";
    view.texts.insert("place", (None, evil.to_owned()));
    let cells = vec![view::Cell::Code(evil.to_owned()), view::Cell::Text(evil.to_owned())];
    view.tables.insert("refusals", vec![cells]);
    let row = vec![view::Cell::Toned(view::Tone::Bad, evil.to_owned())];
    view.tables.insert("problems", vec![row]);
    let page = html::document(&view, evil);
    assert!(!page.contains("<img") && !page.contains("<script>alert"), "{page}");
    assert_eq!(page.matches("&lt;img src=x onerror=&quot;y&quot;&gt;").count(), 6);
}
