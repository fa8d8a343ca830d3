//! Runs transcripts: commands, and what they print and return.
//!
//! ```text
//! # A comment.
//! server                               starts a key server; ${server} is its address, ${admin}
//!                                      and ${minio} are identities that it knows
//! as minio                             the API key of that identity, or admin, or nobody
//! env KES_SERVER=127.0.0.1:1           a variable for the lines that follow; without = it goes
//! file c.yml| text                     a line of a file in the working folder
//! in| text                             a line of the next command's standard input
//! $ kes key create 'a name' ${kept}    runs a command; quotes as in a shell
//! out| a line of standard output       each line must stand here, in order
//! err| a line of standard error
//! err|...                              any number of lines
//! rc=0                                 the exit status; ends the command
//! ```
//!
//! In an expected line `<n>` stands for digits, `<word>` for anything without a blank, `<any>`
//! for anything, `<time>`, `<rfc3339>`, `<identity>`, `<fingerprint>`, `<api-key>` and `<base64>`
//! for what they say. `<name:kind>` keeps what it stood for as `${name}`, for commands and expectations.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::pattern;
use crate::harness::{Config, Server};

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Clients: a name, an API key and its identity. Those of the contract's recorded runs, and one
/// of nothing but zeros.
const CLIENTS: [(&str, &str, &str); 3] = [
    (
        "admin",
        "kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT",
        "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378",
    ),
    (
        "minio",
        "kes:v1:AK0EMJSWF6MenFj6N2vWnwh1UXJUiYT9zkXjLedN/Pm8",
        "34661ba76a846790ab7cf6f03d83d490c37d61231685f17651ab223ad6a6952a",
    ),
    ("nobody", "kes:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "no policy knows it"),
];

/// What a command did.
pub(super) struct Ran {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) status: i32,
}

/// What holds for the commands of a transcript.
struct Session {
    folder: tempfile::TempDir,
    server: Option<Server>,
    variables: BTreeMap<String, String>,
    kept: BTreeMap<String, String>,
    /// Standard input of the next command.
    input: String,
}

/// Runs the transcript in a file.
///
/// # Panics
/// At the first command that does not do what the transcript says.
pub(super) fn run(path: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut session = Session {
        folder: tempfile::tempdir().unwrap(),
        server: None,
        variables: BTreeMap::new(),
        kept: BTreeMap::new(),
        input: String::new(),
    };
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let at = format!("{path}:{}", number + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "server" => session.start_server(),
            "as" => session.become_(rest),
            "env" => session.set(rest),
            "file" => session.append(rest),
            "in|" => session.input += &(session.expand(rest) + "\n"),
            "$" => {
                let mut expected = Vec::new();
                let status = loop {
                    let (_, line) = lines.next().unwrap_or_else(|| panic!("{at}: no rc="));
                    match line.strip_prefix("rc=") {
                        Some(status) => break status.parse().expect(&at),
                        None => expected.push(line),
                    }
                };
                session.check(&at, rest, &expected, status);
            }
            _ => panic!("{at}: {line:?} is no line of a transcript"),
        }
    }
}

impl Session {
    fn start_server(&mut self) {
        let server = start_server();
        self.variables.insert("KES_SERVER".into(), server.address.clone());
        self.keep("server", &server.address);
        self.keep("certificate", &server.file("server.crt").display().to_string());
        for (name, api_key, identity) in CLIENTS {
            self.keep(name, identity);
            self.keep(&format!("{name}_key"), api_key);
        }
        self.server = Some(server);
        self.become_("admin");
    }

    fn become_(&mut self, who: &str) {
        let key = self.kept[&format!("{who}_key")].clone();
        self.variables.insert("KES_API_KEY".into(), key);
    }

    fn keep(&mut self, name: &str, text: &str) {
        self.kept.insert(name.to_owned(), text.to_owned());
    }

    fn set(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((name, value)) => {
                let value = self.expand(value);
                self.variables.insert(name.into(), value);
            }
            None => {
                self.variables.remove(assignment);
            }
        }
    }

    fn append(&self, line: &str) {
        let (name, line) = line.split_once('|').expect("file NAME| line");
        let path = self.folder.path().join(name);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let line = self.expand(line.strip_prefix(' ').unwrap_or(line));
        std::fs::write(path, format!("{text}{line}\n")).unwrap();
    }

    fn check(&mut self, at: &str, line: &str, expected: &[&str], status: i32) {
        let mut words = words(&self.expand(line)).into_iter();
        assert_eq!(words.next().as_deref(), Some("kes"), "{at}: only kes can be run");
        let input = std::mem::take(&mut self.input);
        let ran = kes_reading(self.folder.path(), &self.variables, words, &input);
        let fits = ran.status == status
            && self.fits("out|", &ran.out, expected)
            && self.fits("err|", &ran.err, expected);
        assert!(
            fits,
            "{at}: $ {line}\nexpected\n{}\nrc={status}\n\ngot\n{ran}",
            expected.join("\n")
        );
    }

    /// Whether a stream is what the transcript says; every output ends with a newline.
    fn fits(&mut self, mark: &str, got: &str, expected: &[&str]) -> bool {
        let expected: Vec<String> = expected
            .iter()
            .filter_map(|line| line.strip_prefix(mark))
            .map(|line| self.expand(line.strip_prefix(' ').unwrap_or(line)))
            .collect();
        let got_lines: Vec<&str> = got.lines().collect();
        (got.is_empty() || got.ends_with('\n'))
            && pattern::lines_fit(&expected, &got_lines, &mut self.kept)
    }

    fn expand(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.kept {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        text
    }
}

/// A server that knows the clients above.
pub(super) fn start_server() -> Server {
    Server::with(&config())
}

/// What that server is configured by.
pub(super) fn config() -> Config {
    let [(_, _, admin), (_, _, minio), _] = CLIENTS;
    let policy = format!(
        "
  minio:
    allow: [/v1/key/create/*]
    deny: [/v1/key/decrypt/secret-*]
    identities: [{minio}]"
    );
    let config = Config::usual().with("admin", &format!("{{ identity: {admin} }}"));
    config.with("policy", &policy)
}

/// The environment of the admin of [`start_server`].
pub(super) fn admin_of(server: &Server) -> BTreeMap<String, String> {
    [("KES_SERVER", server.address.as_str()), ("KES_API_KEY", CLIENTS[0].1)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Runs `kes` with no other variables than these.
pub(super) fn kes(
    folder: &Path,
    variables: &BTreeMap<String, String>,
    args: impl IntoIterator<Item = String>,
) -> Ran {
    kes_reading(folder, variables, args, "")
}

/// The same, with a text as standard input.
pub(super) fn kes_reading(
    folder: &Path,
    variables: &BTreeMap<String, String>,
    args: impl IntoIterator<Item = String>,
    input: &str,
) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kes"))
        .args(args)
        .env_clear()
        .envs(variables)
        .current_dir(folder)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        // It fits into the pipe; a command may end without reading it.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            panic!("kes did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Ran {
        out: out.join().unwrap(),
        err: err.join().unwrap(),
        status: status.code().unwrap_or_default(),
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// Words between blanks; single quotes hold blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (mark, text) in [("out|", &self.out), ("err|", &self.err)] {
            for line in text.split_inclusive('\n') {
                let end = if line.ends_with('\n') { "" } else { " (no newline)\n" };
                f.write_str(mark)?;
                f.write_char(' ')?;
                f.write_str(line)?;
                f.write_str(end)?;
            }
        }
        writeln!(f, "rc={}", self.status)
    }
}
