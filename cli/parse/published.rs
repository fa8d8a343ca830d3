//! Command lines as they stand in guides, charts, compose files, unit files and scripts.

use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use super::parse;
use crate::args::{Cli, Color, Command, IdentityCommand, KeyCommand, NewIdentity, ServerArgs};
use crate::error::Failure;

/// What becomes of a line of shell: `parsed`, `usage`, or the message.
pub(crate) fn outcome(line: &str) -> String {
    match parsed(line) {
        Err(Failure::Wrong(error) | Failure::Unanswered(error)) => format!("{error:#}"),
        Err(Failure::Usage(_)) => "usage".to_owned(),
        Err(Failure::No) => "no".to_owned(),
        Ok(_) => "parsed".to_owned(),
    }
}

fn parsed(line: &str) -> Result<Cli, Failure> {
    let words = words(line);
    assert_eq!(words.first().map(String::as_str), Some("kes"), "{line}");
    let args: Vec<OsString> = words.into_iter().skip(1).map(Into::into).collect();
    parse(&args)
}

/// Words between blanks. Quotes of both kinds hold blanks together, and `$(…)` and `$NAME` within
/// double quotes stay as they are.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (character, quote) {
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(open)) if character == open => quote = None,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

fn server(line: &str) -> ServerArgs {
    match parsed(line) {
        Ok(Cli { command: Some(Command::Server(server)), .. }) => server,
        _ => panic!("{line}: {}", outcome(line)),
    }
}

fn new_identity(line: &str) -> NewIdentity {
    match parsed(line) {
        Ok(Cli { command: Some(Command::Identity(identity)), .. }) => match identity.command {
            Some(IdentityCommand::New(new)) => new,
            _ => panic!("{line}"),
        },
        _ => panic!("{line}: {}", outcome(line)),
    }
}

#[test]
fn published_lines_parse() {
    for line in [
        "kes --version",
        "kes -v",
        "kes --auto-completion",
        "kes --manual-pages /usr/local/share/man/man1",
        "kes server --dev",
        "kes server --dev --addr 127.0.0.1:7373",
        "kes server --addr :7373 --config=config.yml",
        "kes server --addr 0.0.0.0:7373 --config config.yml --quiet",
        "kes server --config=/opt/kes/config.yaml",
        "kes server --config server-config.yaml --auth off",
        "kes server --auth=off --config=/root/.kes/config/config.yml",
        "kes server --key /tls/private.key --cert /tls/public.crt --config /cfg/config.yml",
        "kes server --key= --cert= --config /cfg/config.yml",
        "kes server --addr= --config=c.yml",
        "kes server --addr '' --config c.yml",
        "kes identity new",
        "kes identity new --key=client.key --cert=client.crt MinIO",
        "kes identity new --key=client.key --cert=client.crt --expiry=8760h -f minio",
        "kes identity new --ip \"127.0.0.1\" --key private.key --cert public.crt localhost",
        "kes identity new kes_server --ip \"127.0.0.1\" --key private.key --cert public.crt --dns localhost",
        "kes identity new --key a --cert b --ip \"127.0.0.1,10.0.0.1\" --dns localhost --force",
        "kes identity of client.crt",
        "kes identity of kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT",
        "kes identity of root.cert -e my-enclave",
        "kes identity info -k",
        "kes identity info --insecure --color=never",
        "kes identity ls -k --json",
        "kes identity list -k",
        "kes identity ls -k '*'",
        "kes key create -k minio-default-key",
        "kes key create my-key -k -e tenant-1",
        "kes -e tenant-1 key create my-key",
        "kes key create --enclave=tenant-1 my-key",
        "kes key create -ke tenant-1 my-key",
        "kes key create -ketenant-1 my-key",
        "kes identity -e tenant-1 ls -k",
        "kes identity --enclave=tenant-1 of client.crt",
        "kes identity of -e '' client.crt",
        "kes key import -k imported AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "kes key info my-key",
        "kes key list -k",
        "kes key ls -k 'my-*'",
        "kes key ls -k ''",
        "kes key ls --json -k",
        "kes key rm -k my-key",
        "kes key rm my-key-1 my-key-2",
        "kes key encrypt my-key \"Hello World\"",
        "kes key decrypt my-key YmFzZTY0 Y29udGV4dA==",
        "kes key dek my-key",
        "kes key dek -k my-key Y29udGV4dA==",
        "kes policy ls -k",
        "kes policy list -k",
        "kes policy info minio -k",
        "kes policy show minio --json",
        "kes migrate --from a.yml --to b.yml",
        "kes migrate 'my-*' --from=a.yml --to=b.yml --force -q",
        "kes migrate --from a.yml --to b.yml -f --quiet",
        "kes policy show -k minio --color always",
        "kes ls",
        "kes ls -k -i",
        "kes ls --policy --json my-",
        "kes ls -a kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT -s 127.0.0.1:7373 -k",
        "kes ls -s127.0.0.1:7373 -k",
        "kes log",
        "kes log --audit --json",
        "kes log --audit=true -k",
        "kes log --error -k",
        "kes log --audit=false --error",
        "kes status",
        "kes status -k -s",
        "kes status -ks --color=''",
        "kes status --api --json -k=true",
        "kes metric",
        "kes metric --rate 3s -k",
        "kes metric --rate=",
        "kes check --config /etc/kes/config.yml --strict",
    ] {
        assert_eq!(outcome(line), "parsed", "{line}");
    }
}

/// Arguments of containers: each is one word, whatever stands in it.
#[test]
fn container_arguments_parse() {
    for args in [
        &["server", "--config=/tmp/kes/server-config.yaml", "--auth=off"] as &[_],
        &["server", "--config=/tmp/kes/server-config.yaml", "--auth=on"],
        &["server", "--auth", "--config=/tmp/kes/server-config.yaml"],
        &[
            "server",
            "--cert=/tmp/kes/server.crt",
            "--key=/tmp/kes/server.key",
            "--auth=off",
            "--config=/c.yml",
        ],
        &[
            "server",
            "--cert",
            "/tmp/kes/server.crt",
            "--key",
            "/tmp/kes/server.key",
            "--auth",
            "off",
            "--config",
            "/c.yml",
        ],
        &["server", "--config=/c.yml", "--auth", "off", "--key", "--cert"],
        &["server", "--config=/c.yml", "--auth=", "--key=", "--cert", ""],
        &["server", "--config", "/c.yml", "--auth", ""],
    ] {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        match parse(&args) {
            Ok(Cli { command: Some(Command::Server(server)), .. }) => {
                assert!(server.config.is_some() && !server.dev, "{args:?}");
                assert!(server.addr.is_none(), "{args:?}");
            }
            Err(Failure::Wrong(error)) => panic!("{args:?}: {error:#}"),
            _ => panic!("{args:?}"),
        }
    }
}

#[test]
fn values_are_read_as_gos_flag_library_read_them() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let day = Duration::from_hours(24);
    for (flags, ips, dns, expiry) in [
        ("", vec![], vec![], 30 * day),
        ("--ip='\"127.0.0.1\"'", vec![ip("127.0.0.1")], vec![], 30 * day),
        (
            "--ip ' 127.0.0.1, ::1 ,' --ip 10.0.0.1 --dns 'localhost , \"a.example\"' --dns=b",
            vec![ip("127.0.0.1"), ip("::1"), ip("10.0.0.1")],
            vec!["localhost", "a.example", "b"],
            30 * day,
        ),
        ("--ip= --dns '' --expiry=", vec![], vec![], 30 * day),
        ("--expiry 0", vec![], vec![], 30 * day),
        ("--expiry 0s", vec![], vec![], 30 * day),
        ("--expiry 24h --expiry 48h", vec![], vec![], 2 * day),
        ("--expiry=1h30m", vec![], vec![], Duration::from_mins(90)),
    ] {
        let line = format!("kes identity new --key a --cert b {flags}");
        let new = new_identity(&line);
        assert_eq!(new.ips(), ips, "{line}");
        assert_eq!(new.domains(), dns, "{line}");
        assert_eq!(new.expiry(), expiry, "{line}");
        assert_eq!(new.key, Some("a".into()), "{line}");
    }
    let new = new_identity("kes identity new --key= --cert '' ''");
    assert!(new.key.is_none() && new.cert.is_none());

    assert_eq!(server("kes server --config a --config b").config, Some("b".into()));
    assert_eq!(server("kes server --config= --dev").config, None);
    assert_eq!(server("kes server --dev --addr=").addr, None);

    for (line, insecure) in [
        ("kes status", false),
        ("kes status -k", true),
        ("kes status -k=false", false),
        ("kes status --insecure=false -k=1", true),
        ("kes status -sk", true),
        ("kes status -sk=F", false),
        ("kes status --insecure=T", true),
    ] {
        let Ok(Cli { command: Some(Command::Status(status)), .. }) = parsed(line) else {
            panic!("{line}: {}", outcome(line))
        };
        assert_eq!(status.connect.insecure, insecure, "{line}");
        assert_eq!(status.format.color, Color::Auto);
    }

    // A word after `--` is no flag, and flags may follow arguments.
    for (line, expected) in [
        ("kes key create -k -- -e --json", vec!["-e", "--json"]),
        ("kes key create a -k b -e x c", vec!["a", "b", "c"]),
        ("kes key create help", vec!["help"]),
        ("kes key create ls", vec!["ls"]),
    ] {
        let Ok(Cli { command: Some(Command::Key(KeyCommand::Create(names))), .. }) = parsed(line)
        else {
            panic!("{line}: {}", outcome(line))
        };
        assert_eq!(names.names, expected, "{line}");
    }
    let Ok(Cli { command: Some(Command::Ls(ls)), .. }) =
        parsed("kes ls -s '' -a= -ks= -e= --color= ''")
    else {
        panic!()
    };
    assert!(ls.server.is_none() && ls.api_key.is_none() && ls.connect.insecure);
}

#[test]
fn help_is_found_wherever_it_is_asked_for() {
    let usage = |line: &str| match parsed(line) {
        Err(Failure::Usage(text)) => text.to_string(),
        _ => panic!("{line}: {}", outcome(line)),
    };
    for (line, expected) in [
        ("kes help", "kes [options] <command>"),
        ("kes help key", "kes key <command>"),
        ("kes help key create", "kes key create [options] <name>..."),
        ("kes help key list", "kes key ls [options] [<pattern>]"),
        ("kes key help", "kes key <command>"),
        ("kes key help create", "kes key create [options] <name>..."),
        ("kes -e x help identity", "kes identity <command>"),
        ("kes identity help new", "kes identity new [options] [<subject>]"),
        ("kes help metric", "kes metric [options]"),
        ("kes -e x key create --help", "kes key create [options] <name>..."),
        ("kes key -h", "kes key <command>"),
    ] {
        assert!(usage(line).contains(&format!("Usage: {expected}")), "{line}: {}", usage(line));
    }
    assert_eq!(outcome("kes help foo"), "\"foo\" is not a kes command. See 'kes --help'");
    assert_eq!(
        outcome("kes help key foo"),
        "\"foo\" is not a kes key command. See 'kes key --help'"
    );
    assert_eq!(outcome("kes kes:v1:AAAA"), "an API key is not a kes command. See 'kes --help'");

    // What is only accepted for old scripts is not shown.
    for line in ["kes server -h", "kes key create -h", "kes identity new -h", "kes -h"] {
        let text = usage(line);
        assert!(!text.contains("enclave") && !text.contains("--mlock"), "{text}");
    }
    // All that there is is listed.
    for command in ["server", "check", "key", "policy", "identity", "ls", "log", "status", "metric"]
    {
        assert!(usage("kes").contains(&format!("\n  {command:8} ")), "{command}: {}", usage("kes"));
    }
}

#[test]
fn what_is_obsolete_names_todays() {
    for (line, today) in [
        ("kes tool identity of public.crt", "kes identity of"),
        ("kes tool identity new --server --key=a --cert=b --ip 127.0.0.1", "kes identity new"),
        ("kes tool", "kes identity"),
        ("kes key derive -k my-key", "kes key dek"),
        ("kes key delete my-key -k", "kes key rm"),
        ("kes -e x key derive my-key", "kes key dek"),
        ("kes log trace", "use 'kes log'"),
        ("kes log trace -k --type=audit", "use 'kes log'"),
        ("kes audit trace", "use 'kes log'"),
        ("kes update", "install the new version"),
        ("kes policy add my-app policy.toml", "section 'policy'"),
        ("kes policy create minio policy.json", "section 'policy'"),
        ("kes policy assign minio $(kes identity of x)", "section 'policy'"),
        ("kes identity assign abc minio", "section 'policy'"),
        ("kes enclave create tenant-1 abc", "'keystore'"),
        ("kes init --config x", "'keystore'"),
        ("kes secret create s", "kes key"),
        ("kes gateway", "kes server"),
        ("kes migrate --target x", "--to"),
    ] {
        let text = outcome(line);
        assert!(text.contains(today) && text.contains(". See 'kes"), "{line}: {text}");
    }
    let negative = outcome("kes identity new --cert a --expiry -1h");
    assert!(negative.starts_with("invalid argument \"-1h\" for \"--expiry\" flag"), "{negative}");
    assert!(outcome("kes key ls -e").starts_with("flag needs an argument"));
    // A flag's value is not taken for a command.
    assert_eq!(outcome("kes -e tool key ls"), "parsed");
}
