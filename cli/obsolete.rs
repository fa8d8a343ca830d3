//! Commands and flags of older versions: each is refused, and the message names its replacement
//! (contract `cli.md`, Obsolete commands).

use std::ffi::OsString;

use anyhow::Error;

use crate::args::OldServerFlags;
use crate::error::usage;

/// The error for a command that no longer exists; `None` if the words do not name one. `args` are
/// the words and the flags.
pub(crate) fn command(words: &[String], args: &[OsString]) -> Option<Error> {
    let words: Vec<&str> = words.iter().take(3).map(String::as_str).collect();
    if let ["migrate", ..] = words.as_slice() {
        return migrate(args);
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
        ["key", "generate", ..] => ("kes key generate", "use 'kes key dek'", "kes key dek"),
        ["key", "delete" | "remove", ..] => {
            ("deleting keys by this name", "use 'kes key rm'", "kes key rm")
        }
        ["key", "describe" | "show", ..] => {
            ("describing keys by this name", "use 'kes key info'", "kes key info")
        }
        ["log" | "audit", "trace", ..] => ("kes log trace", "use 'kes log'", "kes log"),
        ["policy", "add" | "create" | "assign" | "rm" | "delete", ..] => (
            "changing policies by command",
            "change the section 'policy' of the server's configuration file and send the server SIGHUP",
            "kes policy",
        ),
        // Only words that are unlikely names of files, since `kes identity <file>` is valid.
        ["identity", "assign" | "forget" | "add" | "rm" | "revoke", ..] => (
            "changing identities by command",
            "change 'identities' in the section 'policy' of the server's configuration file and \
             send the server SIGHUP",
            "kes identity",
        ),
        ["enclave" | "init", ..] => (
            "the enclave of older versions",
            "a server has one set of keys, in the 'keystore' of its configuration file",
            "kes server",
        ),
        ["secret", ..] => ("kes secret", "there are keys only: use 'kes key'", "kes key"),
        ["gateway", ..] => ("kes gateway", "use 'kes server'", "kes server"),
        ["update", ..] => {
            ("kes update", "install the new version as you installed this one", "kes")
        }
        _ => return None,
    };
    Some(usage(format!("{old} is obsolete: {today}"), help))
}

fn migrate(args: &[OsString]) -> Option<Error> {
    let mut args = args.iter().filter_map(|arg| arg.to_str());
    let is_target = |arg: &str| arg == "--target" || arg.starts_with("--target=");
    args.any(is_target).then(|| usage("the flag --target is obsolete: it is --to", "kes migrate"))
}

/// The warnings for flags of old start scripts.
///
/// # Errors
/// For flags whose effect has to be requested in another way.
pub(crate) fn server_flags(old: &OldServerFlags) -> Result<Vec<&'static str>, Error> {
    let refused = [
        (
            old.root.is_some(),
            "the flag --root is obsolete: set 'admin: identity:' in the configuration file",
        ),
        (
            old.mlock.is_some(),
            "the flag --mlock is obsolete: memory is locked whenever the process may lock it \
             (LimitMEMLOCK=infinity of systemd, `ulimit -l unlimited`, or CAP_IPC_LOCK)",
        ),
        (old.host.is_some(), "the flag --host is obsolete: it is --addr, with the port"),
        (old.port.is_some(), "the flag --port is obsolete: it is --addr, as in --addr :7373"),
    ];
    if let Some((_, text)) = refused.into_iter().find(|(given, _)| *given) {
        return Err(usage(text, "kes server"));
    }
    let ignored = [
        (old.key.is_some(), "--key is ignored: set 'tls: key:' in the configuration file"),
        (old.cert.is_some(), "--cert is ignored: set 'tls: cert:' in the configuration file"),
        (old.auth.is_some(), "--auth is ignored: set 'tls: auth:' in the configuration file"),
        (old.quiet, "--quiet is ignored: send standard output elsewhere"),
    ];
    Ok(ignored.into_iter().filter_map(|(given, warning)| given.then_some(warning)).collect())
}
