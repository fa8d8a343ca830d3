use std::fmt;
use std::io;

use kes_api::KeyName;
use rustix::io::Errno;

use crate::config::{ConfiguredPath, Place};

/// The kind of a key store, by the configuration's word for it. Each backend defines its own
/// (`KIND`), so that no list of all kinds has to be kept beside the backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(&'static &'static str); // twice, because errors contain it and have to stay small

impl Kind {
    /// The kind with this word: the name of its section in the configuration.
    pub const fn new(word: &'static &'static str) -> Self {
        Self(word)
    }

    /// The word.
    pub const fn word(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why a call of a key store failed. The texts are for the log alone: clients get the contract's
/// answer. None of them holds a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A key with the name exists, or another server created it at the same moment.
    #[error("key '{name}' already exists")]
    Exists {
        /// The key.
        name: KeyName,
    },

    /// No key with the name exists.
    #[error("key '{name}' does not exist")]
    NotFound {
        /// The key.
        name: KeyName,
    },

    /// The entry in the store is not a stored key.
    #[error("key store: {store}: key '{name}' is damaged: {reason}")]
    Corrupt {
        /// The kind of store.
        store: Kind,
        /// The key.
        name: KeyName,
        /// What is wrong with it, without a byte of it.
        reason: Box<str>,
    },

    /// The entry in the store is none of this server's: another program has made it.
    #[error("key store: {store}: '{name}' is not a key of this server ({reason})")]
    Foreign {
        /// The kind of store.
        store: Kind,
        /// The name of the entry.
        name: KeyName,
        /// How that shows, without a byte of the entry.
        reason: &'static str,
    },

    /// The entry in the store may be intact, but this server cannot use it as it is configured.
    #[error("key store: {store}: {reason}")]
    Unusable {
        /// The kind of store.
        store: Kind,
        /// Names the key, and says why it cannot be used, without a byte of it.
        reason: String,
    },

    /// Another server creates the key, or died while it did and blocks the name for a while. A create
    /// that is repeated finds out.
    #[error("key store: {store}: {reason}")]
    Locked {
        /// The kind of store.
        store: Kind,
        /// Names the key, and says for how long the name may be blocked.
        reason: String,
    },

    /// No connection, no answer in time, or the store is sealed or not set up.
    #[error("key store: {reason}")]
    Unreachable {
        /// What happened, and to which store.
        reason: String,
    },

    /// The store answered with an error.
    #[error("key store: {reason}")]
    Unavailable {
        /// What happened, and to which store.
        reason: String,
    },
}

impl Error {
    /// The word for what kind of error it is, in traces.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "not_found",
            Self::Corrupt { .. } => "corrupt",
            Self::Foreign { .. } => "foreign",
            Self::Unusable { .. } => "unusable",
            Self::Locked { .. } => "locked",
            Self::Unreachable { .. } => "unreachable",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Whether the key store failed. A missing or existing key is an answer of it.
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Exists { .. } | Self::NotFound { .. })
    }

    /// The same, with the kind of store named where the store is what failed.
    pub(crate) fn of_store(self, kind: Kind) -> Self {
        match self {
            Self::Unreachable { reason } => {
                Self::Unreachable { reason: format!("{kind}: {reason}") }
            }
            Self::Unavailable { reason } => {
                Self::Unavailable { reason: format!("{kind}: {reason}") }
            }
            of_the_key @ (Self::Exists { .. }
            | Self::NotFound { .. }
            | Self::Corrupt { .. }
            | Self::Foreign { .. }
            | Self::Locked { .. }
            | Self::Unusable { .. }) => of_the_key,
        }
    }
}

/// Why a key store was not opened. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of keys is missing and cannot be created, or cannot be read.
    #[error("{}", about_folder(path, reason))]
    Folder {
        /// The folder.
        path: ConfiguredPath,
        /// What the system says.
        reason: io::Error,
    },

    /// A file that the configuration names cannot be used.
    #[error("{}", path.blame(reason))]
    File {
        /// The file.
        path: ConfiguredPath,
        /// What is wrong with it; names the file.
        reason: String,
    },

    /// The second of two key stores is the first one, or within it.
    #[error("{place}: {reason}")]
    Second {
        /// Where the configuration names it.
        place: Place,
        /// What is wrong.
        reason: String,
    },

    /// What the configuration says of a remote store cannot be used.
    #[error("cannot use {product} as key store: {reason}")]
    Remote {
        /// What the store is called.
        product: &'static str,
        /// What is wrong, without a secret.
        reason: String,
    },
}

impl OpenError {
    /// Whether there is nothing at the path of the folder.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Folder { reason, .. } if reason.kind() == io::ErrorKind::NotFound)
    }
}

/// What to do where the system has no open file left for a key or a connection: the end of a
/// message about the error. Empty for any other error.
pub fn files_hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "; raise LimitNOFILE (systemd) or `ulimit -n`",
        Some(Errno::NFILE) => {
            "; all processes of the machine together have too many files open: raise fs.file-max \
             (sysctl)"
        }
        Some(Errno::FBIG) => {
            "; the process may write no bigger files (RLIMIT_FSIZE): raise LimitFSIZE (systemd) or \
             `ulimit -f`"
        }
        _ => "",
    }
}

fn about_folder(path: &ConfiguredPath, reason: &io::Error) -> String {
    let cause = match reason.kind() {
        io::ErrorKind::AlreadyExists => "it is a file, not a folder".to_owned(),
        io::ErrorKind::NotADirectory => "a part of this path is a file, not a folder".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("{reason}; the user of the server must be able to read and write it")
        }
        _ => format!("{reason}{}", files_hint(reason)),
    };
    path.blame(format_args!("cannot open folder '{}' as key store: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_without_files_is_told() {
        assert!(files_hint(&Errno::MFILE.into()).contains("LimitNOFILE"));
        assert!(files_hint(&Errno::NFILE.into()).contains("fs.file-max"));
        assert!(files_hint(&Errno::FBIG.into()).contains("LimitFSIZE"));
        assert_eq!(files_hint(&Errno::CONNABORTED.into()), "");
    }
}
