//! Prepares the words of a command line for clap, as Go's flag library (pflag) reads them:
//!
//! - A flag with an empty value (`--config=`, `--ip ""`) counts as not given. Scripts and charts
//!   pass every flag they know, with a variable that may be empty.
//! - `help` in the place of a command asks for help: `kes help key create`, `kes key help`.
//! - Values of flags are not taken for commands: in `kes -e default key ls` the command is
//!   `kes key ls`. Messages name it.
//! - `--enclave` of older versions and its value are removed, wherever they are.
//! - The word after a flag with a value is that value, even `-1h`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// A command line.
pub(super) struct Line {
    /// The words, without flags whose value is empty.
    pub(super) args: Vec<OsString>,
    /// The command that the words lead to, such as `kes key ls`.
    pub(super) path: String,
    /// Whether `help` was in the place of a command.
    pub(super) is_help: bool,
    /// The first word in the place of a command that is not a command.
    pub(super) unknown: Option<String>,
    /// The words that are neither flags nor their values.
    pub(super) words: Vec<String>,
}

/// Reads the words that follow the program's name.
pub(super) fn read(root: &Command, args: &[OsString]) -> Line {
    let mut command = root;
    let mut line = Line {
        args: Vec::with_capacity(args.len()),
        path: root.get_name().to_owned(),
        is_help: false,
        unknown: None,
        words: Vec::new(),
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(text) = arg.to_str() else {
            line.args.push(arg.clone());
            continue;
        };
        if text == "--" {
            line.args.push(arg.clone());
            break;
        }
        match flag(root, command, text) {
            Flag::Complete => line.args.push(arg.clone()),
            Flag::Empty { before } => line.args.extend(before),
            Flag::NeedsValue { before, is_ignored } => match rest.next() {
                Some(value) if value.is_empty() || is_ignored => line.args.extend(before),
                Some(value) => line.args.extend(with_value(arg, value)),
                None => line.args.push(arg.clone()),
            },
            Flag::None => {
                let is_command = line.unknown.is_none() && command.has_subcommands();
                if is_command && text == "help" {
                    line.is_help = true;
                    continue;
                }
                match command.find_subcommand(text) {
                    Some(next) if is_command => {
                        line.path = format!("{} {}", line.path, next.get_name());
                        command = next;
                    }
                    None if is_command => line.unknown = Some(text.to_owned()),
                    _ => {}
                }
                line.words.push(text.to_owned());
                line.args.push(arg.clone());
            }
        }
    }
    line.args.extend(rest.cloned());
    line
}

/// The kind of a word as a flag. `before` is the rest of the word without the flag that has an
/// empty value or is ignored: `-k` of `-ks=`.
enum Flag {
    None,
    Complete,
    Empty { before: Option<OsString> },
    NeedsValue { before: Option<OsString>, is_ignored: bool },
}

/// A flag and its value. A value that looks like a flag, such as `-1h`, becomes a part of the
/// flag's word, because clap does not accept such a word as a value.
fn with_value(flag: &OsString, value: &OsString) -> Vec<OsString> {
    let is_number = value.as_encoded_bytes().starts_with(b"-")
        && value.as_encoded_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if !is_number {
        return vec![flag.clone(), value.clone()];
    }
    let mut word = flag.clone();
    word.push("=");
    word.push(value);
    vec![word]
}

fn flag(root: &Command, command: &Command, text: &str) -> Flag {
    let arguments = || command.get_arguments().chain(root.get_arguments().filter(is_global));
    if let Some(text) = text.strip_prefix("--") {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let mut candidates = arguments();
        let Some(arg) = candidates.find(|arg| arg.get_long() == Some(name) && takes_value(arg))
        else {
            return Flag::Complete;
        };
        let is_ignored = is_ignored(arg, command);
        return match value {
            Some(value) if value.is_empty() || is_ignored => Flag::Empty { before: None },
            Some(_) => Flag::Complete,
            None => Flag::NeedsValue { before: None, is_ignored },
        };
    }
    let Some(letters) = text.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
        return Flag::None;
    };
    for (index, letter) in letters.char_indices() {
        if letter == '=' {
            // The rest is the value of a switch.
            return Flag::Complete;
        }
        let mut candidates = arguments();
        let Some(arg) = candidates.find(|arg| arg.get_short() == Some(letter) && takes_value(arg))
        else {
            continue;
        };
        let is_ignored = is_ignored(arg, command);
        let before = (index > 0).then(|| OsString::from(&text[..=index]));
        return match &letters[index + letter.len_utf8()..] {
            "" => Flag::NeedsValue { before, is_ignored },
            value if value == "=" || is_ignored => Flag::Empty { before },
            _ => Flag::Complete,
        };
    }
    Flag::Complete
}

/// Whether a flag is accepted only for old scripts, and ignored. `kes migrate` refuses it.
fn is_ignored(arg: &Arg, command: &Command) -> bool {
    arg.get_id() == "enclave" && command.get_name() != "migrate"
}

fn is_global(arg: &&Arg) -> bool {
    arg.is_global_set()
}

/// Whether a flag requires a value. Switches and the old flags of `kes server` do not.
fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
        && arg.get_num_args().is_none_or(|number| number.min_values() > 0)
}
