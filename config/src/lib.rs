//! The configuration file of kes (contract `config.md`): YAML in, a checked and typed [`Config`]
//! out, or every mistake of the file at once.
//!
//! The file is read in two steps. `yaml` makes a tree whose nodes know their lines: anchors,
//! aliases and merge keys are resolved there. `read` walks it section by section, replaces
//! `${NAME}`, checks each value and notes what it meets: [`Mistake`]s, which refuse the file, and
//! [`Warning`]s, which do not. A typed decoder would stop at the first mistake and could not
//! name the lines of both halves of a conflict.
//!
//! No message holds the value of an environment variable or of a field that is secret.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// The checked configuration: all that others see of the file.
mod config;

/// Where a server listens.
mod address;

/// Go's durations.
mod duration;

/// The levels of the logs.
mod level;

/// What is wrong or odd in a file, and where.
mod error;

/// The environment of the process.
mod environment;

/// YAML as a tree that knows its lines.
mod yaml;

/// The names of all fields, and what an unknown one may mean.
mod fields;

/// Values of the tree: wrong types, `${NAME}`, unknown fields.
mod value;

/// From the tree to the configuration, a file a section.
mod read;

pub use address::{Address, InvalidAddress};
pub use config::{
    ApiOverride, ApiOverrides, Cache, ClientAuth, Config, Log, LogFormat, Proxy, Tls,
};
pub use duration::{InvalidDuration, parse_duration};
pub use environment::{Environment, ProcessEnvironment};
pub use error::{Errors, Mistake, Warning};
pub use kes_keystore::config::{ConfiguredPath, Place, SecretText};
pub use level::{InvalidLevel, Level};

/// A file larger than this is refused: a thousand policies with ten thousand identities take one
/// megabyte, and whatever is larger is not a configuration.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration, and what in its file is odd.
#[derive(Debug)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    /// What it surely did not mean to say, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// Reads and checks a file. `env` looks up environment variables. Nothing that the file names is
/// opened.
///
/// # Errors
/// [`Errors`] with all mistakes of the file, or why it cannot be read.
pub fn load(path: &Path, env: &dyn Environment) -> Result<Loaded, Errors> {
    let bytes = read_file(path).map_err(|reason| Errors::Open { path: path.to_owned(), reason })?;
    let too_large = u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES);
    let loaded = if too_large {
        Err(Errors::from(Mistake::of_file(None, "the file is larger than 16 MiB")))
    } else {
        decode(&bytes).map_err(Errors::from).and_then(|text| parse_of(text, env, Some(path)))
    };
    loaded.map_err(|errors| errors.in_file(path))
}

fn decode(bytes: &[u8]) -> Result<&str, Mistake> {
    std::str::from_utf8(bytes).map_err(|error| {
        // What editors of Windows call Unicode.
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Mistake::of_file(None, "the text is UTF-16; save the file as UTF-8");
        }
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Mistake::of_file(Some(line), "not UTF-8 text in this line")
    })
}

/// Checks the text of a file.
///
/// # Errors
/// [`Errors`] with all mistakes of the text.
pub fn parse(text: &str, env: &dyn Environment) -> Result<Loaded, Errors> {
    parse_of(text, env, None)
}

/// Checks a text, which may come from a file.
fn parse_of(text: &str, env: &dyn Environment, file: Option<&Path>) -> Result<Loaded, Errors> {
    let tree = yaml::parse(text)?;
    read::config(&tree, env, file)
}

/// Lets others have this core. A file of a thousand policies takes milliseconds, and a reload reads
/// it beside requests: on few cores the system would let them wait until a whole time slice is
/// over.
fn give_way() {
    std::thread::yield_now();
}

/// Wiped when dropped: the file may hold the credentials of the key store.
fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Reserved whole at first: a vector that grows leaves an unwiped copy behind.
    let length = file.metadata()?.len().min(MAX_FILE_BYTES);
    let capacity = usize::try_from(length).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
