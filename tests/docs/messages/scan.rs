//! The messages of the code: the texts in its sources that a person reads.
//!
//! A text is taken for a message if it reads as a sentence or as a part of one: three words, or two where an
//! error, a line of the log or a mistake is made from it ([`EMITTERS`]). That finds messages whatever function
//! they go through. Left out are, by rule: tests, attributes but `#[error]`, what is compared with and not
//! told, `expect` and assertions, help of metrics and commands; and by name what [`LEFT_OUT`] lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::Lit;

use super::super::book::root;
use crate::layout::files;

/// The folders of the crates that the program is made of.
const CRATES: [&str; 14] = [
    "api", "audit", "backup", "cli", "client", "config", "crypto", "keys", "keystore", "migrate",
    "policy", "server", "shadow", "tls",
];

/// Texts that are no messages: file, item (a function or constant), reason.
pub(super) const LEFT_OUT: [(&str, &str, &str); 9] = [
    ("cli/commands/manual.rs", "collect", "the title of manual pages"),
    ("cli/commands/policy.rs", "limits", "labels of limits"),
    ("cli/commands/policy/preset.rs", "MINIO", "comments of the policy that it prints"),
    ("cli/commands/policy/preset.rs", "LIST_OF_SOME", "the same"),
    ("cli/commands/policy/preset.rs", "OPTIONAL", "the same"),
    ("cli/commands/policy/preset.rs", "minio", "the policy that it prints"),
    ("cli/commands/policy/suggest.rs", "yaml", "the patterns that it prints, with comments"),
    ("shadow/src/known.rs", "NO_ROUTE", "what a server says, to compare with"),
    ("shadow/src/mask.rs", "WORDS", "words of messages"),
];

/// Files of which nothing is a message.
const FILES_LEFT_OUT: [(&str, &str); 11] = [
    ("cli/args/help.rs", "examples of commands"),
    ("cli/commands/metric/state.rs", "labels of a view"),
    ("cli/commands/metric/topics.rs", "the same"),
    ("cli/commands/metric/view.rs", "the same"),
    ("cli/commands/server/dev.rs", "the greeting of a server to try things out"),
    ("config/src/fields/", "what the reference of fields says, in tests alone"),
    ("server/src/lifecycle/operations/page.rs", "headers of a page"),
    ("server/src/lifecycle/operations/page/html.rs", "texts of a page"),
    ("server/src/lifecycle/operations/page/view.rs", "the same"),
    ("server/src/lifecycle/shown", "the same"),
    ("server/src/observe/metrics", "help of metrics"),
];

/// What makes a message of a text, and what is told of it.
const EMITTERS: [(&str, &str); 19] = [
    ("#error", ""),
    ("anyhow!", "exit 1"),
    ("bail!", "exit 1"),
    ("context", "exit 1"),
    ("ensure!", "exit 1"),
    ("error!", "ERROR"),
    ("info!", "INFO"),
    ("invalid", ""),
    ("message", ""),
    ("mistake", "mistake"),
    ("note", ""),
    ("of_file", "mistake"),
    ("refuse", ""),
    ("required_or", "mistake"),
    ("usage", "exit 1"),
    ("warn!", "WARN"),
    ("warn", "warning"),
    ("warning", "warning"),
    ("with_context", "exit 1"),
];

/// What stands between a text and what is made of it.
const BETWEEN: [&str; 5] = ["Err", "Ok", "Some", "format!", "format_args!"];

/// Macros and methods whose texts only a developer reads, whatever calls stand in between.
const OF_DEVELOPERS: [&str; 12] = [
    "assert!",
    "assert_eq!",
    "assert_ne!",
    "debug!",
    "debug_assert!",
    "debug_assert_eq!",
    "expect",
    "matches!",
    "panic!",
    "todo!",
    "trace!",
    "unreachable!",
];

/// Methods that compare with a text.
const COMPARING: [&str; 9] = [
    "contains",
    "ends_with",
    "find",
    "rsplit_once",
    "split",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
];

/// Macros whose text has `{…}` for what differs.
const FORMATTING: [&str; 16] = [
    "#error",
    "anyhow!",
    "bail!",
    "ensure!",
    "eprintln!",
    "error!",
    "format!",
    "format_args!",
    "info!",
    "panic!",
    "print!",
    "println!",
    "warn!",
    "write!",
    "writeln!",
    "debug!",
];

/// Commands whose exit status is their answer: 2 if they have none.
const ANSWERING: [&str; 4] = [
    "cli/commands/policy/explain.rs",
    "cli/commands/policy/request.rs",
    "cli/commands/policy/rules.rs",
    "cli/commands/policy/test.rs",
];

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// With `…` in place of what differs, and on one line.
    pub(super) text: String,
    /// The path below the repository.
    pub(super) file: String,
    pub(super) line: usize,
}

/// What the sources hold.
#[derive(Default)]
pub(super) struct Code {
    pub(super) messages: Vec<Message>,
    /// All texts, messages or not.
    pub(super) literals: BTreeSet<String>,
    /// What [`LEFT_OUT`] kept out.
    pub(super) left_out: BTreeSet<(&'static str, &'static str)>,
    kinds: BTreeMap<String, BTreeSet<String>>,
}

impl Code {
    pub(super) fn read() -> Self {
        let mut code = Self::default();
        let (mut texts, mut tests) = (Vec::new(), Vec::new());
        for folder in CRATES {
            for path in files(&root().join(folder), &["rs"]) {
                let file = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                let is_other =
                    |part: &str| ["tests", "benches", "examples", "testdata"].contains(&part);
                if file.split('/').any(is_other) || file.ends_with("/build.rs") {
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let tokens: TokenStream =
                    text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
                let mut walk = Walk::new(&file);
                walk.all(tokens);
                texts.append(&mut walk.texts);
                tests.append(&mut walk.tests);
            }
        }
        texts.retain(|text| !tests.iter().any(|test| is_of(&text.file, test)));
        for text in texts {
            code.add(text);
        }
        assert!(code.messages.len() > 1000, "{} messages", code.messages.len());
        code
    }

    /// What is told of a text: level, status and the like.
    pub(super) fn kinds(&self, text: &str) -> BTreeSet<String> {
        self.kinds.get(text).cloned().unwrap_or_default()
    }

    fn add(&mut self, text: Text) {
        let Text { text, file, item, line, emitter, status, is_told } = text;
        if text.is_empty() {
            return;
        }
        self.literals.insert(text.clone());
        if !is_told || FILES_LEFT_OUT.iter().any(|(start, _)| file.starts_with(start)) {
            return;
        }
        let emits = EMITTERS.iter().find(|(name, _)| *name == emitter);
        if !is_message(&text, emits.is_some()) {
            return;
        }
        if let Some((file, item, _)) =
            LEFT_OUT.iter().find(|(f, i, _)| (*f, *i) == (file.as_str(), item.as_str()))
        {
            self.left_out.insert((*file, *item));
            return;
        }
        if !self.kinds.contains_key(&text) {
            self.messages.push(Message { text: text.clone(), file: file.clone(), line });
        }
        let kinds = self.kinds.entry(text).or_default();
        kinds.extend(status);
        match emits {
            None | Some((_, "")) => {}
            Some((_, "exit 1")) if ANSWERING.contains(&file.as_str()) => {
                kinds.insert("exit 2".to_owned());
            }
            Some((_, kind)) => {
                kinds.insert((*kind).to_owned());
            }
        }
    }
}

/// Whether a file is that of a module, or below it.
fn is_of(file: &str, module: &Path) -> bool {
    let file = Path::new(file);
    file == module.with_extension("rs") || file.starts_with(module)
}

/// Whether a text is read as words of a sentence.
fn is_message(text: &str, is_emitted: bool) -> bool {
    if !text.contains(' ') || is_media_type(text) || is_command(text) {
        return false;
    }
    let is_word = |word: &&str| {
        word.len() > 1 && word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-')
    };
    let ends: &[char] = &['.', ',', ';', ':', '!', '?', '\'', '"', '`', '(', ')', '…'];
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_matches(ends)).filter(is_word).collect();
    let has_small = words.iter().any(|word| word.starts_with(char::is_lowercase));
    has_small && words.len() >= if is_emitted { 2 } else { 3 }
}

fn is_media_type(text: &str) -> bool {
    text.starts_with("text/") || text.starts_with("application/")
}

/// `kes key create` is the name of a command.
fn is_command(text: &str) -> bool {
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
    text.starts_with("kes ") && text.split(' ').all(is_name)
}

/// A text of a source.
struct Text {
    text: String,
    file: String,
    /// The function or constant that it stands in.
    item: String,
    line: usize,
    /// The function or macro that it is an argument of.
    emitter: String,
    /// The status that stands before it.
    status: Option<String>,
    /// Whether it is more than compared with.
    is_told: bool,
}

/// The walk through a file.
struct Walk<'a> {
    file: &'a str,
    texts: Vec<Text>,
    /// Modules that are tests.
    tests: Vec<PathBuf>,
    /// The functions and macros around the place, the innermost last.
    calls: Vec<String>,
    item: String,
    status: Option<String>,
    is_pattern: bool,
}

impl<'a> Walk<'a> {
    fn new(file: &'a str) -> Self {
        let (texts, tests, calls) = (Vec::new(), Vec::new(), Vec::new());
        Self { file, texts, tests, calls, item: String::new(), status: None, is_pattern: false }
    }

    fn all(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let item = self.item.clone();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if let Some((attribute, after)) = attribute(&tokens, at) {
                at = self.attribute(attribute, &tokens, after);
                continue;
            }
            match token {
                TokenTree::Ident(word) if ["fn", "const", "static"].iter().any(|w| word == w) => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        self.item = name.to_string();
                    }
                }
                TokenTree::Group(group) => self.group(&tokens, at, group),
                TokenTree::Literal(_) => {
                    let is_compared = self.is_pattern || is_compared(&tokens, at);
                    self.literal(token, is_compared);
                }
                _ => {}
            }
            at += 1;
        }
        self.item = item;
    }

    fn group(&mut self, tokens: &[TokenTree], at: usize, group: &Group) {
        let call = call(tokens, at, group);
        let (status, is_pattern) = (self.status.clone(), self.is_pattern);
        if matches!(call.as_deref(), Some("message" | "text")) {
            self.status = group.stream().into_iter().next().and_then(|first| {
                let number = first.to_string();
                number.chars().all(|c| c.is_ascii_digit()).then_some(number)
            });
        }
        self.is_pattern |= call.is_some() && is_before_arrow(tokens, at);
        let is_call = call.is_some();
        self.calls.extend(call);
        self.all(group.stream());
        if is_call {
            self.calls.pop();
        }
        (self.status, self.is_pattern) = (status, is_pattern);
    }

    /// Reads an attribute; returns where its item begins, or ends if it is of tests.
    fn attribute(&mut self, attribute: &Group, tokens: &[TokenTree], after: usize) -> usize {
        let inner: Vec<TokenTree> = attribute.stream().into_iter().collect();
        let text = attribute.stream().to_string();
        if text.starts_with("error")
            && let Some(TokenTree::Group(arguments)) = inner.get(1)
            && let Some(first @ TokenTree::Literal(_)) = arguments.stream().into_iter().next()
        {
            self.calls.push("#error".to_owned());
            self.literal(&first, false);
            self.calls.pop();
        }
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        let is_test = ["test", "fuzzing", "battery", "testing"].iter().any(|w| words.contains(w));
        let is_cfg = inner.first().is_some_and(|first| first.to_string() == "cfg");
        if is_cfg && is_test && !words.contains(&"not") {
            return self.skip(tokens, after);
        }
        after
    }

    /// Where the item of tests ends that begins here, or what is left of it holds no texts.
    fn skip(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        while let Some((_, after)) = attribute(tokens, at) {
            at = after;
        }
        let start = at;
        let is_item = |token: &TokenTree| {
            matches!(token, TokenTree::Ident(word)
                if ["fn", "impl", "mod", "struct", "enum", "trait", "use", "const", "static", "type"]
                    .iter()
                    .any(|item| word == item))
        };
        let mut has_item = false;
        while let Some(token) = tokens.get(at) {
            has_item |= is_item(token);
            let ends = match token {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Punct(punct) => {
                    punct.as_char() == ';' || punct.as_char() == ',' && !has_item
                }
                _ => false,
            };
            at += 1;
            if ends {
                break;
            }
        }
        let skipped = &tokens[start..at];
        let module = skipped.windows(2).find_map(|pair| match pair {
            [TokenTree::Ident(word), TokenTree::Ident(name)] if word == "mod" => Some(name),
            _ => None,
        });
        if let (Some(name), Some(TokenTree::Punct(_))) = (module, skipped.last()) {
            let file = Path::new(self.file);
            let is_root = ["lib", "main"].iter().any(|root| file.file_stem().unwrap() == *root);
            let folder = if is_root { file.parent().unwrap() } else { &file.with_extension("") };
            self.tests.push(folder.join(name.to_string()));
        }
        at
    }

    fn literal(&mut self, token: &TokenTree, is_compared: bool) {
        let TokenTree::Literal(literal) = token else { return };
        let Lit::Str(text) = Lit::new(literal.clone()) else { return };
        let direct = self.calls.last().map_or("", String::as_str);
        let emitter = self.calls.iter().rev().find(|call| !BETWEEN.contains(&call.as_str()));
        let emitter = emitter.cloned().unwrap_or_default();
        let is_of_developers = self.calls.iter().any(|call| OF_DEVELOPERS.contains(&call.as_str()))
            || self.item == "expecting";
        let is_compared = is_compared || COMPARING.contains(&direct);
        let text = text.value();
        let text = if FORMATTING.contains(&direct) { shown(&text) } else { text };
        self.texts.push(Text {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            file: self.file.to_owned(),
            item: self.item.clone(),
            line: literal.span().start().line,
            emitter,
            status: self.status.clone(),
            is_told: !is_of_developers && !is_compared,
        });
    }
}

/// The brackets of an attribute that stands here, and where what follows begins.
fn attribute(tokens: &[TokenTree], at: usize) -> Option<(&Group, usize)> {
    let is = |at: usize, c| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    if !is(at, '#') {
        return None;
    }
    let at = if is(at + 1, '!') { at + 2 } else { at + 1 };
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group, at + 1))
        }
        _ => None,
    }
}

/// The function or macro whose arguments a group has.
fn call(tokens: &[TokenTree], at: usize, group: &Group) -> Option<String> {
    let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
    match (before(2), before(1)) {
        (Some(TokenTree::Ident(name)), Some(TokenTree::Punct(mark))) if mark.as_char() == '!' => {
            Some(format!("{name}!"))
        }
        (_, Some(TokenTree::Ident(name))) if group.delimiter() != Delimiter::Brace => {
            Some(name.to_string())
        }
        _ => None,
    }
}

/// Whether a text is compared with: an arm of a `match`, or beside `==`.
fn is_compared(tokens: &[TokenTree], at: usize) -> bool {
    let punct = |at: Option<usize>| match at.and_then(|at| tokens.get(at)) {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    };
    let back = |by| punct(at.checked_sub(by));
    is_before_arrow(tokens, at)
        || punct(Some(at + 1)) == Some('|')
        || back(1) == Some('=') && matches!(back(2), Some('=' | '!'))
}

fn is_before_arrow(tokens: &[TokenTree], at: usize) -> bool {
    let is = |at: usize, c| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == c);
    is(at + 1, '=') && is(at + 2, '>')
}

/// A text of a formatting macro as people see it.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        shown.push_str(before);
        let brace = &after[..1];
        if after[1..].starts_with(brace) {
            shown.push_str(brace);
            rest = &after[2..];
        } else {
            shown.push('…');
            rest = after.split_once('}').map_or("", |(_, rest)| rest);
        }
    }
    shown + rest
}

#[test]
fn texts_are_found_whatever_they_go_through() {
    let source = r##"
        //! a comment that is no message
        #[error("{name} is not a valid thing: {{}}")]
        struct A;
        fn told() {
            let text = if x { "this is one of two texts" } else { "two words" };
            tracing::error!(detail = %text, "two words, \
                             in a log");
            match x {
                "this is compared with" | "and this as well" => message(403, "you may not"),
                Some("and a third one") => text(405, format!("not by '{x}' at all")),
                _ => y.expect("this does not happen ever"),
            }
        }
        #[cfg(test)]
        mod tests { const TEXT: &str = "only a test says this"; }
        #[cfg(any(test, feature = "battery"))]
        mod battery;
    "##;
    let mut walk = Walk::new("a/src/lib.rs");
    walk.all(source.parse().unwrap());
    assert_eq!(walk.tests, [PathBuf::from("a/src/battery")]);
    let mut code = Code::default();
    for text in walk.texts {
        code.add(text);
    }
    let found: Vec<_> =
        code.messages.iter().map(|m| (m.text.as_str(), code.kinds(&m.text))).collect();
    let kinds = |kind: &str| BTreeSet::from([kind.to_owned()]);
    assert_eq!(
        found,
        [
            ("… is not a valid thing: {}", BTreeSet::new()),
            ("this is one of two texts", BTreeSet::new()),
            ("two words, in a log", kinds("ERROR")),
            ("you may not", kinds("403")),
            ("not by '…' at all", kinds("405")),
        ]
    );
    assert!(
        code.literals.contains("two words") && !code.literals.contains("only a test says this")
    );
}
