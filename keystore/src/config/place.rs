use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where in a configuration file a field stands. `Display` writes it as messages do:
/// `config.yml:12: keystore.vault.tls.ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as the operator named it; `None` if the text came from elsewhere.
    pub file: Option<Arc<Path>>,
    /// The line, from 1 on.
    pub line: usize,
    /// The field, with the sections around it.
    pub field: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field } = self;
        match file {
            Some(file) => write!(f, "{}:{line}: {field}", file.display()),
            None => write!(f, "line {line}: {field}"),
        }
    }
}

/// A file or folder that a configuration names, together with the place where it does. Whoever
/// cannot use the file reports that with [`ConfiguredPath::blame`], so that the operator is told
/// which line to change.
#[derive(Clone, Debug)]
pub struct ConfiguredPath {
    path: PathBuf,
    source: Source,
}

/// What names a path.
#[derive(Clone, Debug)]
enum Source {
    /// No configuration file.
    None,
    /// A place of the file, which may have a variable for it: `${NAME}`.
    File { place: Place, variable: Option<Box<str>> },
    /// An environment variable in place of the file.
    Variable(&'static str),
}

impl ConfiguredPath {
    /// A path that stands at a place of the configuration.
    pub const fn new(path: PathBuf, place: Place) -> Self {
        Self { path, source: Source::File { place, variable: None } }
    }

    /// A path for which the file has `${NAME}`. No message shows more of it than that: a variable that
    /// is to hold a path may hold a secret by mistake.
    pub fn of_variable_at(path: PathBuf, place: Place, name: &str) -> Self {
        Self { path, source: Source::File { place, variable: Some(name.into()) } }
    }

    /// How messages show it: the path, or the variable that the file has for it.
    pub fn display(&self) -> impl fmt::Display {
        fmt::from_fn(|f| match &self.source {
            Source::File { variable: Some(name), .. } => write!(f, "${{{name}}}"),
            _ => write!(f, "{}", self.path.display()),
        })
    }

    /// A path that an environment variable names.
    pub const fn of_variable(path: PathBuf, variable: &'static str) -> Self {
        Self { path, source: Source::Variable(variable) }
    }

    /// A message about the path: `config.yml:12: keystore.vault.tls.ca: <fault>`, or
    /// `environment variable VAULT_CACERT: <fault>`, or the fault alone for a path that came from
    /// neither. A fault that shows the path shows the variable in its place.
    pub fn blame(&self, fault: impl fmt::Display) -> String {
        let fault = fault.to_string();
        match &self.source {
            Source::File { place, variable: None } => format!("{place}: {fault}"),
            Source::File { place, .. } => format!("{place}: {}", self.without_value(&fault)),
            Source::Variable(name) => format!("environment variable {name}: {fault}"),
            Source::None => fault,
        }
    }

    /// A text with the variable in place of the path, wherever that is not a part of a word.
    fn without_value(&self, text: &str) -> String {
        let value = self.path.display().to_string();
        if value.is_empty() {
            return text.to_owned();
        }
        let is_of_a_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let (mut shown, mut rest) = (String::new(), text);
        let mut last = None;
        while let Some((before, after)) = rest.split_once(&value) {
            let left = before.chars().next_back().or(last);
            shown.push_str(before);
            if is_of_a_word(left) || is_of_a_word(after.chars().next()) {
                shown.push_str(&value);
            } else {
                shown.push_str(&self.display().to_string());
            }
            last = value.chars().next_back();
            rest = after;
        }
        shown + rest
    }

    /// Where it is named, if that is in a configuration file.
    pub const fn place(&self) -> Option<&Place> {
        match &self.source {
            Source::File { place, .. } => Some(place),
            Source::None | Source::Variable(_) => None,
        }
    }
}

/// A path that no configuration file names.
impl From<PathBuf> for ConfiguredPath {
    fn from(path: PathBuf) -> Self {
        Self { path, source: Source::None }
    }
}

/// The same.
impl<T: AsRef<OsStr> + ?Sized> From<&T> for ConfiguredPath {
    fn from(path: &T) -> Self {
        PathBuf::from(path).into()
    }
}

impl Deref for ConfiguredPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for ConfiguredPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_line_and_field() {
        let mut place =
            Place { file: Some(Path::new("c.yml").into()), line: 12, field: "tls.key".to_owned() };
        let path = ConfiguredPath::new("a.key".into(), place.clone());
        assert_eq!(path.blame("a.key: is missing"), "c.yml:12: tls.key: a.key: is missing");
        assert_eq!(path.to_str(), Some("a.key"));

        place.file = None;
        assert_eq!(place.to_string(), "line 12: tls.key");
        assert_eq!(ConfiguredPath::from(Path::new("a.key")).blame("is missing"), "is missing");
    }

    #[test]
    fn a_path_from_a_variable_is_in_no_message() {
        let place = Place { file: None, line: 3, field: "tls.key".to_owned() };
        let path =
            |text: &str| ConfiguredPath::of_variable_at(text.into(), place.clone(), "TLS_KEY");
        let key = path("-----BEGIN PRIVATE KEY-----\nMIIE");
        let shown = "line 3: tls.key: ${TLS_KEY}: not found";
        assert_eq!(key.blame(format_args!("{}: not found", key.display())), shown);
        // An error that knows nothing of variables.
        assert_eq!(key.blame(format_args!("{}: not found", (*key).display())), shown);
        let folder = path("/keys");
        assert_eq!(folder.blame("'/keys/a', /keys"), "line 3: tls.key: '${TLS_KEY}/a', ${TLS_KEY}");
        assert_eq!(path("a").blame("a: a cat"), "line 3: tls.key: ${TLS_KEY}: ${TLS_KEY} cat");
        assert_eq!(path("").blame("x"), "line 3: tls.key: x");
    }
}
