//! `kes audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kes_api::Identity;
use kes_api::Timestamp;
use kes_audit::note::LoggedHead;
use kes_audit::search::{Pattern, Status};

use super::Format;

/// A command of `kes audit`.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Check that no line and no file of an audit log was changed, removed, moved or replaced
    #[command(override_usage = "kes audit verify [options] <file>...")]
    Verify(VerifyAudit),

    /// Find requests: who did what, and who opened an object
    #[command(override_usage = "kes audit grep [options] <file>...")]
    Grep(GrepAudit),

    /// Show the name of an audit key, and the key that checks its checkpoints
    #[command(override_usage = "kes audit key [options] <file>")]
    Key(AuditKeyArgs),
}

/// The arguments of `kes audit verify`.
#[derive(Args)]
pub(crate) struct VerifyAudit {
    /// Segments, compressed or not, in any order, and checkpoints; `-` is standard input
    #[arg(value_name = "file")]
    pub files: Vec<PathBuf>,
    /// A file with the key of the chain; may be given several times
    #[arg(long, value_name = "file")]
    pub key_file: Vec<PathBuf>,
    /// A head that the server has logged, such as 1234:…; may be given several times
    #[arg(long, value_name = "head")]
    pub head: Vec<LoggedHead>,
    /// A file with the log of the server, whose heads are compared; `-` is standard input
    #[arg(long, value_name = "file")]
    pub heads: Option<PathBuf>,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes audit grep`.
#[derive(Args)]
pub(crate) struct GrepAudit {
    /// Segments, compressed or not, in any order; `-` is standard input
    #[arg(value_name = "file")]
    pub files: Vec<PathBuf>,
    /// Requests of this client
    #[arg(long, value_name = "identity")]
    pub identity: Option<Identity>,
    /// Requests of clients with this policy
    #[arg(long, value_name = "name")]
    pub policy: Option<String>,
    /// Requests for this key; `*` may end it
    #[arg(long, value_name = "name")]
    pub key: Option<Pattern>,
    /// Requests about objects in this bucket; `*` may end it
    #[arg(long, value_name = "name")]
    pub bucket: Option<Pattern>,
    /// Requests about this object; `*` may end it
    #[arg(long, value_name = "name")]
    pub object: Option<Pattern>,
    /// Requests for this operation, such as DecryptKey
    #[arg(long, value_name = "name", value_parser = operation)]
    pub operation: Option<String>,
    /// Requests that were answered with this status, such as 403 or 4xx
    #[arg(long, value_name = "status")]
    pub status: Option<Status>,
    /// Not before this time, such as 2026-11-27T18:00:00Z, or 1h for an hour ago
    #[arg(long, value_name = "time", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Not after this time
    #[arg(long, value_name = "time", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// A file with the key of the chain, to find buckets and objects whose names are hashed
    #[arg(long, value_name = "file")]
    pub key_file: Vec<PathBuf>,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes audit key`.
#[derive(Args)]
pub(crate) struct AuditKeyArgs {
    /// The file with the key
    #[arg(value_name = "file")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub format: Format,
}

/// The name of an operation, in any case.
fn operation(text: &str) -> Result<String, String> {
    let names = || kes_api::route::ROUTES.iter().map(|route| route.operation.name());
    match names().find(|name| name.eq_ignore_ascii_case(text)) {
        Some(name) => Ok(name.to_owned()),
        None => Err(format!("one of {}", names().collect::<Vec<_>>().join(", "))),
    }
}

/// A point in time, or how long ago it was.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let ago = kes_config::parse_duration(text).ok();
    let time = ago.and_then(|ago| std::time::SystemTime::now().checked_sub(ago));
    time.map(Timestamp::from).ok_or_else(|| {
        "write a time such as 2026-11-27T18:00:00Z, or a duration such as 1h".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_one_that_there_is() {
        assert_eq!(operation("decryptkey").unwrap(), "DecryptKey");
        assert!(operation("nosuch").unwrap_err().contains(", DecryptKey, "));
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let time = Timestamp::parse("2026-11-27T18:00:00Z").unwrap();
        assert_eq!(moment("2026-11-27T18:00:00Z"), Ok(time));
        let ago = Timestamp::now().unix_seconds() - moment("1h30m").unwrap().unix_seconds();
        assert!((5400..5410).contains(&ago), "{ago}");
        assert!(moment("yesterday").is_err());
    }
}
