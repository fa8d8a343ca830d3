//! How a command fails: the message on standard error, and the exit status (contract `cli.md`, Exit
//! status).
//!
//! Commands return [`anyhow::Error`], a cause with the failed action as context. It is printed as
//! `failed to create key "a": key already exists`. A mistake in the command line is a
//! [`UsageError`], whose text ends with the help to read.

use std::fmt;

use clap::builder::StyledStr;

/// Why a command did not succeed.
pub(crate) enum Failure {
    /// Only the usage is to be printed: exit status 2.
    Usage(StyledStr),
    /// A wrong command line, or a command that failed: exit status 1.
    Wrong(anyhow::Error),
    /// The same of a command whose exit status is its answer: exit status 2.
    Unanswered(anyhow::Error),
    /// The answer of the command is no, and it is printed: exit status 1.
    No,
}

/// Commands whose exit status is their answer: 0 for yes, 1 for no, 2 if they have none.
pub(crate) const ANSWERING: [&str; 2] = ["kes policy explain", "kes policy test"];

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

/// A mistake in the command line, with the command whose help explains it.
#[derive(Debug)]
pub(crate) struct UsageError {
    message: String,
    command: String,
}

impl UsageError {
    /// A mistake in a call of `command`, such as `kes key ls`.
    pub(crate) fn new(message: impl Into<String>, command: &str) -> Self {
        Self { message: message.into(), command: command.to_owned() }
    }
}

/// `unknown flag: --foo. See 'kes key ls --help'`; a message that asks ends with its question mark.
impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = if self.message.ends_with('?') { "" } else { "." };
        write!(f, "{}{stop} See '{} --help'", self.message, self.command)
    }
}

impl std::error::Error for UsageError {}

/// A [`UsageError`] as a command returns it.
pub(crate) fn usage(message: impl Into<String>, command: &str) -> anyhow::Error {
    UsageError::new(message, command).into()
}
