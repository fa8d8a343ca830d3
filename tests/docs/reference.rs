//! `docs/commands.md` is the help of all commands, as the program prints it, which it makes from their
//! definitions. After a change of them: `KES_RECORD=1 cargo test --test tests docs`.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use kes_testkit::Process;

use super::book::root;
use crate::harness::program;

const DOCUMENT: &str = "docs/commands.md";

const HEAD: &str = "# Commands

The help of each command, as `kes <command> --help` prints it. `kes --manual-pages <folder>` writes the same as manual
pages. [contract/cli.md](contract/cli.md) specifies what they do, their output and their exit status.
";

/// What begins the section about variables, which is the same for all commands that ask a server.
const ENVIRONMENT: &str = "Environment:\n";

#[test]
fn the_reference_of_commands_is_their_help() {
    let mut sections = String::new();
    let mut contents = String::new();
    let mut environment = None;
    let mut left = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let help = help(&path);
        // The first command stands on top of those that are left.
        left.extend(commands(&help).into_iter().rev().map(|name| [&path[..], &[name]].concat()));
        let name = ["kes"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>();
        let (name, anchor) = (name.join(" "), name.join("-"));
        let (about, rest) = help.split_once("\n\n").unwrap_or_else(|| panic!("{name}: {help}"));
        let (rest, read) = match rest.split_once(ENVIRONMENT) {
            Some((rest, variables)) => {
                let first = environment.get_or_insert_with(|| variables.to_owned());
                assert_eq!(variables, first, "{name}: other variables");
                (rest, "\nIt reads the [variables](#variables) of a client.\n")
            }
            None => (rest, ""),
        };
        let rest = rest.trim_end();
        write!(sections, "\n## {name}\n\n{about}.\n\n```text\n{rest}\n```\n{read}").unwrap();
        writeln!(contents, "- [{name}](#{anchor})").unwrap();
    }
    let environment = environment.expect("some commands ask a server");
    let environment = environment.trim_end();
    let expected = format!(
        "{HEAD}\n{contents}- [Variables](#variables)\n{sections}\n## Variables\n\n```text\n{environment}\n```\n"
    );
    let file = root().join(DOCUMENT);
    if std::env::var_os("KES_RECORD").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{DOCUMENT} is not the help of the commands; if their change is meant: \
         KES_RECORD=1 cargo test --test tests docs\n{expected}"
    );
}

/// What a command prints of itself.
fn help(path: &[String]) -> String {
    let mut command = Process::command(&program());
    command.args(path).arg("--help").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(text.contains("Usage: kes"), "{path:?}: {text}");
    text
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // The text of a command may go on in the next line, further to the right.
    let names =
        lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    names.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}
