//! Tests of [`super`].

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
            let ends = text.contains(". See 'kes") || text.contains("meant? See 'kes");
            prop_assert!(ends, "{args:?}: {text}");
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
        Err(Failure::Wrong(error) | Failure::Unanswered(error)) => format!("{error:#}"),
        Err(Failure::Usage(_)) => "usage".to_owned(),
        Err(Failure::No) => "no".to_owned(),
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
        ("metrics", "\"metrics\" is not a kes command; is 'metric' meant? See 'kes --help'"),
        ("help metrics", "\"metrics\" is not a kes command; is 'metric' meant? See 'kes --help'"),
        ("create k", "\"create\" is not a kes command; is 'key create' meant? See 'kes --help'"),
        (
            "key crate k",
            "\"crate\" is not a kes key command; is 'create' meant? See 'kes key --help'",
        ),
        (
            "identity nwe MinIO",
            "\"nwe\" is not a kes identity command; is 'new' meant? See 'kes identity --help'",
        ),
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
