use std::collections::BTreeSet;
use std::fmt::Write as _;

use kes_config::{Errors, Loaded, Mistake};
use serde_json::Value;

/// The value of the environment variables that a file may name. It must not show in a message; those
/// that Vault's own programs read may.
const MARK: &str = "MARKED-value-of-a-variable";

/// The configuration file. It is accepted or refused for reasons with places; a comment above it
/// moves every place by one line, and other line ends change nothing. JSON, as another parser reads it,
/// means the same when it is written in lines.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let outcome = load(text);
    let lines = 1 + text.chars().filter(|c| matches!(c, '\n' | '\r')).count();
    match &outcome {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!((1..=lines).contains(&warning.line), "{warning}");
                assert!(text.contains(MARK) || !warning.text.contains(MARK), "{warning}");
            }
        }
        Err(errors) => {
            let message = errors.to_string();
            assert!(!errors.mistakes().is_empty() && !message.is_empty());
            assert!(text.contains(MARK) || !message.contains(MARK), "{message}");
            for Mistake { line, path, text } in errors.mistakes() {
                let is_placed = line.map_or_else(
                    || !path.is_empty() || text == "the file is empty",
                    |line| (1..=lines).contains(&line),
                );
                assert!(is_placed && !text.is_empty(), "{line:?} of {lines}: {path}: {text}");
            }
        }
    }

    let (mark, rest) = match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest),
        None => ("", text),
    };
    // A second mark is not at the start of the file.
    if rest.starts_with('\u{feff}') {
        return;
    }
    let below = load(&format!("{mark}# a comment\n{rest}"));
    assert_eq!(places(&below), places(&outcome).into_iter().map(moved).collect::<Vec<_>>());

    if !text.contains('\r') {
        let other = load(&text.replace('\n', "\r\n"));
        assert_eq!(places(&other), places(&outcome));
    }
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(rest) {
        check_json(&value);
    }
}

/// JSON is YAML. It means what the same tree means in block style.
fn check_json(value: &Value) {
    // In block style a key of more than 1024 characters needs a `?`.
    if has_long_key(value) {
        return;
    }
    let mut block = String::new();
    write_block(value, 0, &mut block);
    let (flow, block) = (load(&value.to_string()), load(&block));
    let without_lines = |outcome: &Result<Loaded, Errors>| -> BTreeSet<String> {
        places(outcome).into_iter().map(|(_, path)| path).collect()
    };
    assert_eq!(flow.is_ok(), block.is_ok(), "{value}");
    assert_eq!(without_lines(&flow), without_lines(&block), "{value}");
    if let (Ok(flow), Ok(block)) = (flow, block) {
        assert_eq!(meaning(&flow), meaning(&block), "{value}");
    }
}

fn has_long_key(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.len() > 100 || has_long_key(value))
        }
        Value::Array(items) => items.iter().any(has_long_key),
        _ => false,
    }
}

/// Writes a tree as YAML, a line for each scalar.
fn write_block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let _ = write!(out, "\n{indent}{}: ", Value::from(name.as_str()));
                write_block(value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "\n{indent}- ");
                write_block(item, depth + 1, out);
            }
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// A configuration as text, without the lines that its fields come from.
fn meaning(loaded: &Loaded) -> String {
    let text = format!("{:?}", loaded.config);
    let mut parts = text.split("line: ");
    let mut meaning = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        meaning.push_str("line: ");
        meaning.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    meaning
}

fn load(text: &str) -> Result<Loaded, Errors> {
    kes_config::parse(text, &|name: &str| match name {
        "UNSET" => None,
        "EMPTY" => Some(String::new()),
        name if name.starts_with("VAULT_") => Some("value".to_owned()),
        _ => Some(MARK.to_owned()),
    })
}

type Placed = (Option<usize>, String);

/// Where something is wrong, or remarkable.
fn places(outcome: &Result<Loaded, Errors>) -> Vec<Placed> {
    match outcome {
        Ok(loaded) => {
            let warnings = loaded.warnings.iter();
            warnings.map(|warning| (Some(warning.line), warning.path.clone())).collect()
        }
        Err(errors) => {
            let mistakes = errors.mistakes().iter();
            mistakes.map(|mistake| (mistake.line, mistake.path.clone())).collect()
        }
    }
}

fn moved((line, path): Placed) -> Placed {
    (line.map(|line| line + 1), path)
}
