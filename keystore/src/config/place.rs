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
    place: Option<Place>,
    /// The environment variable that names it.
    variable: Option<&'static str>,
}

impl ConfiguredPath {
    /// A path that stands at a place of the configuration.
    pub const fn new(path: PathBuf, place: Place) -> Self {
        Self { path, place: Some(place), variable: None }
    }

    /// A path that an environment variable names.
    pub const fn of_variable(path: PathBuf, variable: &'static str) -> Self {
        Self { path, place: None, variable: Some(variable) }
    }

    /// A message about the path: `config.yml:12: keystore.vault.tls.ca: <fault>`, or
    /// `environment variable VAULT_CACERT: <fault>`, or the fault alone for a path that came from
    /// neither.
    pub fn blame(&self, fault: impl fmt::Display) -> String {
        match (&self.place, self.variable) {
            (Some(place), _) => format!("{place}: {fault}"),
            (None, Some(variable)) => format!("environment variable {variable}: {fault}"),
            (None, None) => fault.to_string(),
        }
    }

    /// Where it is named, if that is in a configuration file.
    pub const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }
}

/// A path that no configuration file names.
impl From<PathBuf> for ConfiguredPath {
    fn from(path: PathBuf) -> Self {
        Self { path, place: None, variable: None }
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
}
