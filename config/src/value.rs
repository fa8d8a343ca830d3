use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kes_keystore::config::Place;
use zeroize::Zeroizing;

use crate::yaml::{Kind, Node};
use crate::{Mistake, Warning, parse_duration};

/// What all of a walk share: the environment, and what the walk meets.
pub(crate) struct Context<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// The file that the text came from.
    file: Option<Arc<Path>>,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Warning>>,
}

/// The mistake has been noted: nothing is left to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted;

/// A value of the file, or the place where one could stand.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    context: &'a Context<'a>,
    /// Where a field is named, or a scalar stands; for a missing field where its section is
    /// named, and 0 if that is missing as well.
    pub(crate) line: usize,
    pub(crate) path: String,
    /// `None` if the file does not have it.
    node: Option<&'a Node>,
}

/// The text of a scalar, `${NAME}` replaced.
pub(crate) struct Text<'a> {
    pub(crate) value: Value<'a>,
    text: Zeroizing<String>,
    variable: Option<String>,
}

/// A map with known fields. Each is taken by its name; [`Section::end`] warns of the rest.
#[must_use]
pub(crate) struct Section<'a> {
    value: Value<'a>,
    fields: HashMap<&'a str, Value<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>, file: Option<Arc<Path>>) -> Self {
        Self { env, file, mistakes: RefCell::default(), warnings: RefCell::default() }
    }

    pub(crate) fn root(&'a self, node: &'a Node) -> Value<'a> {
        Value { context: self, line: node.line, path: String::new(), node: Some(node) }
    }

    /// What the walk met; in the order of the lines.
    pub(crate) fn end(&self) -> (Vec<Mistake>, Vec<Warning>) {
        let mut warnings = self.warnings.take();
        warnings.sort_by_key(|warning| warning.line);
        (self.mistakes.take(), warnings)
    }
}

impl<'a> Value<'a> {
    pub(crate) fn mistake(&self, text: impl Into<String>) -> Noted {
        self.mistake_at(self.line, text)
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        let (line, path) = (self.line, self.path.clone());
        self.context.warnings.borrow_mut().push(Warning { line, path, text: text.into() });
    }

    /// Where it stands, for messages about what it names.
    pub(crate) fn place(&self) -> Place {
        let Self { context, line, path, .. } = self;
        Place { file: context.file.clone(), line: *line, field: path.clone() }
    }

    /// Neither missing nor empty (`policy:` with nothing under it).
    pub(crate) fn is_given(&self) -> bool {
        self.node.is_some_and(|node| !matches!(node.kind, Kind::Null))
    }

    /// Whether nothing, or an empty text, stands there; `${NAME}` is neither.
    pub(crate) fn is_blank(&self) -> bool {
        self.node.is_none_or(|node| match &node.kind {
            Kind::Null => true,
            Kind::Scalar(text) => text.is_empty(),
            Kind::List(_) | Kind::Map(_) => false,
        })
    }

    /// The text of a scalar; `None` if there is none.
    pub(crate) fn text(&self) -> Result<Option<Text<'a>>, Noted> {
        let text = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(None),
            Some(Kind::Scalar(text)) => text,
            Some(Kind::List(_) | Kind::Map(_)) => return Err(self.wrong("a text")),
        };
        let Some(name) = variable(text) else {
            return Ok(Some(Text { value: self.clone(), text: text.clone(), variable: None }));
        };
        let Some(text) = (self.context.env)(name).map(Zeroizing::new) else {
            let name = name.escape_debug();
            return Err(self.mistake(format!("environment variable '{name}' is not set")));
        };
        Ok(Some(Text { value: self.clone(), text, variable: Some(name.to_owned()) }))
    }

    /// The text of a scalar; `None` if there is none, or an empty one.
    pub(crate) fn filled(&self) -> Result<Option<Text<'a>>, Noted> {
        Ok(self.text()?.filter(|text| !text.as_str().is_empty()))
    }

    /// The text of a scalar that must be there and not empty.
    pub(crate) fn required(&self) -> Result<Text<'a>, Noted> {
        self.filled()?.ok_or_else(|| self.mistake("is required"))
    }

    /// `yes` and `on` are taken as well as `true`, as YAML 1.1 has it.
    pub(crate) fn boolean(&self) -> Result<bool, Noted> {
        let Some(text) = self.text()? else { return Ok(false) };
        match text.as_str().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => Ok(true),
            "false" | "no" | "n" | "off" => Ok(false),
            _ => Err(self.mistake(format!("{} is neither true nor false", text.shown()))),
        }
    }

    /// A duration of Go; `None` if there is none.
    pub(crate) fn duration(&self) -> Result<Option<Duration>, Noted> {
        let Some(text) = self.text()? else { return Ok(None) };
        match parse_duration(text.as_str()) {
            Ok(duration) => Ok(Some(duration)),
            Err(error) => Err(self.mistake(format!("{}: {error}", text.shown()))),
        }
    }

    /// A duration of Go. Zero stands for the default, as it does in the reference server.
    pub(crate) fn duration_or(&self, default: Duration) -> Result<Duration, Noted> {
        match self.duration()? {
            None => Ok(default),
            Some(Duration::ZERO) => {
                self.warn(format!("0 stands for the default, {default:?}"));
                Ok(default)
            }
            Some(duration) => Ok(duration),
        }
    }

    /// The items of a list; empty if there is none.
    pub(crate) fn list(&self) -> Result<Vec<Self>, Noted> {
        let items = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(vec![]),
            Some(Kind::List(items)) => items,
            Some(Kind::Scalar(_) | Kind::Map(_)) => return Err(self.wrong("a list")),
        };
        let item = |(position, node): (usize, &'a std::rc::Rc<Node>)| Self {
            context: self.context,
            line: node.line,
            path: format!("{}[{position}]", self.path),
            node: Some(node),
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The fields of a map, each name once, in the order of the file; empty if there is none.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, Self)>, Noted> {
        let entries = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(vec![]),
            Some(Kind::Map(entries)) => entries,
            Some(Kind::Scalar(_) | Kind::List(_)) => return Err(self.wrong("a map")),
        };
        let mut lines = HashMap::new();
        let mut fields = Vec::with_capacity(entries.len());
        for entry in entries {
            let is_scalar = matches!(entry.value.kind, Kind::Scalar(_));
            let value = Self {
                context: self.context,
                line: if is_scalar { entry.value.line } else { entry.line },
                path: join(&self.path, &entry.key),
                node: Some(&entry.value),
            };
            match lines.entry(&*entry.key) {
                Slot::Vacant(slot) => {
                    slot.insert(entry.line);
                    fields.push((&*entry.key, value));
                }
                Slot::Occupied(first) => {
                    let text = format!("named twice, first in line {}", first.get());
                    value.mistake_at(entry.line, text);
                }
            }
        }
        Ok(fields)
    }

    /// The map that it is; an empty one if there is none.
    pub(crate) fn section(&self) -> Result<Section<'a>, Noted> {
        let fields = self.entries()?.into_iter().collect();
        Ok(Section { value: self.clone(), fields, known: vec![] })
    }

    fn wrong(&self, expected: &str) -> Noted {
        let found = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => "nothing",
            Some(Kind::Scalar(_)) => "a text",
            Some(Kind::List(_)) => "a list",
            Some(Kind::Map(_)) => "a map",
        };
        self.mistake(format!("{expected} is expected, line {} holds {found}", self.line))
    }

    fn mistake_at(&self, line: usize, text: impl Into<String>) -> Noted {
        let (line, path) = ((line > 0).then_some(line), self.path.clone());
        self.context.mistakes.borrow_mut().push(Mistake { line, path, text: text.into() });
        Noted
    }
}

impl<'a> Text<'a> {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// How a message names it: the text itself, or the variable that it came from, whose value
    /// stays out of messages. Not for fields that are secret.
    pub(crate) fn shown(&self) -> String {
        match &self.variable {
            None => format!("'{}'", self.text.escape_debug()),
            Some(name) => format!("${{{}}}", name.escape_debug()),
        }
    }

    /// The name of the variable that it came from.
    pub(crate) fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    pub(crate) fn mistake(&self, text: impl Into<String>) -> Noted {
        self.value.mistake(text)
    }
}

impl<'a> Section<'a> {
    /// The place of the section itself.
    pub(crate) const fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// A field.
    pub(crate) fn take(&mut self, name: &'static str) -> Value<'a> {
        self.known.push(name);
        let is_root = self.value.path.is_empty();
        self.fields.remove(name).unwrap_or_else(|| Value {
            context: self.value.context,
            line: if is_root { 0 } else { self.value.line },
            path: join(&self.value.path, name),
            node: None,
        })
    }

    /// The section that a field is. One that is none leaves an empty one behind.
    pub(crate) fn section(&mut self, name: &'static str) -> Result<Self, Noted> {
        self.take(name).section()
    }

    /// A field of old files: why it does nothing.
    pub(crate) fn retired(&mut self, name: &str, why: &str) {
        if let Some(value) = self.fields.remove(name) {
            value.warn(format!("ignored: {why}"));
        }
    }

    /// Warns of the fields that nobody took.
    pub(crate) fn end(self) {
        let mut unknown: Vec<_> = self.fields.into_iter().collect();
        unknown.sort_by_key(|(name, value)| (value.line, *name));
        for (name, value) in unknown {
            let meant = self
                .known
                .iter()
                .map(|known| (strsim::osa_distance(&name.to_lowercase(), known), known))
                // Two slips, but no other word: `kye` is key, `mode` is nothing.
                .filter(|(distance, known)| *distance <= 2 && distance * 2 < known.len())
                .min_by_key(|(distance, _)| *distance);
            value.warn(match meant {
                Some((_, known)) => format!("unknown field, ignored; is '{known}' meant?"),
                None => "unknown field, ignored".to_owned(),
            });
        }
    }
}

/// The name in `${NAME}`, blanks around it trimmed; only a whole scalar is one.
fn variable(text: &str) -> Option<&str> {
    Some(text.strip_prefix("${")?.strip_suffix('}')?.trim())
}

/// The name of a field is cut where no field's name goes on: `{secret:x}` without a blank is a
/// field of that name, and must not be printed.
fn join(path: &str, key: &str) -> String {
    let of_a_name = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    let end = key.find(|c| !of_a_name(c)).unwrap_or(key.len());
    let cut = if end < key.len() { "…" } else { "" };
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{}{cut}", &key[..end])
}
