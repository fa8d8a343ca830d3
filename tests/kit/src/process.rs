use std::io;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, kill_process};

/// A child process that ends with its owner: killed and reaped when dropped, and killed by the
/// kernel if the test process itself dies (where `setpriv` of util-linux is there).
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: Command) -> Self {
        let text = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|error| panic!("{text} does not start: {error}"));
        Self { child }
    }

    /// A command for a program that is to die with the test process.
    pub fn command(program: &Path) -> Command {
        dying_with_parent(program)
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, if that is a pipe and nobody has taken it.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, if that is a pipe and nobody has taken it.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, if that is a pipe and nobody has taken it.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for its end")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process ID is positive");
        let id = Pid::from_raw(id).expect("a process ID is positive");
        kill_process(id, signal).expect("the process runs");
    }

    /// Whether a signal has stopped all its threads (Linux).
    pub fn is_stopped(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.id())) else {
            return false;
        };
        threads.flatten().all(|thread| {
            let text = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The name before it stands in brackets and may hold anything.
            text.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        })
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Copies a file to where it is run as a program. Another process does: a child that any test of
/// this one starts meanwhile holds the files that are open for writing for a moment, and a program
/// that somebody may write to is not run ("Text file busy").
///
/// # Panics
/// If it cannot be copied.
pub fn install(from: &Path, to: &Path) {
    let mut command = Command::new("install");
    let output = command.args(["-m", "755"]).args([from, to]).output();
    let output = output.unwrap_or_else(|error| panic!("install does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} fails: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The command, made to die with the thread that starts it, where that can be had.
pub(crate) fn dying_with_parent(program: &Path) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let setpriv = std::env::split_paths(&path).map(|folder| folder.join("setpriv"));
    if let Some(setpriv) = setpriv.into_iter().find(|file| file.is_file()) {
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Starts children from a thread that lives as long as the process: the kernel kills a child
/// when the *thread* that started it ends, and each test has a thread of its own.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, SyncSender<io::Result<Child>>);
    static JOBS: OnceLock<SyncSender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (jobs, work) = sync_channel::<Job>(0);
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = work.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, result) = sync_channel(1);
    jobs.send((command, answer)).expect("the starting thread lives");
    result.recv().expect("the starting thread answers")
}
