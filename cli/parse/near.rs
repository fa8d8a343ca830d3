//! Which command a word may stand for that is none.

use clap::{Command, CommandFactory as _};

use crate::args::Cli;

/// The command that `word` probably stands for where a subcommand of `path` (such as `kes key`) is
/// expected, as it is written behind `path`: one whose name differs by the case of letters, by a
/// plural, or by a slip or two; a flag of that name; or a command that is found one level below.
pub(crate) fn meant(word: &str, path: &str) -> Option<String> {
    let mut command = Cli::command();
    for name in path.split(' ').skip(1) {
        command = command.find_subcommand(name)?.clone();
    }
    let forms = forms(word);
    nearest(&command, &forms).or_else(|| flag(&command, &forms)).or_else(|| below(&command, &forms))
}

/// A word in lower case, and what it may be the plural of.
fn forms(word: &str) -> Vec<String> {
    let lower = word.to_lowercase();
    let singular = match (lower.strip_suffix("ies"), lower.strip_suffix('s')) {
        (Some(stem), _) => Some(format!("{stem}y")),
        (None, stem) => stem.map(str::to_owned),
    };
    std::iter::once(lower.clone()).chain(singular).collect()
}

/// The subcommand with the nearest name, by its main name.
fn nearest(command: &Command, forms: &[String]) -> Option<String> {
    let mut best: Option<(usize, &str)> = None;
    for subcommand in command.get_subcommands() {
        let names = std::iter::once(subcommand.get_name()).chain(subcommand.get_all_aliases());
        for name in names {
            let distances = forms.iter().map(|form| strsim::osa_distance(form, name));
            let distance = distances.min().unwrap_or(usize::MAX);
            let is_better = best.is_none_or(|(least, _)| distance < least);
            if is_near(distance, name) && is_better {
                best = Some((distance, subcommand.get_name()));
            }
        }
    }
    best.map(|(_, name)| name.to_owned())
}

/// Two slips at most, and fewer than half of the letters: `sttaus` is `status`, `foo` is nothing.
fn is_near(distance: usize, name: &str) -> bool {
    distance == 0 || distance <= 2 && distance * 2 < name.len()
}

/// A flag of the command that has this name: `kes version` is `kes --version`.
fn flag(command: &Command, forms: &[String]) -> Option<String> {
    let mut flags = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let long = flags.find_map(|arg| arg.get_long().filter(|long| forms[0] == *long))?;
    Some(format!("--{long}"))
}

/// The one command a level below that has this name: `kes create` is `kes key create`.
fn below(command: &Command, forms: &[String]) -> Option<String> {
    let mut holders =
        command.get_subcommands().filter(|holder| holder.find_subcommand(&forms[0]).is_some());
    let holder = holders.next()?;
    // `info` is one of several commands.
    let is_only = holders.next().is_none();
    is_only.then(|| format!("{} {}", holder.get_name(), forms[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_a_plural_or_another_level_is_understood() {
        for (word, path, expected) in [
            ("metrics", "kes", Some("metric")),
            ("Metric", "kes", Some("metric")),
            ("keys", "kes", Some("key")),
            ("kye", "kes", Some("key")),
            ("policies", "kes", Some("policy")),
            ("identities", "kes", Some("identity")),
            ("logs", "kes", Some("log")),
            ("stats", "kes", Some("status")),
            ("sever", "kes", Some("server")),
            ("lists", "kes", Some("ls")),
            ("version", "kes", Some("--version")),
            ("create", "kes", Some("key create")),
            ("new", "kes", Some("identity new")),
            ("crate", "kes key", Some("create")),
            ("LS", "kes key", Some("ls")),
            ("decrpyt", "kes key", Some("decrypt")),
            ("shw", "kes policy", Some("show")),
            ("infos", "kes identity", Some("info")),
            ("info", "kes", None),
            ("foo", "kes", None),
            ("foo", "kes key", None),
            ("tool", "kes", None),
            ("enclave", "kes", None),
            ("", "kes", None),
            ("x.crt", "kes identity", None),
        ] {
            assert_eq!(meant(word, path).as_deref(), expected, "{path} {word}");
        }
    }
}
