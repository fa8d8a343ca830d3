use std::net::IpAddr;

use zeroize::Zeroizing;

use super::{AlreadyReported, Value};
use crate::yaml::Kind;

/// The text of a scalar, with `${NAME}` replaced.
pub(crate) struct Text<'a> {
    pub(crate) value: Value<'a>,
    text: Zeroizing<String>,
    variable: Option<String>,
}

impl<'a> Value<'a> {
    /// The text of a scalar; `None` if there is none.
    pub(crate) fn text(&self) -> Result<Option<Text<'a>>, AlreadyReported> {
        self.text_or("a text")
    }

    /// The same; `expected` is for the message if it is not a scalar.
    pub(crate) fn text_or(&self, expected: &str) -> Result<Option<Text<'a>>, AlreadyReported> {
        let text = match self.node.map(|node| &node.kind) {
            None | Some(Kind::Null) => return Ok(None),
            Some(Kind::Scalar(text)) => text,
            Some(Kind::List(_) | Kind::Map(_)) => return Err(self.wrong(expected)),
        };
        let name = match variable(text) {
            Variable::None => {
                if looks_like_a_variable(text) {
                    // The message does not show the text: it may be a password.
                    self.warn("taken literally; write a variable as ${NAME}");
                }
                return Ok(Some(Text { value: self.clone(), text: text.clone(), variable: None }));
            }
            Variable::Whole(name) => name,
            Variable::Credential(name) => return self.credential(name).map(Some),
            Variable::Partial => {
                return Err(self.mistake(
                    "contains '${' but is not just '${NAME}': a variable must be the whole value, and there are no defaults",
                ));
            }
        };
        let Some(text) = self.look_up(name).map(Zeroizing::new) else {
            // In shells, `${NAME-value}` has a default.
            let hint = if name.contains('-') { "; there are no defaults" } else { "" };
            let text = format!("environment variable '{name}' is not set{hint}");
            return Err(self.mistake(text));
        };
        if text.trim() != text.as_str() {
            let text = "begins or ends with blanks or a line break; they are part of the value";
            self.warn(format!("variable {name} {text}"));
        }
        self.context.variables.borrow_mut().note(&self.path, name, &text);
        Ok(Some(Text { value: self.clone(), text, variable: Some(name.to_owned()) }))
    }

    /// The text of a scalar; `None` if there is none, or an empty one.
    pub(crate) fn filled(&self) -> Result<Option<Text<'a>>, AlreadyReported> {
        Ok(self.text()?.filter(|text| !text.as_str().is_empty()))
    }

    /// The text of a scalar that must be there and not empty.
    pub(crate) fn required(&self) -> Result<Text<'a>, AlreadyReported> {
        self.required_or("is required")
    }

    /// The same; `missing` is the message if it is missing.
    pub(crate) fn required_or(&self, missing: &str) -> Result<Text<'a>, AlreadyReported> {
        match self.text()? {
            Some(text) if !text.as_str().is_empty() => Ok(text),
            Some(Text { variable: Some(name), .. }) => {
                Err(self.mistake(format!("variable {name} is empty")))
            }
            Some(_) | None => Err(self.mistake(missing)),
        }
    }

    /// Whether the value is missing or an empty text, literally or from a variable. A variable that
    /// is not set is neither.
    pub(crate) fn is_blank(&self) -> bool {
        self.node.is_none_or(|node| match &node.kind {
            Kind::Null => true,
            Kind::Scalar(text) => match variable(text) {
                Variable::Whole(name) => {
                    self.look_up(name).map(Zeroizing::new).is_some_and(|text| text.is_empty())
                }
                Variable::None | Variable::Credential(_) | Variable::Partial => text.is_empty(),
            },
            Kind::List(_) | Kind::Map(_) => false,
        })
    }
}

impl<'a> Value<'a> {
    /// The path of a file that systemd has loaded for the service.
    fn credential(&self, name: &str) -> Result<Text<'a>, AlreadyReported> {
        let Some(folder) = self.look_up(CREDENTIALS).filter(|folder| !folder.is_empty()) else {
            return Err(self.mistake(format!(
                "environment variable '{CREDENTIALS}' is not set; systemd sets it for a unit with \
                 'LoadCredential={name}:…'"
            )));
        };
        let text = Zeroizing::new(format!("{folder}/{name}"));
        Ok(Text { value: self.clone(), text, variable: None })
    }
}

impl Value<'_> {
    /// The value of a variable that the file refers to.
    fn look_up(&self, name: &str) -> Option<String> {
        self.context.referred.borrow_mut().insert(name.to_owned());
        self.context.env.get(name)
    }

    /// Whether an address is one of this machine.
    pub(crate) fn is_own_address(&self, address: IpAddr) -> bool {
        self.context.env.is_own_address(address)
    }

    /// The value of a variable that replaces this field if the file does not set it; `None` if it
    /// is not set or empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.context.env.get(name).filter(|text| !text.is_empty())
    }

    /// The first of these variables that is set and not empty.
    pub(crate) fn first_variable(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.variable(name)?)))
    }

    /// The variables whose names begin with `prefix` and that the file does not refer to.
    pub(crate) fn other_variables(&self, prefix: &str) -> Vec<String> {
        let mut names = self.context.env.names();
        let referred = self.context.referred.borrow();
        names.retain(|name| name.starts_with(prefix) && !referred.contains(name));
        names
    }
}

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// How messages show it: the text itself, or the name of the variable that it came from, never
    /// its value. Not for secret fields.
    pub(crate) fn shown(&self) -> String {
        match &self.variable {
            None => format!("'{}'", self.text.escape_debug()),
            Some(name) => format!("${{{name}}}"),
        }
    }

    /// The name of the variable that it came from.
    pub(crate) fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    pub(crate) fn mistake(&self, text: impl Into<String>) -> AlreadyReported {
        self.value.mistake(text)
    }

    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.value.warn(text);
    }
}

/// Whether a text is `$NAME` or `$(NAME)`, as in shells and container manifests.
fn looks_like_a_variable(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('(').and_then(|name| name.strip_suffix(')')).unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The folder of the credentials of a service (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

enum Variable<'t> {
    /// The text has none.
    None,
    /// It is `${NAME}`; blanks around the name are trimmed.
    Whole(&'t str),
    /// It is `${CREDENTIALS_DIRECTORY}/name`, and names a file in that folder.
    Credential(&'t str),
    /// It has `${` and is more than `${NAME}`: `http://${HOST}`, `${A}:${B}`, `${A:-b}`.
    Partial,
}

fn variable(text: &str) -> Variable<'_> {
    if !text.contains("${") {
        return Variable::None;
    }
    let credential = text.strip_prefix("${").and_then(|rest| rest.strip_prefix(CREDENTIALS));
    if let Some(name) = credential.and_then(|rest| rest.strip_prefix("}/"))
        && !matches!(name, "" | "." | "..")
        && !name.contains(['/', '$'])
    {
        return Variable::Credential(name);
    }
    // The characters of names of variables in shells and container manifests.
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match inner.map(str::trim) {
        Some(name) if !name.is_empty() && name.chars().all(of_a_name) => Variable::Whole(name),
        Some(_) | None => Variable::Partial,
    }
}
