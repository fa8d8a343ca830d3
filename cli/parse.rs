//! From `argv` to a [`Cli`], or to the contract's words on what is wrong with it.
//!
//! clap does the parsing; its own messages and exit statuses are not the contract's, so that
//! none of them is printed. Scripts and deployed files know the conventions of Go's pflag: a
//! switch may be written `--json=false`, and a flag given twice counts once, the last time.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::{StyledStr, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::Cli;
use crate::error::{Failure, usage};
use crate::obsolete;

/// The command tree as it is documented: for usage and for shell completion.
pub(crate) fn command() -> Command {
    Cli::command().styles(Styles::styled())
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// [`Failure::Usage`] where only the usage is to be printed: help was asked for, or a command
/// stands without the subcommand it needs. [`Failure::Wrong`] for a command line that is wrong.
pub(crate) fn parse(args: &[OsString]) -> Result<Cli, Failure> {
    if let Some(error) = obsolete::command(args) {
        return Err(Failure::Wrong(error));
    }
    let cli = lenient(Cli::command())
        .no_binary_name(true)
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| explain(&error, args))?;
    if cli.command.is_none() && !cli.version && !cli.auto_completion {
        return Err(Failure::Usage(asked(args).help));
    }
    Ok(cli)
}

/// Flags as Go's programs take them, in the whole tree.
fn lenient(command: Command) -> Command {
    let command = command.args_override_self(true).mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .value_parser(go_bool)
            .default_value("false")
            .default_missing_value("true"),
        _ => arg,
    });
    command.mut_subcommands(lenient)
}

/// The words of Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is neither true nor false"),
    }
}

/// A command that the arguments lead to.
struct Asked {
    /// Such as `kes key ls`.
    path: String,
    help: StyledStr,
}

fn asked(args: &[OsString]) -> Asked {
    let mut command = command();
    let mut path = command.get_name().to_owned();
    for word in args.iter().filter_map(|word| word.to_str()) {
        let Some(next) = command.find_subcommand(word).cloned() else { break };
        path = format!("{path} {}", next.get_name());
        command = next;
    }
    Asked { path, help: command.render_help() }
}

fn explain(error: &clap::Error, args: &[OsString]) -> Failure {
    let Asked { path, help } = asked(args);
    let flag = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => return Failure::Usage(help),
        ErrorKind::InvalidSubcommand => {
            format!("{:?} is not a {path} command", text(error, ContextKind::InvalidSubcommand))
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => {
            format!("unknown flag: {}", name_of(&flag))
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let letter = flag.trim_start_matches('-').chars().next().unwrap_or('-');
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        // The argument is not quoted: it may be a secret.
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::ArgumentConflict => {
            "too many arguments".to_owned()
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if !value.is_empty() => {
            let reason = match (error.get(ContextKind::ValidValue), error.source()) {
                (Some(ContextValue::Strings(valid)), _) if !valid.is_empty() => {
                    format!("it is one of {}", valid.join(", "))
                }
                (_, Some(source)) => source.to_string(),
                (_, None) => "it is not valid".to_owned(),
            };
            format!("invalid argument {value:?} for \"{}\" flag: {reason}", name_of(&flag))
        }
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
        // All that is left for this tree: a flag whose value is missing.
        _ => format!("flag needs an argument: {}", name_of(&flag)),
    };
    Failure::Wrong(usage(message, &path))
}

/// `--addr` of `--addr <[ip]:port>`, `--foo` of `--foo=bar`.
fn name_of(flag: &str) -> &str {
    flag.split(['=', ' ', '[']).next().unwrap_or(flag)
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_arguments_are_parsed_or_explained(
            args in proptest::collection::vec(
                prop_oneof![
                    "(key|ls|identity|of|server|log|status|-k|--json|--color|--auth|--addr|-s|--)",
                    "-{0,2}[a-z=é]{0,4}",
                ],
                0..5,
            )
        ) {
            let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
            if let Err(Failure::Wrong(error)) = parse(&args) {
                let text = error.to_string();
                prop_assert!(text.contains(". See 'kes"), "{args:?}: {text}");
                prop_assert!(!text.contains("argument: ."), "{args:?}: {text}");
            }
        }
    }

    fn parsed(line: &str) -> Result<Cli, Failure> {
        let args: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        parse(&args)
    }

    fn message(line: &str) -> String {
        match parsed(line) {
            Err(Failure::Wrong(error)) => format!("{error:#}"),
            Err(Failure::Usage(_)) => "usage".to_owned(),
            Ok(_) => "parsed".to_owned(),
        }
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_said_in_the_contracts_words() {
        for (line, expected) in [
            ("foo", "\"foo\" is not a kes command. See 'kes --help'"),
            ("key foo", "\"foo\" is not a kes key command. See 'kes key --help'"),
            ("policy foo bar", "\"foo\" is not a kes policy command. See 'kes policy --help'"),
            ("--foo", "unknown flag: --foo. See 'kes --help'"),
            ("key ls --foo", "unknown flag: --foo. See 'kes key ls --help'"),
            ("key list --foo=bar", "unknown flag: --foo. See 'kes key ls --help'"),
            ("key ls -kx", "unknown shorthand flag: 'x' in -x. See 'kes key ls --help'"),
            ("key ls a b", "too many arguments. See 'kes key ls --help'"),
            ("server --addr", "flag needs an argument: --addr. See 'kes server --help'"),
            ("ls -k -s", "flag needs an argument: --server. See 'kes ls --help'"),
            (
                "key ls --color red",
                "invalid argument \"red\" for \"--color\" flag: it is one of auto, always, never. \
                 See 'kes key ls --help'",
            ),
            (
                "key ls --json=maybe",
                "invalid argument \"maybe\" for \"--json\" flag: it is neither true nor false. \
                 See 'kes key ls --help'",
            ),
            ("", "usage"),
            ("--help", "usage"),
            ("-h", "usage"),
            ("key", "usage"),
            ("key --help", "usage"),
            ("key ls -k --help", "usage"),
            ("identity --help", "usage"),
            ("identity a b", "too many arguments. See 'kes identity --help'"),
            ("server x", "too many arguments. See 'kes server --help'"),
        ] {
            assert_eq!(message(line), expected, "{line}");
        }
    }

    #[test]
    fn old_commands_name_todays() {
        for (line, today) in [
            ("tool identity of x", "kes identity of"),
            ("tool identity new", "kes identity new"),
            ("key derive -k my-key", "kes key dek"),
            ("key -k derive my-key", "kes key dek"),
            ("log trace", "kes log"),
            ("log -k trace", "kes log"),
            ("update", "install"),
            ("migrate --target x", "--to"),
            ("migrate --from a --to b", "not available"),
        ] {
            assert!(message(line).contains(today), "{line}: {}", message(line));
        }
    }

    #[test]
    fn flags_stand_anywhere_and_count_once() {
        for line in [
            "key create -k my-key",
            "key create my-key -k",
            "key create --insecure=true -e enclave-1 my-key",
            "key create my-key -k -k --enclave=x",
            "key create -k=false -k my-key",
        ] {
            let Ok(Cli { command: Some(crate::args::Command::Key(key)), .. }) = parsed(line) else {
                panic!("{line}: {}", message(line))
            };
            let crate::args::KeyCommand::Create(names) = key else { panic!("{line}") };
            assert_eq!(names.names, ["my-key"], "{line}");
            assert!(names.connect.insecure, "{line}");
        }
        let Ok(Cli { command: Some(crate::args::Command::Status(status)), .. }) =
            parsed("status -ks --color never --json=false")
        else {
            panic!()
        };
        assert!(status.short && status.connect.insecure && !status.format.json);
    }

    #[test]
    fn old_server_flags_are_taken_in_every_form() {
        for line in [
            "server --auth=off --config c.yml",
            "server --auth off --config c.yml",
            "server --auth --config=c.yml",
            "server --config c.yml --auth",
            "server --key k --cert=c --config c.yml --auth",
        ] {
            let Ok(Cli { command: Some(crate::args::Command::Server(server)), .. }) = parsed(line)
            else {
                panic!("{line}: {}", message(line))
            };
            assert_eq!(server.config, Some("c.yml".into()), "{line}");
            assert!(server.old.auth.is_some(), "{line}");
        }
    }

    #[test]
    fn identity_takes_a_command_or_one_argument() {
        use crate::args::{Command, IdentityCommand};
        let identity = |line: &str| match parsed(line) {
            Ok(Cli { command: Some(Command::Identity(identity)), .. }) => identity,
            _ => panic!("{line}: {}", message(line)),
        };
        assert!(identity("identity").command.is_none());
        assert_eq!(identity("identity lss").source.as_deref(), Some("lss"));
        assert_eq!(identity("identity ./x.crt").source.as_deref(), Some("./x.crt"));
        assert!(matches!(identity("identity list").command, Some(IdentityCommand::Ls { .. })));
    }
}
