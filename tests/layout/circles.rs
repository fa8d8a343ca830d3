//! Modules of a crate use each other in one direction: there is no circle between the modules that
//! one module declares, each taken with all modules below it. A module and its own children may use
//! each other, as is usual in Rust.
//!
//! The sources are read as text: `use` declarations, and paths that begin with `crate`, `self` or
//! `super`. A name that a module passes on (`pub use self::error::Error`) leads to where it is
//! declared. Code for tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{METADATA, files, root, source_folder};

/// The rooms of the server. Each uses only those that follow it.
const ROOMS: [&str; 4] = ["lifecycle", "service", "transport", "observe"];

/// The path of a module below its crate; empty for the root.
type Module = Vec<String>;

/// A path as it is written in the source.
type Written = Vec<String>;

/// A module's own code.
#[derive(Debug, Default)]
struct Code {
    /// All paths that it mentions.
    paths: Vec<Written>,
    /// The names that its `use` declarations bring in.
    imports: BTreeMap<String, Written>,
    /// The modules that it declares for tests alone.
    tests: BTreeSet<String>,
}

/// The modules of a crate.
#[derive(Debug, Default)]
struct Crate(BTreeMap<Module, Code>);

/// For each module: which of its children uses which other one, and by which paths.
type Uses = BTreeMap<Module, BTreeMap<(String, String), BTreeSet<String>>>;

#[test]
fn modules_do_not_use_each_other_in_circles() {
    let mut report = String::new();
    let members = METADATA.members().map(|member| (member.name.to_string(), source_folder(member)));
    let bench = ("serve".to_owned(), root().join("benches/serve"));
    for (name, folder) in members.chain([bench]) {
        let uses = Crate::read(&folder).uses();
        for (parent, edges) in &uses {
            let parent = parent.join("::");
            for circle in circles_in(edges) {
                report += &format!("{name}, in '{parent}': {circle:?}\n");
                for ((from, to), paths) in edges {
                    if circle.contains(from) && circle.contains(to) {
                        report += &format!("    {paths:?}\n");
                    }
                }
            }
        }
    }
    assert!(report.is_empty(), "modules use each other in circles\n{report}");
}

#[test]
fn the_rooms_of_the_server_use_only_those_that_follow() {
    let source = Crate::read(&root().join("server/src"));
    let top: BTreeSet<&str> =
        source.0.keys().filter_map(|module| Some(module.first()?.as_str())).collect();
    assert_eq!(top, ROOMS.into(), "a room without a place");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room).unwrap();
    for ((from, to), paths) in &source.uses()[&Module::new()] {
        assert!(place(from) < place(to), "{from} must not use {to}: {paths:?}");
    }
}

/// So that another listener can serve something else.
#[test]
fn the_transport_of_the_server_knows_no_keys() {
    for file in files(&root().join("server/src/transport"), &["rs"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["kes_keys", "kes_keystore", "kes_policy", "kes_crypto"] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

/// The groups of modules that use each other, directly or through others.
fn circles_in(edges: &BTreeMap<(String, String), BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached_from = |start: &String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(from) = next.pop() {
            for (_, to) in edges.keys().filter(|(source, _)| source == from) {
                if reached.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        reached
    };
    let modules: BTreeSet<&String> = edges.keys().map(|(from, _)| from).collect();
    let reached: BTreeMap<&String, BTreeSet<String>> =
        modules.iter().map(|module| (*module, reached_from(module))).collect();
    let circle = |module: &&String| {
        let others = reached[module].iter();
        let circle: BTreeSet<String> = others
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*module)))
            .cloned()
            .collect();
        (!circle.is_empty()).then_some(circle)
    };
    modules.iter().filter_map(circle).collect()
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for file in files(folder, &["rs"]) {
            let below = file.strip_prefix(folder).unwrap().with_extension("");
            let mut module: Module =
                below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|name| name == "mod")
                || module == ["lib"]
                || module == ["main"]
            {
                module.pop();
            }
            let text = std::fs::read_to_string(&file).unwrap();
            modules.insert(module, Code::parse(&text));
        }
        let is_test = |module: &Module| {
            (0..module.len()).any(|at| {
                let parent: Option<&Code> = modules.get(&module[..at]);
                parent.is_some_and(|parent| parent.tests.contains(&module[at]))
            })
        };
        let tests: BTreeSet<Module> =
            modules.keys().filter(|module| is_test(module)).cloned().collect();
        modules.retain(|module, _| !tests.contains(module));
        Self(modules)
    }

    fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (from, code) in &self.0 {
            for path in &code.paths {
                let Some(to) = self.resolve(from, path, 0) else { continue };
                let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
                if let (Some(source), Some(target)) = (from.get(common), to.get(common)) {
                    let edges = uses.entry(from[..common].to_vec()).or_default();
                    let paths = edges.entry((source.clone(), target.clone())).or_default();
                    paths.insert(format!("{}: {}", from.join("::"), path.join("::")));
                }
            }
        }
        uses
    }

    /// The module that a path leads to; `None` for another crate's, and for names in scope.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let mut path = path;
        let mut module = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" | "super" => from.clone(),
            first if self.child(from, first).is_some() => from.clone(),
            _ => return None,
        };
        while let [first, rest @ ..] = path {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(module.pop()),
                name => {
                    if let Some(child) = self.child(&module, name) {
                        module = child;
                    } else {
                        let import = self.0.get(&module).and_then(|code| code.imports.get(name));
                        // A name that is passed on leads further; deeper than that it is a macro's.
                        let further = import.filter(|_| depth < 8);
                        let further =
                            further.and_then(|import| self.resolve(&module, import, depth + 1));
                        return Some(further.unwrap_or(module));
                    }
                }
            }
            path = rest;
        }
        Some(module)
    }

    fn child(&self, module: &Module, name: &str) -> Option<Module> {
        let child = [&module[..], &[name.to_owned()]].concat();
        self.0.contains_key(&child).then_some(child)
    }
}

impl Code {
    fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let mut code = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match rest {
                _ if starts(rest, &["#", "[", "cfg", "(", "test", ")", "]", "mod"]) => {
                    if rest.get(9).is_some_and(|token| token == "{") {
                        9 + block(&rest[9..])
                    } else {
                        code.tests.insert(rest[8].clone());
                        9
                    }
                }
                // `pub(in crate::x)` uses nothing of x.
                _ if starts(rest, &["pub", "("]) => {
                    rest.iter().position(|token| token == ")").unwrap()
                }
                _ if starts(rest, &["use"]) => {
                    let end = rest.iter().position(|token| token == ";").unwrap_or(rest.len());
                    code.add_use(&[], &rest[1..end]);
                    end
                }
                _ if ["crate", "self", "super"].contains(&&*rest[0]) => {
                    let path = path(rest);
                    let len = 2 * path.len() - 1;
                    if path.len() > 1 {
                        code.paths.push(path);
                    }
                    len
                }
                _ => 1,
            };
        }
        code
    }

    /// Adds what a tree of a `use` declaration brings in.
    fn add_use(&mut self, before: &[String], tree: &[String]) {
        let written = path(tree);
        let whole = [before, &written].concat();
        let after = if written.is_empty() { tree } else { &tree[2 * written.len() - 1..] };
        match after {
            [colons, brace, ..] if colons == "::" && brace == "{" => {
                self.add_group(&whole, &after[1..]);
            }
            [brace, ..] if brace == "{" => self.add_group(&whole, after),
            rest => {
                let mut whole = whole;
                if whole.len() > 1 && whole.last().is_some_and(|last| last == "self") {
                    whole.pop();
                }
                let Some(last) = whole.last() else { return };
                let name = match rest {
                    [word, name] if word == "as" => name,
                    _ => last,
                };
                self.imports.insert(name.clone(), whole.clone());
                self.paths.push(whole);
            }
        }
    }

    fn add_group(&mut self, before: &[String], group: &[String]) {
        let inner = &group[1..block(group) - 1];
        let mut depth = 0;
        let separates = |token: &String| {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            depth == 0 && token == ","
        };
        for tree in inner.split(separates).filter(|tree| !tree.is_empty()) {
            self.add_use(before, tree);
        }
    }
}

fn starts(tokens: &[String], with: &[&str]) -> bool {
    tokens.len() > with.len() && tokens.iter().zip(with).all(|(token, word)| token == word)
}

/// The length of a block in braces that begins here.
fn block(tokens: &[String]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The path that begins here: words with `::` between them.
fn path(tokens: &[String]) -> Written {
    let is_word = |token: &String| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut path = Written::new();
    for (at, token) in tokens.iter().enumerate() {
        match at % 2 {
            0 if is_word(token) => path.push(token.clone()),
            1 if token == "::" && tokens.get(at + 1).is_some_and(is_word) => {}
            _ => break,
        }
    }
    path
}

/// Words, `::` and single characters; no comments, texts, characters in quotes or lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with("r\"") || rest.starts_with("r#") => {
                let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
                let end = format!("\"{}", "#".repeat(hashes));
                let begin = hashes + 2;
                // Without a quote it is a raw name.
                match rest[1 + hashes..].starts_with('"').then(|| rest[begin..].find(&end)) {
                    Some(Some(found)) => begin + found + end.len(),
                    _ => 1,
                }
            }
            '"' => quoted(rest, '"'),
            '\'' if rest[1..].starts_with('\\') => quoted(rest, '\''),
            '\'' => {
                let mut after = rest[1..].char_indices().skip(1);
                match after.next() {
                    Some((at, '\'')) => at + 2,
                    // A lifetime.
                    _ => 1 + word(&rest[1..]),
                }
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let len = word(rest);
                tokens.push(rest[..len].to_owned());
                len
            }
            _ if rest.starts_with("::") => {
                tokens.push("::".to_owned());
                2
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(first.to_string());
                }
                first.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    tokens
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// The length of a text in quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What the reader of sources must not overlook, and what it must not take for a use.
#[test]
fn uses_are_found_in_sources() {
    let code = |text: &str| Code::parse(text);
    let source = Crate(BTreeMap::from([
        (vec![], code("mod a; mod b; mod c; pub use b::Passed;")),
        (vec!["a".to_owned()], code("fn f(x: crate::Passed) { let _ = 'x'; }")),
        (
            vec!["b".to_owned()],
            code(
                "use super::{c::{self, inner as other}, std::io};
                 // use crate::a;
                 pub(in crate::a) fn f<'a>() -> &'a str { \"crate::a::x; \\\" \" }
                 #[cfg(test)]
                 mod tests { use crate::a::f; }",
            ),
        ),
        (vec!["c".to_owned()], code("mod inner; use self::inner::X;")),
        (vec!["c".to_owned(), "inner".to_owned()], code("type X = super::super::a::Y;")),
    ]));
    let uses = source.uses();
    let edges = &uses[&Module::new()];
    let pairs: Vec<(&str, &str)> =
        edges.keys().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    assert_eq!(pairs, [("a", "b"), ("b", "c"), ("c", "a")], "{uses:#?}");
    assert_eq!(uses.len(), 1, "{uses:#?}");
    let all: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    assert_eq!(circles_in(edges), BTreeSet::from([all]));
}
