use std::collections::{HashMap, HashSet};
use std::panic;

use kes_config::fuzzing::{Tree, yaml as ours};
use libyaml_safer::{EventData, Parser, ScalarStyle};

/// The deepest nesting, aliases included, and the most nodes of a tree: our reader refuses what is
/// deeper, and makes no tree that is larger.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 20_000;

/// The YAML reader of the configuration, beside libyaml: its Rust port is not of the family of
/// parsers that ours is of, and the reference server's parser is a port of libyaml too. What both
/// accept has the same tree.
///
/// The tree has a text for each scalar: which texts are a boolean, a number or a duration is decided
/// by the field that holds them. That, and the following, is not left to the parsers, and is made
/// here a second time:
///
/// - `~`, `null`, `Null`, `NULL` and nothing, written plainly and without a tag, are no value, and
///   so is any scalar with the tag `!!null`. All other tags are ignored. As a key, no value is the
///   empty text.
/// - A plain `<<` merges a map or a list of maps. The fields of the map win, then those of the first
///   source. Merged fields follow the map's own.
/// - A key that occurs twice stands there twice: the reader of the fields refuses it.
/// - A map or a list as a key, and an alias inside its own anchor, are refused.
/// - The second document and all after it are ignored.
///
/// Documents with the following are not compared ([`is_left_out`]). The parsers differ where YAML 1.2,
/// which ours implements, differs from YAML 1.1:
///
/// - U+0085, U+2028 and U+2029 are line breaks in YAML 1.1 alone;
/// - `:`, `?`, `%`, `@` and `` ` `` are part of the name of an anchor in YAML 1.2 alone: `&a:b` is an
///   anchor without a value there, and the text `:b` for libyaml;
/// - `?` begins a key in YAML 1.2 only before a blank: in `{ ?a: b }` libyaml's key is `a`;
/// - a document that is one text, which is no configuration: its lines after `|` or `>` need no
///   indentation in YAML 1.2.
///
/// The port of libyaml panics on some documents that it should refuse, such as `[!t,]`: they count as
/// refused.
pub(crate) fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if is_left_out(text) {
        return;
    }
    let (Some(ours), Some(theirs)) = (ours(text), unless_it_panics(text)) else { return };
    if !matches!(ours, Tree::Text(_)) {
        assert_eq!(ours, theirs, "{text:?}");
    }
}

/// Whether the parsers may differ on a document as they should.
fn is_left_out(text: &str) -> bool {
    let has_break_of_1_1 = text.contains(['\u{85}', '\u{2028}', '\u{2029}']);
    let mut names = text.split(['&', '*']).skip(1);
    let goes_on = names.any(|name| {
        let rest = name.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c));
        rest.len() < name.len() && rest.starts_with([':', '?', '%', '@', '`'])
    });
    let is_in_key = text.split('?').skip(1).any(|rest| !rest.starts_with([' ', '\t', '\r', '\n']));
    has_break_of_1_1 || goes_on || is_in_key
}

/// What [`theirs`] says, and `None` if it panics. libFuzzer's hook would end the process.
fn unless_it_panics(text: &str) -> Option<Tree> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let theirs = panic::catch_unwind(|| theirs(text));
    panic::set_hook(hook);
    theirs.ok().flatten()
}

/// The first document of a text, as libyaml reads it; `None` if it is refused.
fn theirs(text: &str) -> Option<Tree> {
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut composer = Composer { parser, anchors: HashMap::new(), nodes: 0 };
    loop {
        match composer.next()? {
            EventData::StreamEnd => return None,
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            first => {
                let tree = composer.node(first, MAX_DEPTH)?;
                // The end of the document, and the start of the next: `{} junk` is not YAML.
                composer.next()?;
                composer.next()?;
                return Some(tree).filter(|tree| *tree != Tree::Null);
            }
        }
    }
}

struct Composer<'i, 't> {
    parser: Parser<&'i mut &'t [u8]>,
    /// By name; `None` while the node is not complete.
    anchors: HashMap<String, Option<Tree>>,
    nodes: usize,
}

impl Composer<'_, '_> {
    fn next(&mut self) -> Option<EventData> {
        self.parser.parse().ok().map(|event| event.data)
    }

    /// The node that an event begins.
    fn node(&mut self, event: EventData, depth: usize) -> Option<Tree> {
        self.nodes += 1;
        if depth == 0 || self.nodes > MAX_NODES {
            return None;
        }
        let anchor = match &event {
            EventData::Alias { anchor } => {
                let tree = self.anchors.get(anchor)?.clone()?;
                let (nodes, levels) = measure(&tree);
                self.nodes += nodes;
                return (levels <= depth && self.nodes <= MAX_NODES).then_some(tree);
            }
            EventData::Scalar { anchor, .. }
            | EventData::SequenceStart { anchor, .. }
            | EventData::MappingStart { anchor, .. } => anchor.clone(),
            _ => return None,
        };
        if let Some(name) = &anchor {
            self.anchors.insert(name.clone(), None);
        }
        let tree = match event {
            EventData::Scalar { tag, value, style, .. } => scalar(tag.as_deref(), value, style),
            EventData::SequenceStart { .. } => self.list(depth - 1)?,
            _ => self.map(depth - 1)?,
        };
        if let Some(name) = anchor {
            self.anchors.insert(name, Some(tree.clone()));
        }
        Some(tree)
    }

    fn list(&mut self, depth: usize) -> Option<Tree> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                EventData::SequenceEnd => return Some(Tree::List(items)),
                event => items.push(self.node(event, depth)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Option<Tree> {
        let (mut entries, mut merged) = (Vec::new(), Vec::new());
        loop {
            let event = self.next()?;
            let is_merge = match &event {
                EventData::MappingEnd => break,
                EventData::Scalar { value, style, .. } => {
                    value == "<<" && *style == ScalarStyle::Plain
                }
                _ => false,
            };
            let key = match self.node(event, depth)? {
                Tree::Text(text) => text,
                Tree::Null => String::new(),
                Tree::List(_) | Tree::Map(_) => return None,
            };
            let value = self.next()?;
            match self.node(value, depth)? {
                Tree::Map(source) if is_merge => merged.extend(source),
                Tree::List(sources) if is_merge && !sources.is_empty() => {
                    for source in sources {
                        let Tree::Map(source) = source else { return None };
                        merged.extend(source);
                    }
                }
                _ if is_merge => return None,
                value => entries.push((key, value)),
            }
        }
        let mut known: HashSet<String> = entries.iter().map(|(key, _)| key.clone()).collect();
        entries.extend(merged.into_iter().filter(|(key, _)| known.insert(key.clone())));
        Some(Tree::Map(entries))
    }
}

fn scalar(tag: Option<&str>, text: String, style: ScalarStyle) -> Tree {
    let is_null = match tag {
        Some(tag) => tag == libyaml_safer::NULL_TAG,
        None => {
            let nulls = ["", "~", "null", "Null", "NULL"];
            style == ScalarStyle::Plain && nulls.contains(&text.as_str())
        }
    };
    if is_null { Tree::Null } else { Tree::Text(text) }
}

/// How many nodes and how many levels a tree has.
fn measure(tree: &Tree) -> (usize, usize) {
    let children: Vec<_> = match tree {
        Tree::Null | Tree::Text(_) => vec![],
        Tree::List(items) => items.iter().map(measure).collect(),
        Tree::Map(entries) => entries.iter().map(|(_, value)| measure(value)).collect(),
    };
    let levels = children.iter().map(|(_, levels)| *levels).max().unwrap_or(0);
    (1 + children.iter().map(|(nodes, _)| nodes).sum::<usize>(), 1 + levels)
}
