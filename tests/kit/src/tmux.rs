use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::package::{Package, Program};
use crate::process::Process;
use crate::wait;

const PACKAGE: Package =
    Package { name: "tmux", program: None, folder: "usr/bin", with: &[], env: "TMUX_BIN" };

/// What is waited for comes within a second; a machine that is busy with a build may need far more.
const LIMIT: Duration = Duration::from_secs(60);

/// A terminal with a program. It goes with its owner, and the program with it.
pub struct Tmux {
    program: Program,
    folder: TempDir,
    server: Process,
}

impl Tmux {
    /// Starts a line of shell on a terminal of this size, with these variables beside `PATH` and
    /// those of the terminal. What it has shown at its end can be read.
    ///
    /// # Panics
    /// If tmux is not on this machine and cannot be fetched, or does not start.
    pub fn start<'a>(
        (columns, rows): (u16, u16),
        line: &str,
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let program = PACKAGE.program();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = folder.path().join("config");
        let text = "set -g status off\nset -g remain-on-exit on\nset -g default-terminal screen\n";
        std::fs::write(&config, text).expect("it can be written");
        let mut command = program.command();
        let libraries = command.get_envs().find(|(name, _)| *name == "LD_LIBRARY_PATH");
        let libraries = libraries.and_then(|(_, value)| value).map(ToOwned::to_owned);
        // Not as a daemon, which would outlive the test.
        command.args(["-u", "-D", "-S"]).arg(folder.path().join("socket")).arg("-f").arg(&config);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8").env("SHELL", "/bin/sh");
        command.envs(libraries.map(|libraries| ("LD_LIBRARY_PATH", libraries)));
        command.envs(variables);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Process::start(command);
        let terminal = Self { program, folder, server };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let new = ["new-session", "-d", "-x", &columns, "-y", &rows, line];
        wait::eventually(LIMIT, "tmux starts", || {
            terminal.command(&new).output().is_ok_and(|output| output.status.success())
        });
        terminal
    }

    /// What is on the screen: a line for each row, without blanks at its end.
    ///
    /// # Panics
    /// If tmux does not tell.
    pub fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows what is expected, and returns it.
    ///
    /// # Panics
    /// If that does not come.
    pub fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let start = std::time::Instant::now();
        while start.elapsed() < LIMIT {
            screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{what} is not on the screen:\n{screen}");
    }

    /// Presses a key, by its name in tmux: `Enter`, `Right`, `C-c`, `q`.
    ///
    /// # Panics
    /// If tmux refuses.
    pub fn press(&self, key: &str) {
        self.run(&["send-keys", key]);
    }

    /// Gives the terminal another size.
    ///
    /// # Panics
    /// If tmux refuses.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// What tmux knows of the terminal, by its formats, such as `#{alternate_on}`.
    ///
    /// # Panics
    /// If tmux does not tell.
    pub fn tells(&self, format: &str) -> String {
        self.run(&["display-message", "-p", format]).trim_end().to_owned()
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("tmux runs");
        assert!(
            output.status.success(),
            "tmux {} {args:?}: {}",
            self.server.id(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program.command();
        command.env("LANG", "C.UTF-8").env_remove("TMUX");
        // It must not start a server of its own, if ours does not listen yet.
        command.args(["-u", "-N", "-S"]).arg(self.folder.path().join("socket")).args(args);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_terminal_that_can_be_resized_and_typed_at() {
        let line = "stty size; read -r word; echo got $word $WORD; stty size";
        let terminal = Tmux::start((50, 12), line, [("WORD", "é")]);
        terminal.wait_for("its size", |screen| screen.starts_with("12 50\n"));
        terminal.resize(40, 10);
        terminal.press("a");
        terminal.press("Enter");
        terminal.wait_for("what was typed", |screen| screen.contains("got a é\n10 40\n"));
        assert_eq!(terminal.tells("#{alternate_on}"), "0");
    }
}
