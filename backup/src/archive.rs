//! The content of a backup: lines of JSON, so that whoever has opened it with `age` can read it without this
//! program.
//!
//! ```text
//! {"format":"kes-backup","version":1,"created":"2026-11-28T07:03:12Z","store":"filesystem: /var/lib/kes"}
//! {"name":"my-key","fingerprint":"<32 digits>","value":"<the stored key>"}     one a key, by name
//! {"keys":1,"sha256":"<of all lines before, in hexadecimal digits>"}
//! ```

/// A line.
pub(crate) mod line;

/// Writes it.
mod writer;

/// Reads and checks it.
mod reader;

/// The keys that were read last.
mod blocks;

/// Gives its keys.
mod store;

#[cfg(test)]
mod tests;

use kes_api::Timestamp;
use kes_keystore::InvalidRecord;
use serde::{Deserialize, Serialize};

use crate::age;

pub use self::reader::Archive;
pub use self::writer::Writer;

/// What the first line says that it is.
const FORMAT: &str = "kes-backup";

/// The version of the content that is written, and the only one so far.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// When the backup was begun.
    pub created: Timestamp,
    /// Kind and place of the key store; no secret.
    pub store: String,
}

impl Header {
    /// The header of a backup that begins now. `store` describes the key store.
    pub fn new(store: String) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, created: Timestamp::now(), store }
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// How many keys there are.
    pub keys: u64,
    /// Of all lines before, in hexadecimal digits.
    pub sha256: String,
}

/// Why a backup cannot be written or read. The texts hold no byte of a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file around it.
    #[error(transparent)]
    Age(#[from] age::Error),

    /// It is something else.
    #[error("it can be opened, and is no backup of kes")]
    Other,

    /// A later program has written it.
    #[error("it is a backup of version {0}, which this program does not know: use a later one")]
    Version(u32),

    /// A line is not what it should be.
    #[error("line {line} is damaged: {fault}")]
    Line {
        /// Its number, from 1 on.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },

    /// It ends before its last line.
    #[error("it is not complete: it ends after line {0}, without the number of its keys")]
    Incomplete(u64),

    /// The last line does not fit the others.
    #[error("it has {found} keys, and its last line tells of {told}")]
    Count {
        /// How many were read.
        found: u64,
        /// How many there should be.
        told: u64,
    },

    /// The hash of the lines is another one.
    #[error("its lines do not have the hash of its last line")]
    Hash,

    /// A key was given out of order.
    #[error("key '{0}' comes after one that follows it")]
    Order(kes_api::KeyName),
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is longer than any key.
    #[error("it is too long")]
    TooLong,

    /// It does not have the fields of a key.
    #[error("it is not the JSON of a key")]
    Json,

    /// Its name is none.
    #[error("its name is not that of a key")]
    Name,

    /// It stands in the wrong place, or twice.
    #[error("its name does not follow that of the line before")]
    Order,

    /// Its value is no stored key.
    #[error("its value is not a stored key: {0}")]
    Value(InvalidRecord),

    /// Its value is that of another key.
    #[error("its fingerprint is not that of its value")]
    Fingerprint,

    /// Something follows the last line.
    #[error("it follows the last one")]
    AfterEnd,
}
