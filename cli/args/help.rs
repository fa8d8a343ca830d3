//! The texts of `--help` below the flags: examples, and the variables that a command reads.

use clap::Command;

/// Examples of each command. A test parses all of them and fails if a command has none.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("kes server", &["kes server --config /etc/kes/config.yml", "kes server --dev"]),
    ("kes check", &["kes check --config /etc/kes/config.yml --strict"]),
    ("kes rehearse", &["kes rehearse --config /etc/kes/config.yml"]),
    ("kes key create", &["kes key create my-key", "kes key create key-1 key-2"]),
    (
        "kes key import",
        &["kes key import my-key - < my-key.txt", "kes key import --file my-key.txt my-key"],
    ),
    ("kes key info", &["kes key info my-key", "kes key info my-key --json"]),
    ("kes key ls", &["kes key ls", "kes key ls 'my-*'"]),
    ("kes key rm", &["kes key rm my-key", "kes key rm --force key-1 key-2"]),
    (
        "kes key encrypt",
        &[
            "kes key encrypt my-key 'Hello World'",
            "kes key encrypt my-key - < message.txt",
            "kes key encrypt --file message.txt my-key",
        ],
    ),
    (
        "kes key decrypt",
        &[
            "kes key decrypt my-key \"$CIPHERTEXT\"",
            "kes key decrypt my-key \"$CIPHERTEXT\" \"$CONTEXT\"",
            "kes key decrypt my-key - < ciphertext.txt",
            "kes key decrypt --file ciphertext.txt my-key \"$CONTEXT\"",
        ],
    ),
    (
        "kes key dek",
        &["kes key dek my-key", "kes key dek my-key \"$(echo -n my-context | base64)\""],
    ),
    (
        "kes inspect",
        &[
            "kes inspect \"$CIPHERTEXT\" \"$CONTEXT\"",
            "kes inspect --key key-1 --key key-2 --file ciphertext.txt",
            "kes inspect --offline - < ciphertext.txt",
        ],
    ),
    ("kes policy ls", &["kes policy ls", "kes policy ls 'minio*'"]),
    ("kes policy info", &["kes policy info minio"]),
    ("kes policy show", &["kes policy show minio", "kes policy show minio --json"]),
    (
        "kes policy explain",
        &[
            "kes policy explain self PUT /v1/key/create/my-key",
            "kes policy explain --config /etc/kes/config.yml \"$(kes identity of client.crt)\" GET /v1/status",
        ],
    ),
    (
        "kes policy suggest",
        &["kes policy suggest", "kes policy suggest --prefix minio- --prefix backup-"],
    ),
    (
        "kes policy preset",
        &[
            "kes policy preset minio",
            "kes policy preset minio --key minio- --identity \"$(kes identity of minio.crt)\"",
        ],
    ),
    (
        "kes policy test",
        &[
            "kes policy test expectations.yml --config /etc/kes/config.yml",
            "kes policy test expectations.yml",
        ],
    ),
    (
        "kes identity",
        &["kes identity new", "kes identity of client.crt", "kes identity client.key"],
    ),
    (
        "kes identity new",
        &[
            "kes identity new",
            "kes identity new --key client.key --cert client.crt --expiry 8760h MinIO",
            "kes identity new --key server.key --cert server.crt --ip 127.0.0.1,10.1.2.3 --dns kes.example.com",
        ],
    ),
    ("kes identity of", &["kes identity of client.crt", "kes identity of - < api-key.txt"]),
    (
        "kes identity info",
        &["kes identity info", "kes identity info \"$(kes identity of client.crt)\""],
    ),
    ("kes identity ls", &["kes identity ls", "kes identity ls --json"]),
    ("kes ls", &["kes ls my-", "kes ls --identity", "kes ls -s kes.example.com:7373 --policy"]),
    (
        "kes log",
        &[
            "kes log",
            "kes log --error",
            "kes log --status 403,5xx --key 'minio-*'",
            "kes log --audit --json | jq .request.path",
        ],
    ),
    (
        "kes audit verify",
        &[
            "kes audit verify --key-file audit.key /var/log/kes/audit.jsonl*",
            "kes audit verify --key-file audit.key --heads - /var/log/kes/audit.jsonl* < journal.txt",
        ],
    ),
    (
        "kes audit grep",
        &[
            "kes audit grep --bucket photos --object cat.jpg /var/log/kes/audit.jsonl*",
            "kes audit grep --status 4xx --since 1h --json /var/log/kes/audit.jsonl | jq .reason",
        ],
    ),
    ("kes audit key", &["kes audit key audit.key"]),
    ("kes status", &["kes status", "kes status --short", "kes status --api --json"]),
    ("kes metric", &["kes metric", "kes metric --rate 1s | jq .kes_http_request_active"]),
    (
        "kes migrate",
        &[
            "kes migrate --from old.yml --to new.yml --dry-run",
            "kes migrate --from old.yml --to new.yml",
            "kes migrate 'minio-*' --from old.yml --to new.yml --merge",
            "kes migrate --online --config config.yml",
        ],
    ),
    (
        "kes shadow",
        &[
            "kes shadow --to 127.0.0.1:7374 --new 127.0.0.1:7375 --key server.key --cert server.crt",
            "kes shadow --to old:7373 --new new:7373 --key server.key --cert server.crt --proxy --answer new",
        ],
    ),
    (
        "kes backup",
        &[
            "kes backup --config /etc/kes/config.yml --recipients-file recipients.txt --output keys.age",
            "kes backup 'minio-*' --config /etc/kes/config.yml --passphrase --output keys.age",
            "kes backup verify keys.age --config /etc/kes/config.yml",
        ],
    ),
    (
        "kes backup verify",
        &[
            "kes backup verify keys.age",
            "kes backup verify keys.age --identity identity.txt",
            "kes backup verify keys.age --config /etc/kes/config.yml",
        ],
    ),
    (
        "kes restore",
        &[
            "kes restore keys.age --config /etc/kes/config.yml --identity identity.txt --dry-run",
            "kes restore keys.age --config /etc/kes/config.yml --identity identity.txt",
            "kes restore keys.age 'minio-*' --config /etc/kes/config.yml --passphrase --merge",
        ],
    ),
];

/// Commands that ask a server, without `kes identity new` and `of`.
const CLIENTS: &[&str] = &[
    "kes key create",
    "kes key import",
    "kes key info",
    "kes key ls",
    "kes key rm",
    "kes key encrypt",
    "kes key decrypt",
    "kes key dek",
    "kes inspect",
    "kes policy ls",
    "kes policy info",
    "kes policy show",
    "kes policy explain",
    "kes policy suggest",
    "kes policy test",
    "kes identity info",
    "kes identity ls",
    "kes ls",
    "kes log",
    "kes status",
    "kes metric",
    "kes shadow",
];

/// The variables that these commands read (`cli/env.rs`).
const VARIABLES: &str = "\
Environment:
  KES_SERVER       servers, with commas between [default: 127.0.0.1:7373]
  KES_API_KEY      the API key of this client
  KES_CLIENT_KEY   file of a private key, in place of an API key
  KES_CLIENT_CERT  file of the certificate of this private key
  KES_CAPATH       file or folder of CA certificates to trust besides the system's

  MINIO_KES_SERVER, MINIO_KES_API_KEY, MINIO_KES_KEY_FILE, MINIO_KES_CERT_FILE and
  MINIO_KES_CAPATH win over these; MINIO_KES_CLIENT_KEY and MINIO_KES_CLIENT_CERT are
  read where no other names these files, and MinIO's own MINIO_KMS_KES_ENDPOINT,
  MINIO_KMS_KES_API_KEY and MINIO_KMS_KES_CAPATH are read where neither is set.";

const IDENTITY: &str = "\
Without a command: an API key or a certificate gives its identity, the file of an Ed25519 \
private key its API key, and no argument a new API key.";

const ROOT: &str = "\
'kes help <command>' shows the flags, examples and variables of a command.

Completion of commands and flags, in a shell's start-up file:
  bash (~/.bashrc)                   source <(SHELL=bash kes --auto-completion)
  zsh  (~/.zshrc, after compinit)    source <(SHELL=zsh kes --auto-completion)
  fish (~/.config/fish/config.fish)  SHELL=fish kes --auto-completion | source";

const METRIC: &str = "\
On a terminal all servers of KES_SERVER stand side by side; JSON lines are those of the first
one that answers. Keys of the view:
  left, right, tab, 1-9  choose a server
  enter                  show that one alone, or all again
  up, down               scroll
  o                      show all operations, or as many as fit
  p                      pause, or go on
  +, -                   read more often, less often
  ?                      show the keys
  q                      quit";

const LOG: &str = "\
The log is followed from now on: servers keep no lines of the past for it. 'kes audit grep' finds
earlier requests in audit files. With several servers in KES_SERVER, each line begins with the
name of its server.";

const SHADOW: &str = "\
Clients use it in place of the old server. A line of JSON tells each difference of the two
answers, and a summary what was compared; both tell nothing of what clients send.
Requests go to both servers with the credential of the environment (KES_API_KEY, or
KES_CLIENT_KEY and KES_CLIENT_CERT). It is the client's own, which is then the only client; with
--client one that the same policy of both servers names; with --proxy one that
tls.proxy.identities of both servers names, which MinIO's KES ignores.
SIGHUP reads the certificate of the listener again. KES_SERVER is not read.";

/// Adds these texts to all commands.
pub(crate) fn complete(root: Command) -> Command {
    let path = root.get_name().to_owned();
    add(root, &path)
}

fn add(command: Command, path: &str) -> Command {
    let mut parts = Vec::new();
    match path {
        "kes" => parts.push(ROOT.to_owned()),
        "kes identity" => parts.push(IDENTITY.to_owned()),
        "kes log" => parts.push(LOG.to_owned()),
        "kes metric" => parts.push(METRIC.to_owned()),
        "kes shadow" => parts.push(SHADOW.to_owned()),
        _ => {}
    }
    if let Some((_, examples)) = EXAMPLES.iter().find(|(of, _)| *of == path) {
        let lines: Vec<String> = examples.iter().map(|line| format!("  {line}")).collect();
        parts.push(format!("Examples:\n{}", lines.join("\n")));
    }
    if CLIENTS.contains(&path) {
        parts.push(VARIABLES.to_owned());
    }
    let command = match parts.is_empty() {
        true => command,
        false => command.after_help(parts.join("\n\n")),
    };
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        add(sub, &path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn leaves(command: &Command, path: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            leaves(sub, &path, found);
            if !sub.has_subcommands() {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_parses() {
        let mut commands = Vec::new();
        leaves(&parse::command(), "kes", &mut commands);
        assert!(commands.len() > 15, "{commands:?}");
        for command in &commands {
            assert!(EXAMPLES.iter().any(|(of, _)| of == command), "{command} has no example");
        }
        for command in CLIENTS {
            assert!(commands.iter().any(|found| found == command), "{command} is no command");
        }
        for (command, examples) in EXAMPLES {
            for example in *examples {
                let line = example.split(['|', '<']).next().unwrap().trim_end();
                assert!(line.starts_with("kes "), "{command}: {line}");
                assert_eq!(parse::published::outcome(line), "parsed", "{line}");
            }
        }
    }

    #[test]
    fn every_variable_is_named() {
        for name in crate::env::names() {
            assert!(VARIABLES.contains(name), "{name}");
        }
    }

    /// A command that connects has the flag `--insecure`.
    #[test]
    fn the_variables_stand_at_the_commands_that_read_them() {
        fn look(command: &Command, path: &str) {
            let connects = command.get_arguments().any(|arg| arg.get_long() == Some("insecure"));
            assert_eq!(CLIENTS.contains(&path), connects, "{path}");
            for sub in command.get_subcommands() {
                look(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        look(&parse::command(), "kes");
    }
}
