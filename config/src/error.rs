use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration is refused. The text has a line for each mistake, such as
/// `config.yml:12: policy.minio.identities: …`, and then one for each warning: a typo that a
/// warning names often caused the mistake.
#[derive(Debug)]
pub enum Errors {
    /// The file cannot be read.
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file has mistakes.
    Mistakes {
        /// The file, if the text came from one.
        file: Option<PathBuf>,
        /// At least one, in the order of the lines.
        mistakes: Vec<Mistake>,
        /// The warnings, in the order of the lines.
        warnings: Vec<Warning>,
    },
}

/// Something wrong in a file, because of which it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1 on; `None` for what is missing in the whole file.
    pub line: Option<usize>,
    /// The field, such as `tls.proxy.identities[0]`; empty for the whole file.
    pub path: String,
    /// What is wrong with it.
    pub text: String,
}

/// Something in a file that its author surely did not mean. The file is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1 on.
    pub line: usize,
    /// The field, such as `policy.minio.allow[3]`.
    pub path: String,
    /// What is wrong about it.
    pub text: String,
}

impl Errors {
    /// The mistakes; none if the file cannot be read.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Open { .. } => &[],
            Self::Mistakes { mistakes, .. } => mistakes,
        }
    }

    /// Removes the warnings and returns them with the name of the file, for a caller that logs them
    /// separately.
    pub fn take_warnings(&mut self) -> Vec<String> {
        let Self::Mistakes { file, warnings, .. } = self else { return Vec::new() };
        let told = |warning: Warning| match &*file {
            Some(file) => warning.in_file(file).to_string(),
            None => warning.to_string(),
        };
        std::mem::take(warnings).into_iter().map(told).collect()
    }

    /// All mistakes and warnings of one text, in the order of the lines.
    pub(crate) const fn new(mistakes: Vec<Mistake>, warnings: Vec<Warning>) -> Self {
        Self::Mistakes { file: None, mistakes, warnings }
    }

    /// The same, with the name of the file.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Open { .. } => self,
            Self::Mistakes { mistakes, warnings, .. } => {
                Self::Mistakes { file: Some(path.to_owned()), mistakes, warnings }
            }
        }
    }
}

impl Mistake {
    /// A mistake of the file as a whole.
    pub(crate) fn of_file(line: Option<usize>, text: impl Into<String>) -> Self {
        Self { line, path: String::new(), text: text.into() }
    }
}

impl From<Mistake> for Errors {
    fn from(mistake: Mistake) -> Self {
        Self::new(vec![mistake], Vec::new())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, reason } => {
                write!(f, "open {}: {}", path.display(), words_of(reason))
            }
            Self::Mistakes { file, mistakes, warnings } => {
                for (position, mistake) in mistakes.iter().enumerate() {
                    if position > 0 {
                        f.write_str("\n")?;
                    }
                    match (file, mistake.line) {
                        (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
                        (Some(file), None) => write!(f, "{}: ", file.display())?,
                        (None, Some(line)) => write!(f, "line {line}: ")?,
                        (None, None) => {}
                    }
                    write_at(f, &mistake.path, &mistake.text)?;
                }
                for warning in warnings {
                    match file {
                        Some(file) => write!(f, "\nwarning: {}", warning.in_file(file))?,
                        None => write!(f, "\nwarning: {warning}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Warning {
    /// The warning with the file's name, in the form of a mistake: `config.yml:12: policy.minio:
    /// …`.
    pub fn in_file(&self, file: &Path) -> impl fmt::Display {
        let Self { line, path, text } = self;
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        format!("{}:{line}: {path}{text}", file.display())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        write_at(f, &self.path, &self.text)
    }
}

fn write_at(f: &mut fmt::Formatter<'_>, path: &str, text: &str) -> fmt::Result {
    if path.is_empty() { f.write_str(text) } else { write!(f, "{path}: {text}") }
}

/// The system's error message in lower case: `no such file or directory`.
fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
