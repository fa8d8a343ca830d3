//! Parses the arguments to a [`Cli`], or to a message about what is wrong with them.
//!
//! clap does the parsing. Its messages and exit statuses differ from those of the contract, so none
//! of them is printed. Scripts and deployed files use the conventions of Go's pflag (contract
//! `cli.md`, Flags and values): a switch may be written `--json=false`, the last of two equal flags
//! counts, and an empty value is no value (see [`mod@line`]).

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::{StyledStr, Styles};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, help};
use crate::error::{ANSWERING, Failure, usage};
use crate::obsolete;

use line::Line;

mod line;
pub(crate) mod near;

#[cfg(test)]
pub(crate) mod published;
#[cfg(test)]
mod tests;

/// The documented command tree, for usage and shell completion, without flags that are accepted
/// only for old scripts.
pub(crate) fn command() -> Command {
    documented(&help::complete(Cli::command())).styles(Styles::styled())
}

/// Parses the arguments that follow the program's name.
///
/// # Errors
/// [`Failure::Usage`] if only the usage is to be printed: help was requested, or a command lacks
/// its subcommand. [`Failure::Wrong`] for a wrong command line.
pub(crate) fn parse(args: &[OsString]) -> Result<Cli, Failure> {
    let line = line::read(&Cli::command(), args);
    parsed(&line).map_err(|failure| match failure {
        Failure::Wrong(error) if ANSWERING.contains(&&*line.path) => Failure::Unanswered(error),
        failure => failure,
    })
}

fn parsed(line: &Line) -> Result<Cli, Failure> {
    if line.is_help {
        return Err(help_of(line));
    }
    if let Some(error) = obsolete::command(&line.words, &line.args) {
        return Err(Failure::Wrong(error));
    }
    let cli = lenient(Cli::command())
        .no_binary_name(true)
        .try_get_matches_from(&line.args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| explain(&error, line))?;
    let acts = cli.version || cli.auto_completion || cli.manual_pages.is_some();
    if cli.command.is_none() && !acts {
        return Err(Failure::Usage(usage_of(&line.path)));
    }
    Ok(cli)
}

/// The tree without hidden flags. clap omits them from the help, but not from completion scripts.
fn documented(command: &Command) -> Command {
    let mut copy = Command::new(command.get_name().to_owned())
        .disable_help_subcommand(true)
        .subcommand_required(command.is_subcommand_required_set())
        .args_conflicts_with_subcommands(command.is_args_conflicts_with_subcommands_set())
        .visible_aliases(command.get_visible_aliases().map(str::to_owned).collect::<Vec<_>>())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|sub| !sub.is_hide_set()).map(documented));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(text) = command.get_after_help() {
        copy = copy.after_help(text.clone());
    }
    match command.get_overridden_usage() {
        Some(text) => copy.override_usage(text.clone()),
        None => copy,
    }
}

/// Makes all flags of the tree accept what Go's programs accept.
fn lenient(command: Command) -> Command {
    let command = command.args_override_self(true).disable_help_subcommand(true).mut_args(|arg| {
        match arg.get_action() {
            ArgAction::SetTrue => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .value_parser(go_bool)
                .default_value("false")
                .default_missing_value("true"),
            _ => arg,
        }
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

/// The answer to `kes help …`.
fn help_of(line: &Line) -> Failure {
    match &line.unknown {
        Some(word) => Failure::Wrong(unknown_command(word, &line.path)),
        None => Failure::Usage(usage_of(&line.path)),
    }
}

/// The usage of a command, such as `kes key ls`.
fn usage_of(path: &str) -> StyledStr {
    let mut command = command();
    for name in path.split(' ').skip(1) {
        let Some(next) = command.find_subcommand(name).cloned() else { break };
        command = next;
    }
    command.render_help()
}

fn unknown_command(word: &str, path: &str) -> anyhow::Error {
    // An API key at the wrong place is not quoted.
    let quoted = if word.contains("kes:") { "an API key".to_owned() } else { format!("{word:?}") };
    let hint = near::meant(word, path).map(|meant| format!("; is '{meant}' meant?"));
    let hint = hint.unwrap_or_default();
    usage(format!("{quoted} is not a {path} command{hint}"), path)
}

fn explain(error: &clap::Error, line: &Line) -> Failure {
    let path = line.path.as_str();
    let mistyped = line.unknown.as_deref().filter(|word| near::meant(word, path).is_some());
    let flag = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    let message = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingSubcommand => return Failure::Usage(usage_of(path)),
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand);
            return Failure::Wrong(unknown_command(&word, path));
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => {
            format!("unknown flag: {}", name_of(&flag))
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let letter = flag.trim_start_matches('-').chars().next().unwrap_or('-');
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        // A mistyped command counts as an argument where the command takes one.
        ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict if mistyped.is_some() => {
            return Failure::Wrong(unknown_command(mistyped.unwrap_or_default(), path));
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
        // The only other mistake in this tree is a flag whose value is missing.
        _ => format!("flag needs an argument: {}", name_of(&flag)),
    };
    Failure::Wrong(usage(message, path))
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
