//! Commands and flags of old guides: each is refused with the name of what does its work today
//! (contract `cli.md`).

use std::ffi::OsString;

use anyhow::Error;

use crate::args::OldServerFlags;
use crate::error::usage;

/// The error for a command that no longer exists, if the arguments name one.
pub(crate) fn command(args: &[OsString]) -> Option<Error> {
    let words: Vec<&str> = args
        .iter()
        .filter_map(|arg| arg.to_str())
        .filter(|arg| !arg.starts_with('-'))
        .take(3)
        .collect();
    if let ["migrate", ..] = words.as_slice() {
        return Some(migrate(args));
    }
    let (old, today, help) = match words.as_slice() {
        ["tool", "identity", "new", ..] => {
            ("kes tool identity new", "use 'kes identity new'", "kes identity new")
        }
        ["tool", "identity", "of", ..] => {
            ("kes tool identity of", "use 'kes identity of'", "kes identity of")
        }
        ["tool", "identity", ..] => ("kes tool identity", "use 'kes identity'", "kes identity"),
        ["tool", ..] => ("kes tool", "use 'kes identity' or 'kes key'", "kes"),
        ["key", "derive", ..] => ("kes key derive", "use 'kes key dek'", "kes key dek"),
        ["key", "delete", ..] => ("kes key delete", "use 'kes key rm'", "kes key rm"),
        ["log", "trace", ..] => ("kes log trace", "use 'kes log'", "kes log"),
        ["policy", "add" | "create" | "assign" | "rm" | "delete", ..] => (
            "changing policies by command",
            "change the section 'policy' of the server's configuration file and send the server SIGHUP",
            "kes policy",
        ),
        ["update", ..] => {
            ("kes update", "install the new version as you installed this one", "kes")
        }
        _ => return None,
    };
    Some(usage(format!("{old} is obsolete: {today}"), help))
}

fn migrate(args: &[OsString]) -> Error {
    let target = args.iter().filter_map(|arg| arg.to_str()).any(|arg| arg.starts_with("--target"));
    let today = if target { "the flag --target is obsolete: it is --to; " } else { "" };
    usage(format!("{today}'kes migrate' is not available in this version"), "kes")
}

/// What each flag of old start scripts is answered with.
///
/// # Errors
/// For the flags whose work must be asked for in another way today.
pub(crate) fn server_flags(old: &OldServerFlags) -> Result<Vec<&'static str>, Error> {
    if old.root.is_some() {
        return Err(usage(
            "the flag --root is obsolete: set 'admin: identity:' in the configuration file",
            "kes server",
        ));
    }
    if old.mlock.is_some() {
        return Err(usage(
            "the flag --mlock is obsolete: memory is locked whenever the limit of locked memory \
             allows it (ulimit -l, or LimitMEMLOCK= of systemd)",
            "kes server",
        ));
    }
    let ignored = [
        (old.key.is_some(), "--key is ignored: set 'tls: key:' in the configuration file"),
        (old.cert.is_some(), "--cert is ignored: set 'tls: cert:' in the configuration file"),
        (old.auth.is_some(), "--auth is ignored: set 'tls: auth:' in the configuration file"),
    ];
    Ok(ignored.into_iter().filter_map(|(given, warning)| given.then_some(warning)).collect())
}
