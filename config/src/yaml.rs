use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, StrInput, Tag};
use zeroize::Zeroizing;

use crate::Mistake;

/// The deepest nesting, aliases included. A configuration needs six levels; the limit bounds the
/// recursion that walks and drops the tree.
const MAX_DEPTH: usize = 64;

/// The most nodes of a file. A thousand policies with ten thousand identities have some thirty
/// thousand. A node takes about a hundred bytes of memory and can be three bytes of the file.
const MAX_NODES: usize = 1_000_000;

/// The most nodes that all aliases of a file expand to. In a real file they share some patterns;
/// the ten lines of an alias bomb expand to 10^10 nodes.
const MAX_ALIASED_NODES: u64 = 1_000_000;

/// How many events are read in one step: about ten microseconds of work.
const STEP: u32 = 64;

/// A node of the tree, with aliases and merge keys resolved.
pub(crate) struct Node {
    /// The line at which it begins, from 1 on; for an alias the line of its anchor.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// How many nodes it has, with aliases expanded.
    pub(crate) size: u64,
    /// How many levels it has.
    depth: usize,
}

pub(crate) enum Kind {
    Null,
    /// As text, whatever its YAML type: `1e3` may be an identity. Wiped when dropped, since it may
    /// be a secret. The parser's own buffers for quoted texts with escapes are not wiped.
    Scalar(Zeroizing<String>),
    List(Vec<Rc<Node>>),
    /// In the order of the file. A key may occur twice.
    Map(Vec<Entry>),
}

/// A field of a map.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) line: usize,
    pub(crate) value: Rc<Node>,
}

/// The first document of a text.
pub(crate) struct Document {
    pub(crate) root: Rc<Node>,
    /// The line in which another document begins.
    pub(crate) next: Option<usize>,
}

/// Reads the first document of a text; the rest is ignored, as in the reference server. Calls
/// `pause` after each step.
pub(crate) fn parse(text: &str, pause: &dyn Fn()) -> Result<Document, Mistake> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.block_nesting_limit = MAX_DEPTH;
    options.flow_nesting_limit = MAX_DEPTH;
    let mut composer = Composer {
        events: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        aliased: 0,
        pause,
        events_of_step: 0,
    };
    loop {
        let (event, line) = composer.next()?;
        match event {
            Event::StreamEnd => return Err(Mistake::of_file(None, "the file is empty")),
            event if event.is_node() => {
                let root = composer.node(event, line)?;
                // The end of the document, and the start of the next: `{} junk` is not YAML.
                composer.next()?;
                let next = match composer.next()? {
                    (Event::DocumentStart(..), line) => Some(line),
                    _ => None,
                };
                return match (&root.kind, next) {
                    (Kind::Null, None) => Err(Mistake::of_file(None, "the file is empty")),
                    (Kind::Null, Some(line)) => {
                        let text = "the first document of the file is empty, and the second, which \
                                    begins here, is ignored: remove this '---'";
                        Err(Mistake::of_file(Some(line), text))
                    }
                    (_, next) => Ok(Document { root, next }),
                };
            }
            _ => {}
        }
    }
}

struct Composer<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// By the parser's number of the anchor. An anchor with a reused name gets a new number.
    anchors: HashMap<usize, Rc<Node>>,
    /// The number of nodes so far.
    nodes: usize,
    /// The number of nodes that the aliases so far expand to.
    aliased: u64,
    pause: &'t dyn Fn(),
    events_of_step: u32,
}

impl<'t> Composer<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), Mistake> {
        self.events_of_step += 1;
        if self.events_of_step == STEP {
            self.events_of_step = 0;
            (self.pause)();
        }
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(not_yaml(&error)),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    /// The node that an event begins.
    fn node(&mut self, event: Event<'t>, line: usize) -> Result<Rc<Node>, Mistake> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let text = "the file has more than a million values up to here";
            return Err(Mistake::of_file(Some(line), text));
        }
        let (kind, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                let kind = if is_null(&text, style, tag.as_deref()) {
                    Kind::Null
                } else {
                    Kind::Scalar(Zeroizing::new(text.into_owned()))
                };
                (kind, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.list()?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map()?, anchor),
            _ => return Err(Mistake::of_file(Some(line), format!("not YAML in line {line}"))),
        };
        let (size, depth) = measure(&kind);
        if depth > MAX_DEPTH {
            let text = format!("nested deeper than {MAX_DEPTH} levels, aliases included");
            return Err(Mistake::of_file(Some(line), text));
        }
        let node = Rc::new(Node { line, kind, size, depth });
        // 0 means no anchor.
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Rc<Node>, Mistake> {
        let refused = |text: &str| Mistake::of_file(Some(line), text);
        // An anchor is known only when its node is complete.
        let node =
            self.anchors.get(&anchor).ok_or_else(|| refused("an alias inside its own anchor"))?;
        self.aliased = self.aliased.saturating_add(node.size);
        if self.aliased > MAX_ALIASED_NODES {
            return Err(refused("the aliases up to here expand to more than a million nodes"));
        }
        Ok(Rc::clone(node))
    }

    fn list(&mut self) -> Result<Kind, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, line) => items.push(self.node(event, line)?),
            }
        }
    }

    fn map(&mut self) -> Result<Kind, Mistake> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = self.node(event, line)?;
            let (event, value_line) = self.next()?;
            let value = self.node(event, value_line)?;
            if is_merge {
                merged.extend(sources(&value, line)?);
                continue;
            }
            let key: Rc<str> = match &key.kind {
                Kind::Scalar(text) => text.as_str().into(),
                Kind::Null => "".into(),
                Kind::List(_) | Kind::Map(_) => {
                    let text = format!(
                        "line {line} holds a map or a list where the name of a field is expected; \
                         '{{{{ … }}}}' of a template is not replaced here"
                    );
                    return Err(Mistake::of_file(Some(line), text));
                }
            };
            entries.push(Entry { key, line, value });
        }
        merge(&mut entries, &merged);
        Ok(Kind::Map(entries))
    }
}

/// The maps that `<<` merges: one, or a list of them.
fn sources(value: &Rc<Node>, line: usize) -> Result<Vec<Rc<Node>>, Mistake> {
    let sources = match &value.kind {
        Kind::Map(_) => vec![Rc::clone(value)],
        Kind::List(items) => items.clone(),
        Kind::Null | Kind::Scalar(_) => vec![],
    };
    if sources.is_empty() || sources.iter().any(|source| !matches!(source.kind, Kind::Map(_))) {
        let text = format!("`<<` merges a map or a list of maps, line {line} holds something else");
        return Err(Mistake::of_file(Some(line), text));
    }
    Ok(sources)
}

/// Fields of the map win over merged ones, and an earlier source over a later one.
fn merge(entries: &mut Vec<Entry>, sources: &[Rc<Node>]) {
    if sources.is_empty() {
        return;
    }
    let mut known: HashSet<Rc<str>> = entries.iter().map(|entry| Rc::clone(&entry.key)).collect();
    for source in sources {
        if let Kind::Map(merged) = &source.kind {
            let new = merged.iter().filter(|entry| known.insert(Rc::clone(&entry.key)));
            entries.extend(new.cloned());
        }
    }
}

fn measure(kind: &Kind) -> (u64, usize) {
    let children: &mut dyn Iterator<Item = &Rc<Node>> = match kind {
        Kind::Null | Kind::Scalar(_) => return (1, 1),
        Kind::List(items) => &mut items.iter(),
        Kind::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
    };
    children.fold((1, 1), |(size, depth), child| {
        (size.saturating_add(child.size), depth.max(child.depth + 1))
    })
}

fn is_null(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    match tag {
        Some(tag) => tag.is_yaml_core_schema_tag("null"),
        None => style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL"),
    }
}

/// The parser's message contains at most one character of the file.
fn not_yaml(error: &ScanError) -> Mistake {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let hint = match error.info() {
        info if info.starts_with("tabs disallowed") => "; indent with blanks, not with tabs",
        info if info.starts_with("mapping values are not allowed") => {
            "; the indentation differs from that of the fields above, or a text with ': ' in it \
             needs quotes"
        }
        info if info.contains("unknown anchor") => {
            "; no '&name' stands above for this '*name', and a text that begins with '*' needs \
             quotes"
        }
        // In a flow collection the brace of `${NAME}` opens a map.
        info if info.starts_with("while parsing a flow") => {
            "; a ',' or the closing bracket is missing; inside { } and [ ] a variable needs \
             quotes, as in \"${NAME}\""
        }
        info if info.contains("did not find expected key") => {
            "; the indentation differs from that of the fields above"
        }
        info if info.contains("anchor") => "; a text that begins with '*' or '&' needs quotes",
        info if info.contains("quoted scalar") => "; is a closing quote missing?",
        _ => "",
    };
    let text = format!("not YAML: {} (line {line}, column {column}){hint}", error.info());
    Mistake::of_file(Some(line), text)
}

#[cfg(test)]
mod tests;
