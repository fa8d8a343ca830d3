//! The configuration file (contract `config.md`): turns YAML into a checked and typed [`Config`],
//! or reports every mistake of the file at once.
//!
//! The file is read in two steps. `yaml` makes a tree whose nodes know their lines, and resolves
//! anchors, aliases and merge keys. `read` walks the tree section by section, replaces `${NAME}`,
//! checks each value and records [`Mistake`]s, because of which the file is refused, and
//! [`Warning`]s. A typed decoder would stop at the first mistake and could not name both lines of a
//! conflict.
//!
//! No message contains the value of an environment variable or of a secret field.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use kes_api::Identity;
use kes_policy::Policies;
use zeroize::Zeroizing;

/// The checked configuration: what other crates use.
mod config;

/// Texts that are compared and not kept.
mod digest;

/// In what one configuration differs from another.
mod settings;

/// Names for messages.
mod listing;

/// Ranges of addresses.
mod network;

/// Where a server listens.
mod address;

/// Go's durations.
mod duration;

/// The levels of the logs.
mod level;

/// Mistakes and warnings, with their places.
mod error;

/// The environment of the process.
mod environment;

/// YAML as a tree that knows its lines.
mod yaml;

/// What the values of fields may be.
mod bounds;

/// The names of all fields, and suggestions for unknown ones.
mod fields;

/// Values of the tree: types, `${NAME}`, unknown fields.
mod value;

/// What of a file came from environment variables.
mod variables;

/// Where a file states its policies.
mod places;

/// What is expected of policies.
mod expectations;

/// From the tree to the configuration, with a module for each section.
mod read;

/// Parsers for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use address::{Address, ConfiguredAddress, InvalidAddress};
pub use config::{
    ApiOverride, ApiOverrides, AuditContext, AuditFile, Cache, ClientAuth, Config, Log, LogFormat,
    Operations, OperationsAddress, Password, PinnedKey, Proxy, Snapshot, SnapshotKeySource, Tls,
    Traces,
};
pub use duration::{InvalidDuration, parse_duration};
pub use environment::{Environment, ProcessEnvironment};
pub use error::{Errors, Mistake, Warning};
pub use expectations::{Expectation, Expectations, ExpectedCaller};
pub use kes_keystore::config::{ConfiguredPath, Place, SecretText};
pub use level::{InvalidLevel, Level};
pub use listing::{listed, shown};
pub use network::{InvalidNetwork, Network};
pub use places::{PatternPlace, PolicyPlace, PolicyPlaces};
pub use settings::{Change, Settings};
pub use variables::Variables;

/// The largest file, in bytes. A thousand policies with ten thousand identities take one megabyte;
/// a file above this limit is not a configuration.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// A configuration, and the warnings about its file.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// A key store, and the warnings about the file that configures it.
#[derive(Debug)]
pub struct LoadedKeystore {
    /// The key store.
    pub keystore: kes_keystore::Config,
    /// The key store that its keys move to, if the file names one.
    pub migration: Option<kes_keystore::config::Migration>,
    /// Warnings, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// The policies of a file, and the warnings about them.
#[derive(Debug)]
pub struct LoadedPolicies {
    /// `policy`, with the admin and the APIs that skip authentication.
    pub policies: Policies,
    /// `tls.proxy.identities`, which have no rights of their own.
    pub proxies: Vec<Identity>,
    /// Where the file states them.
    pub places: PolicyPlaces,
    /// Warnings, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// Reads and checks a file. `env` looks up environment variables. Nothing that the file names is
/// opened.
///
/// # Errors
/// [`Errors`] with all mistakes of the file, or why it cannot be read.
pub fn load(path: &Path, env: &dyn Environment) -> Result<Loaded, Errors> {
    load_in_steps(path, env, &|| ())
}

/// As [`load`], in steps of about ten microseconds of work, with a call of `pause` after each.
///
/// # Errors
/// As [`load`].
pub fn load_in_steps(
    path: &Path,
    env: &dyn Environment,
    pause: &dyn Fn(),
) -> Result<Loaded, Errors> {
    load_by(path, |text| parse_of(text, env, Some(path), pause))
}

/// Reads the key store of a file: one that has the section `keystore` alone, beside `version` and
/// `migration`, or a whole configuration of a server, which is then checked as such.
///
/// # Errors
/// As [`load`].
pub fn load_keystore(path: &Path, env: &dyn Environment) -> Result<LoadedKeystore, Errors> {
    load_by(path, |text| {
        let tree = yaml::parse(text, &|| ())?;
        read::keystore(&tree, env, Some(path))
    })
}

/// Reads the policies of a file, and what decides beside them: `admin`, `api`, `tls.proxy`. The other
/// sections are not looked at: they may be missing, and their variables need not be set.
///
/// # Errors
/// As [`load`].
pub fn load_policies(path: &Path, env: &dyn Environment) -> Result<LoadedPolicies, Errors> {
    load_by(path, |text| {
        let tree = yaml::parse(text, &|| ())?;
        read::policies(&tree, env, Some(path))
    })
}

/// Reads a table of what is expected of policies.
///
/// # Errors
/// As [`load`]; also for what is only a warning in a configuration.
pub fn load_expectations(path: &Path, env: &dyn Environment) -> Result<Expectations, Errors> {
    load_by(path, |text| {
        let tree = yaml::parse(text, &|| ())?;
        expectations::read(&tree, env, path)
    })
}

/// Reads a file, and has its text checked.
fn load_by<T>(path: &Path, check: impl FnOnce(&str) -> Result<T, Errors>) -> Result<T, Errors> {
    let bytes = read_file(path).map_err(|reason| Errors::Open { path: path.to_owned(), reason })?;
    let too_large = u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES);
    let loaded = if too_large {
        Err(Errors::from(Mistake::of_file(None, "the file is larger than 16 MiB")))
    } else {
        decode(&bytes).map_err(Errors::from).and_then(check)
    };
    loaded.map_err(|errors| errors.in_file(path))
}

fn decode(bytes: &[u8]) -> Result<&str, Mistake> {
    std::str::from_utf8(bytes).map_err(|error| {
        // Editors on Windows call this encoding Unicode.
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Mistake::of_file(None, "the text is UTF-16; save the file as UTF-8");
        }
        let before = bytes.iter().take(error.valid_up_to());
        let line = 1 + before.filter(|byte| **byte == b'\n').count();
        Mistake::of_file(Some(line), "not UTF-8 text in this line")
    })
}

/// Checks the text of a file.
///
/// # Errors
/// [`Errors`] with all mistakes of the text.
pub fn parse(text: &str, env: &dyn Environment) -> Result<Loaded, Errors> {
    parse_of(text, env, None, &|| ())
}

/// Checks a text, which may come from a file.
fn parse_of(
    text: &str,
    env: &dyn Environment,
    file: Option<&Path>,
    pause: &dyn Fn(),
) -> Result<Loaded, Errors> {
    let tree = yaml::parse(text, pause)?;
    read::config(&tree, env, file, pause)
}

/// Reads a file into a buffer that is wiped: it may contain the credentials of the key store.
fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Allocated at full size: a vector that grows leaves an unwiped copy behind.
    let metadata = file.metadata()?;
    // Of a pipe the length is not known.
    let length = if metadata.is_file() { metadata.len() } else { MAX_FILE_BYTES };
    let capacity = usize::try_from(length.min(MAX_FILE_BYTES)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
