/// Maps with known fields.
mod section;

/// Texts, and environment variables.
mod text;

use std::cell::RefCell;
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kes_keystore::config::Place;

pub(crate) use self::section::Section;
pub(crate) use self::text::Text;
use crate::yaml::{Entry, Kind, Node};
use crate::{Environment, Mistake, Variables, Warning, parse_duration};

/// The most mistakes, and the most warnings, that are reported for a file. Nobody reads more, and a
/// file can have one for every three of its bytes.
const MAX_TOLD: usize = 200;

/// Shared by all values during a walk: the environment, and the mistakes and warnings so far.
pub(crate) struct Context<'a> {
    env: &'a dyn Environment,
    /// The variables that the file refers to.
    referred: RefCell<HashSet<String>>,
    /// What has their values.
    variables: RefCell<Variables>,
    /// The file that the text came from.
    file: Option<Arc<Path>>,
    pause: &'a dyn Fn(),
    mistakes: RefCell<Notes<Mistake>>,
    warnings: RefCell<Notes<Warning>>,
}

/// The first mistakes or warnings, and how many more there were.
struct Notes<T> {
    told: Vec<T>,
    more: usize,
}

/// The mistake is already reported; there is nothing to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlreadyReported;

/// A value of the file, or the place of a missing one.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    context: &'a Context<'a>,
    /// The line of the field's name or of the scalar. For a missing field the line of its section;
    /// 0 if that is missing too.
    pub(crate) line: usize,
    pub(crate) path: String,
    /// `None` if the file does not have it.
    node: Option<&'a Node>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        env: &'a dyn Environment,
        file: Option<Arc<Path>>,
        pause: &'a dyn Fn(),
    ) -> Self {
        let (referred, variables) = (RefCell::default(), RefCell::default());
        let (mistakes, warnings) = (RefCell::default(), RefCell::default());
        Self { env, referred, variables, file, pause, mistakes, warnings }
    }

    pub(crate) fn root(&'a self, node: &'a Node) -> Value<'a> {
        Value { context: self, line: node.line, path: String::new(), node: Some(node) }
    }

    /// What has the values of variables so far.
    pub(crate) fn variables(&self) -> Variables {
        self.variables.take()
    }

    /// A warning of the file as a whole.
    pub(crate) fn warn(&self, line: usize, text: &str) {
        let warning = Warning { line, path: String::new(), text: text.to_owned() };
        self.warnings.borrow_mut().add(warning);
    }

    /// The mistakes and warnings of the walk, in the order of the lines.
    pub(crate) fn end(&self) -> (Vec<Mistake>, Vec<Warning>) {
        let Notes { told: mut warnings, more } = self.warnings.take();
        warnings.sort_by(|a, b| (a.line, &a.path, &a.text).cmp(&(b.line, &b.path, &b.text)));
        warnings.dedup();
        if let (1.., Some(last)) = (more, warnings.last()) {
            let text = format!("{more} more warnings are not shown");
            warnings.push(Warning { line: last.line, path: String::new(), text });
        }
        let Notes { told: mut mistakes, more } = self.mistakes.take();
        mistakes.sort_by_key(|mistake| mistake.line);
        if let (1.., Some(last)) = (more, mistakes.last()) {
            let text = format!("{more} more mistakes are not shown");
            mistakes.push(Mistake::of_file(last.line, text));
        }
        (mistakes, warnings)
    }
}

impl<T> Notes<T> {
    fn add(&mut self, note: T) {
        if self.told.len() < MAX_TOLD {
            self.told.push(note);
        } else {
            self.more += 1;
        }
    }
}

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self { told: Vec::new(), more: 0 }
    }
}

impl<'a> Value<'a> {
    /// Ends a step of work.
    pub(crate) fn pause(&self) {
        (self.context.pause)();
    }

    pub(crate) fn mistake(&self, text: impl Into<String>) -> AlreadyReported {
        self.mistake_at(self.line, text)
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        let (line, path) = (self.line, self.path.clone());
        self.context.warnings.borrow_mut().add(Warning { line, path, text: text.into() });
    }

    /// Its place, for messages about the file or folder that it names.
    pub(crate) fn place(&self) -> Place {
        let Self { context, line, path, .. } = self;
        Place { file: context.file.clone(), line: *line, field: path.clone() }
    }

    /// Whether it is a map.
    pub(crate) fn is_map(&self) -> bool {
        self.node.is_some_and(|node| matches!(node.kind, Kind::Map(_)))
    }

    /// Not missing, but maybe empty.
    pub(crate) const fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// Neither missing nor empty (`policy:` with nothing under it).
    pub(crate) fn is_given(&self) -> bool {
        self.node.is_some_and(|node| !matches!(node.kind, Kind::Null))
    }

    /// Accepts `yes` and `on` as well as `true`, as in YAML 1.1.
    pub(crate) fn boolean(&self) -> Result<bool, AlreadyReported> {
        let Some(text) = self.filled()? else { return Ok(false) };
        match text.as_str().to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" => Ok(true),
            "false" | "no" | "n" | "off" => Ok(false),
            _ => Err(self.mistake(format!("{} is neither true nor false", text.shown()))),
        }
    }

    /// A duration of Go; `None` if there is none.
    pub(crate) fn duration(&self) -> Result<Option<Duration>, AlreadyReported> {
        let Some(text) = self.filled()? else { return Ok(None) };
        match parse_duration(text.as_str()) {
            Ok(duration) => Ok(Some(duration)),
            Err(error) => Err(self.mistake(format!("{}: {error}", text.shown()))),
        }
    }

    /// A duration of Go. Zero means the default, as in the reference server.
    pub(crate) fn duration_or(&self, default: Duration) -> Result<Duration, AlreadyReported> {
        match self.duration()? {
            None => Ok(default),
            Some(Duration::ZERO) => {
                self.warn(format!("0 means the default, {default:?}"));
                Ok(default)
            }
            Some(duration) => Ok(duration),
        }
    }

    /// What `read` makes of each item of a list; empty if there is no list. All items are read, also
    /// those after a mistake. `item` is an example of an item, for the message if the value is not
    /// a list.
    pub(crate) fn items<T>(
        &self,
        item: &str,
        read: impl FnMut(Self) -> Result<T, AlreadyReported>,
    ) -> Result<Vec<T>, AlreadyReported> {
        // Collected first, so that the mistakes of all items are recorded.
        let read: Vec<_> = self.list(item)?.into_iter().map(read).collect();
        read.into_iter().collect()
    }

    /// What `read` makes of each text of a list, without those of which it makes nothing. Empty texts
    /// are warned of and ignored.
    pub(crate) fn texts<T>(
        &self,
        item: &str,
        mut read: impl FnMut(&Text<'a>) -> Result<Option<T>, AlreadyReported>,
    ) -> Result<Vec<T>, AlreadyReported> {
        let read = self.items(item, |item| {
            let text = item.text()?;
            match text.as_ref().filter(|text| !text.as_str().trim().is_empty()) {
                Some(filled) => read(filled),
                None => {
                    let variable = text.as_ref().and_then(Text::variable);
                    let of =
                        variable.map(|name| format!("variable {name} is ")).unwrap_or_default();
                    item.warn(format!("{of}empty; ignored"));
                    Ok(None)
                }
            }
        })?;
        Ok(read.into_iter().flatten().collect())
    }

    fn list(&self, item: &str) -> Result<Vec<Self>, AlreadyReported> {
        let items = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(vec![]),
            Some(Kind::List(items)) => items,
            Some(Kind::Scalar(_) | Kind::Map(_)) => {
                return Err(self.wrong(&format!("a list with items such as '- {item}'")));
            }
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
    /// `expected` is for the message if the value is not a map.
    pub(crate) fn entries(&self, expected: &str) -> Result<Vec<(&'a str, Self)>, AlreadyReported> {
        self.entries_or(&|| expected.to_owned())
    }

    /// The fields of a map, without reporting anything; `None` if it is not a map.
    pub(crate) fn peek(&self) -> Option<Vec<(&'a str, Self)>> {
        let Some(Node { kind: Kind::Map(entries), .. }) = self.node else { return None };
        Some(entries.iter().map(|entry| (&*entry.key, self.field(entry))).collect())
    }

    fn field(&self, entry: &'a Entry) -> Self {
        let is_scalar = matches!(entry.value.kind, Kind::Scalar(_));
        Self {
            context: self.context,
            line: if is_scalar { entry.value.line } else { entry.line },
            path: join(&self.path, &entry.key),
            node: Some(&entry.value),
        }
    }

    fn entries_or(
        &self,
        expected: &dyn Fn() -> String,
    ) -> Result<Vec<(&'a str, Self)>, AlreadyReported> {
        let entries = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(vec![]),
            Some(Kind::Map(entries)) => entries,
            Some(Kind::Scalar(text)) if text.contains(':') => {
                let found = "a text; is a blank missing after a ':'?";
                return Err(self.found(&expected(), found));
            }
            Some(Kind::Scalar(_) | Kind::List(_)) => return Err(self.wrong(&expected())),
        };
        let mut lines = HashMap::new();
        let mut fields = Vec::with_capacity(entries.len());
        for entry in entries {
            let value = self.field(entry);
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

    fn wrong(&self, expected: &str) -> AlreadyReported {
        let found = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => "nothing",
            Some(Kind::Scalar(_)) => "a text",
            Some(Kind::List(_)) => "a list",
            Some(Kind::Map(_)) => "a map",
        };
        self.found(expected, found)
    }

    fn found(&self, expected: &str, found: &str) -> AlreadyReported {
        self.mistake(format!("expected {expected}, but line {} holds {found}", self.line))
    }

    fn mistake_at(&self, line: usize, text: impl Into<String>) -> AlreadyReported {
        let (line, path) = ((line > 0).then_some(line), self.path.clone());
        self.context.mistakes.borrow_mut().add(Mistake { line, path, text: text.into() });
        AlreadyReported
    }
}

/// The one of some whose word this is.
pub(crate) fn by_word<T: Copy>(all: &[T], word: fn(T) -> &'static str, written: &str) -> Option<T> {
    all.iter().copied().find(|one| word(*one) == written)
}

/// Cuts the name of a field at the first character that no field's name has: `{secret:x}` without a
/// blank is a field with this whole name, which must not be printed.
fn join(path: &str, key: &str) -> String {
    let of_a_name = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    let name = key.split(|c| !of_a_name(c)).next().unwrap_or_default();
    let cut = if name.len() < key.len() { "…" } else { "" };
    let dot = if path.is_empty() { "" } else { "." };
    format!("{path}{dot}{name}{cut}")
}
