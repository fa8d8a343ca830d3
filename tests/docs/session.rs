use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Bao, Process, wait};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::book::{Block, root};
use super::stand_ins;
use crate::harness::program;

/// Folders of the system that the documentation writes to; they are made in the scratch root.
const ROOTS: [&str; 6] =
    ["/etc/", "/opt/", "/run/credentials/", "/usr/lib/", "/usr/local/bin/", "/var/lib/"];

/// The files of users and groups, which every system has.
const USERS: [&str; 4] = ["passwd", "group", "shadow", "gshadow"];

/// Folders in them that every system has.
const MADE: [&str; 4] =
    ["/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d", "/etc/systemd/system", "/etc/default"];

/// What a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A reader at a shell: what was exported, made and started stays for the blocks that follow.
#[derive(Debug)]
pub(super) struct Session {
    folder: TempDir,
    /// What a reader writes in place of what is printed.
    fills: Vec<(String, String)>,
    servers: Vec<Process>,
}

/// A command that ran.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) command: String,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Session {
    /// In a folder like a checkout of the repository, on a machine on which nothing was
    /// installed yet. No server can be found at the usual ports.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        stand_ins::install(&path.join("bin"));
        for name in ["work", "home"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        for name in ROOTS.iter().chain(&MADE) {
            fs::create_dir_all(path.join("root").join(name.trim_start_matches('/'))).unwrap();
        }
        for name in USERS {
            fs::write(path.join("root/etc").join(name), "").unwrap();
        }
        symlink(root().join("systemd"), path.join("work/systemd")).unwrap();
        fs::write(path.join("notes"), "").unwrap();
        fs::write(path.join("env"), "").unwrap();
        fs::write(path.join("cwd"), path.join("work").to_str().unwrap()).unwrap();
        Self { folder, fills: Vec::new(), servers: Vec::new() }
    }

    /// The same, where `vault` speaks to a server as its root.
    pub(super) fn with_vault(bao: &Bao) -> Self {
        let mut session = Self::new();
        for name in ["vault", "bao"] {
            let link = session.path().join("bin").join(name);
            symlink(format!("/proc/{}/exe", bao.process_id()), link).unwrap();
        }
        session.export("VAULT_ADDR", &format!("http://{}", bao.admin_address()));
        session.export("VAULT_TOKEN", bao.root_token());
        session
    }

    /// From now on the reader writes `to` where `from` is printed.
    pub(super) fn fill(&mut self, from: &str, to: &str) {
        self.fills.retain(|(other, _)| other != from);
        self.fills.push((from.to_owned(), to.to_owned()));
    }

    /// Sets a variable of the reader's shell.
    pub(super) fn export(&mut self, name: &str, value: &str) {
        self.run_line("the test", &format!("export {name}='{value}'"));
    }

    /// Runs the commands of a block, one after the other. All have to succeed.
    pub(super) fn run(&mut self, block: &Block) -> Vec<Ran> {
        commands(&block.text)
            .into_iter()
            .map(|(line, command)| {
                let place = format!("{}:{}", block.document, block.line + line);
                self.run_line(&place, &command)
            })
            .collect()
    }

    /// Runs one command. A server that it starts goes on in the background, as in a shell of
    /// its own, and is found at the port that it chose from then on.
    pub(super) fn run_line(&mut self, place: &str, printed: &str) -> Ran {
        let command = self.filled(place, printed);
        if is_server(&command) {
            let ran = self.serve(place, &command);
            return Ran { command: printed.to_owned(), ..ran };
        }
        if command.starts_with("kes log") {
            return self.follow(place, printed);
        }
        let output = self.shell(&command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{place}: {command}\n{stdout}{stderr}");
        if let Ok(Value::Object(fields)) = serde_json::from_str(&stdout)
            && let Some(Value::String(ciphertext)) = fields.get("ciphertext")
        {
            self.fill("<ciphertext>", ciphertext);
        }
        Ran { command: printed.to_owned(), stdout, stderr }
    }

    /// Starts a command that goes on until the session ends; its output goes to a file.
    pub(super) fn start(&mut self, place: &str, printed: &str) -> PathBuf {
        let command = self.filled(place, printed);
        let name = format!("output-{}", self.servers.len());
        let output = self.path().join(name);
        let file = File::create(&output).unwrap();
        let mut shell = self.shell(&command);
        shell.stdout(file.try_clone().unwrap()).stderr(file);
        self.servers.push(Process::start(shell));
        output
    }

    fn serve(&mut self, place: &str, command: &str) -> Ran {
        // The documentation's port may be in use here, and no test listens to the network.
        let command = match command.contains("--dev") {
            true => format!("{command} --addr 127.0.0.1:0"),
            false => command.to_owned(),
        };
        self.start_server(place, &format!("exec {command}"))
    }

    /// Starts a server, and finds it at the port that it chose from then on.
    pub(super) fn start_server(&mut self, place: &str, command: &str) -> Ran {
        let output = self.start(place, command);
        let mut url = None;
        // The last of what it prints.
        let last = if command.contains("--dev") { "MINIO_KMS_KES_KEY_NAME" } else { "Memory" };
        wait::eventually(START_LIMIT, "the server says where it listens", || {
            let printed = fs::read_to_string(&output).unwrap();
            let server = self.servers.last_mut().unwrap();
            assert!(server.is_running(), "{place}: {command}\n{printed}");
            url = printed
                .lines()
                .find_map(|line| line.strip_prefix("Endpoints"))
                .map(|url| url.trim().to_owned());
            url.is_some() && printed.ends_with('\n') && printed.contains(last)
        });
        self.fill("https://127.0.0.1:7373", &url.unwrap());
        let stdout = fs::read_to_string(&output).unwrap();
        Ran { command: command.to_owned(), stdout, stderr: String::new() }
    }

    /// Follows a log until something was seen in it.
    fn follow(&mut self, place: &str, printed: &str) -> Ran {
        let output = self.start(place, &format!("exec {printed}"));
        let mut stdout = String::new();
        wait::eventually(START_LIMIT, "the log shows a request", || {
            self.run_line(place, "kes status");
            stdout = fs::read_to_string(&output).unwrap();
            !stdout.is_empty()
        });
        self.end_server();
        Ran { command: printed.to_owned(), stdout, stderr: String::new() }
    }

    /// Puts a program that is a script of the shell on the reader's path.
    pub(super) fn add_program(&self, name: &str, text: &str) {
        stand_ins::script(&self.path().join("bin"), name, text);
    }

    /// Installs the program as the README says.
    pub(super) fn install_kes(&mut self) {
        let build = "cargo build --release && sudo install target/release/kes /usr/local/bin/";
        self.run_line("README.md", build);
    }

    /// Writes a file into the folder that the reader works in, with what the reader fills in.
    pub(super) fn write(&self, place: &str, name: &str, text: &str) {
        fs::write(self.file(name), self.filled(place, text)).unwrap();
    }

    /// The same, at its place in the system.
    pub(super) fn write_system(&self, place: &str, path: &str, text: &str) {
        fs::write(self.system_file(path), self.filled(place, text)).unwrap();
    }

    /// The command as the reader types it here.
    fn filled(&self, place: &str, printed: &str) -> String {
        let mut command = printed.to_owned();
        for (from, to) in &self.fills {
            command = command.replace(from, to);
        }
        let left = ["…", "<ciphertext>", "0.0.0.0:7373", "127.0.0.1:7373", "127.0.0.1:8200"];
        for left in left {
            assert!(!command.contains(left), "{place}: nobody fills in {left}: {command}");
        }
        self.in_scratch_root(&command)
    }

    /// A text with the folders of the system below the scratch root.
    pub(super) fn in_scratch_root(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for root in ROOTS {
            // Only where a path starts: `kv/etc/` is none of the system's.
            for before in [" ", "=", ":", "\"", "'", "\n", ">"] {
                let to = format!("{before}{}{root}", self.path().join("root").display());
                text = text.replace(&format!("{before}{root}"), &to);
            }
        }
        text
    }

    fn shell(&self, command: &str) -> Command {
        let path = self.path();
        let script = format!(
            "set -u; . '{0}/env'; cd \"$(cat '{0}/cwd')\" || exit\n{command}\n\
             status=$?; export -p >'{0}/env'; pwd >'{0}/cwd'; exit $status",
            path.display()
        );
        let mut shell = Process::command(Path::new("/bin/sh"));
        shell
            .args(["-c", &script])
            .current_dir(path)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", format!("{0}/bin:{0}/root/usr/local/bin", path.display()))
            .env("KES", program())
            .env("HOME", path.join("home"))
            .env("TMPDIR", path)
            .env("NOTES", path.join("notes"))
            .env("SCRATCH", path);
        shell
    }

    /// What the server that was started last has said so far.
    pub(super) fn output(&self) -> String {
        let name = format!("output-{}", self.servers.len() - 1);
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// What the stand-ins noted, a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let notes = fs::read_to_string(self.path().join("notes")).unwrap();
        notes.lines().map(str::to_owned).collect()
    }

    /// A file in the folder that the reader works in.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join("work").join(name)
    }

    /// A file of the system, in the scratch root.
    pub(super) fn system_file(&self, path: &str) -> PathBuf {
        self.path().join("root").join(path.trim_start_matches('/'))
    }

    /// The value of a variable that was exported.
    pub(super) fn variable(&mut self, name: &str) -> String {
        self.run_line("the test", &format!("printf %s \"${name}\"")).stdout
    }

    /// Whether a command succeeds.
    pub(super) fn succeeds(&self, printed: &str) -> bool {
        let command = self.filled("the test", printed);
        self.shell(&command).output().unwrap().status.success()
    }

    /// Sends a signal to what was started last.
    pub(super) fn signal_server(&self, signal: Signal) {
        self.servers.last().unwrap().signal(signal);
    }

    /// Ends what was started last.
    pub(super) fn end_server(&mut self) {
        self.servers.pop().unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Whether a command is a server that a reader leaves running.
fn is_server(command: &str) -> bool {
    ["kes server", "cargo run -- server"].iter().any(|start| command.starts_with(start))
}

/// The commands of a block with their lines from 0: a here-document or a line that ends in `\`
/// belongs to one. A comment is none.
pub(super) fn commands(text: &str) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let mut command = line.to_owned();
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().expect("a line follows").1);
        }
        if let Some((_, after)) = line.split_once("<<") {
            let end = after.split_whitespace().next().unwrap().trim_matches(['\'', '"', '-']);
            loop {
                let (_, line) = lines.next().expect("a here-document ends");
                command.push('\n');
                command.push_str(line);
                if line == end {
                    break;
                }
            }
        }
        commands.push((number, command));
    }
    commands
}
