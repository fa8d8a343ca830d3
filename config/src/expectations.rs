use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use kes_api::Identity;

use crate::value::{AlreadyReported, Context, Value};
use crate::yaml::Document;
use crate::{Environment, Errors, Mistake};

/// What the author of a table expects of policies. Unlike a configuration a table is refused for
/// anything that it does not say exactly: an expectation that is skipped would be one that holds.
#[derive(Debug)]
pub struct Expectations {
    /// In the order of the file; there is at least one.
    pub all: Vec<Expectation>,
}

/// What is expected of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The line of the request.
    pub line: usize,
    /// Who makes it.
    pub caller: ExpectedCaller,
    /// Whether it is to be allowed.
    pub is_allowed: bool,
    /// The method.
    pub method: String,
    /// The path, as in a request line.
    pub path: String,
}

/// Who makes a request that something is expected of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedCaller {
    /// The client with this identity.
    Identity(Identity),
    /// Any client of the policy with this name.
    Policy(String),
}

/// An example of a request, for messages.
const EXAMPLE: &str = "PUT /v1/key/create/my-key";

/// The fields of an item.
const FIELDS: &str = "identity or policy, and allow or deny";

pub(crate) fn read(
    document: &Document,
    env: &dyn Environment,
    file: &Path,
) -> Result<Expectations, Errors> {
    let context = Context::new(env, Some(Arc::from(file)), &|| ());
    let result = items(&context.root(&document.root));
    let (mut mistakes, warnings) = context.end();
    if let Some(line) = document.next {
        mistakes.push(Mistake::of_file(Some(line), "a second document begins here"));
    }
    // What is odd in a value, such as a variable that is none, is no expectation.
    mistakes.extend(warnings.into_iter().map(|warning| Mistake {
        line: Some(warning.line),
        path: warning.path,
        text: warning.text,
    }));
    match result {
        Ok(all) if mistakes.is_empty() => Ok(Expectations { all }),
        Ok(_) | Err(AlreadyReported) => Err(Errors::new(mistakes, Vec::new())),
    }
}

fn items(root: &Value<'_>) -> Result<Vec<Expectation>, AlreadyReported> {
    let mut all = Vec::new();
    let example = format!("identity: <identity>, allow: [{EXAMPLE}]");
    root.items(&example, |value| item(&value, &mut all))?;
    if all.is_empty() {
        return Err(root.mistake("nothing is expected: there is no request in the file"));
    }
    Ok(all)
}

fn item(value: &Value<'_>, all: &mut Vec<Expectation>) -> Result<(), AlreadyReported> {
    if !value.is_map() {
        return Err(value.mistake(format!("expected a map with {FIELDS}")));
    }
    let mut caller = None;
    let mut requests = Vec::new();
    let mut result = Ok(());
    for (name, field) in value.entries(&format!("a map with {FIELDS}"))? {
        let read = match name {
            "identity" | "policy" if caller.is_some() => {
                Err(field.mistake("an item is for one identity or one policy"))
            }
            "identity" => identity(&field).map(|one| caller = Some(ExpectedCaller::Identity(one))),
            "policy" => field
                .required()
                .map(|text| caller = Some(ExpectedCaller::Policy(text.as_str().to_owned()))),
            "allow" | "deny" => {
                self::requests(&field).map(|some| requests.push((name == "allow", some)))
            }
            _ => Err(field.mistake(format!("unknown field; an item has {FIELDS}"))),
        };
        if let Err(noted) = read {
            result = Err(noted);
        }
    }
    result?;
    let Some(caller) = caller else {
        return Err(value.mistake("says neither whose requests these are: identity, nor policy"));
    };
    let mut seen = HashSet::new();
    for (is_allowed, some) in requests {
        for (value, method, path) in some {
            if !seen.insert((method.clone(), path.clone())) {
                return Err(value.mistake(format!("{method} {path} stands twice in this item")));
            }
            let (line, caller) = (value.line, caller.clone());
            all.push(Expectation { line, caller, is_allowed, method, path });
        }
    }
    if seen.is_empty() {
        return Err(value.mistake("expects nothing: there is no request in 'allow' or 'deny'"));
    }
    Ok(())
}

fn identity(value: &Value<'_>) -> Result<Identity, AlreadyReported> {
    let text = value.required()?;
    // It is not shown: it may be an API key.
    text.as_str().parse().map_err(|_| text.mistake("not an identity (64 hex digits expected)"))
}

/// The requests of a list, each with its method and path.
fn requests<'a>(value: &Value<'a>) -> Result<Vec<(Value<'a>, String, String)>, AlreadyReported> {
    value.items(EXAMPLE, |item| match split(item.required()?.as_str()) {
        Some((method, path)) => Ok((item, method, path)),
        None => Err(item.mistake(format!("not a method and a path, as in '{EXAMPLE}'"))),
    })
}

fn split(text: &str) -> Option<(String, String)> {
    let mut words = text.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(method), Some(path), None) if path.starts_with('/') => {
            Some((method.to_owned(), path.to_owned()))
        }
        _ => None,
    }
}
