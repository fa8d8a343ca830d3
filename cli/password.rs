//! Passwords of private keys: asked for on the terminal, never shown, wiped after use.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rpassword::ConfigBuilder;
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::output::clean;

/// Asks for the password of a private key that exists.
///
/// # Errors
/// Without a terminal there is nobody to ask.
pub(crate) fn of(file: &Path) -> Result<Zeroizing<String>> {
    Terminal::open(file)?.ask("Enter the password of", file)
}

/// Asks twice for the password of a private key to be written.
///
/// # Errors
/// Without a terminal, and when the password is empty or the second differs from the first.
pub(crate) fn new_for(file: &Path) -> Result<Zeroizing<String>> {
    let terminal = Terminal::open(file)?;
    let password = terminal.ask("Enter a password for", file)?;
    if password.is_empty() {
        bail!("the password is empty");
    }
    if password != terminal.ask("Enter it again for", file)? {
        bail!("the two passwords differ");
    }
    Ok(password)
}

/// The terminal, which shows nothing of what is typed as long as this lives. It is quiet before
/// the first prompt stands there: who pastes two lines at once, or types ahead, is not shown
/// either.
struct Terminal {
    tty: File,
    before: Termios,
}

impl Terminal {
    fn open(file: &Path) -> Result<Self> {
        // The terminal itself could be opened without these; a program that runs in the
        // background of somebody's session would then wait for a person who does not look at it.
        if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
            bail!(
                "the private key {} needs a password, and there is no terminal to ask for it",
                file.display()
            );
        }
        Self::quiet().context("failed to open the terminal")
    }

    fn quiet() -> io::Result<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&tty)?;
        let mut quiet = before.clone();
        // Keys come one by one, and Ctrl-C as one of them: see `Keys`.
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&tty, OptionalActions::Now, &quiet)?;
        Ok(Self { tty, before })
    }

    fn ask(&self, what: &str, file: &Path) -> Result<Zeroizing<String>> {
        let file = clean(&file.display().to_string()).into_owned();
        let read = || {
            let mut screen = &self.tty;
            write!(screen, "{what} {file}: ")?;
            let keys = Keys { tty: self.tty.try_clone()?, before: self.before.clone() };
            let config = ConfigBuilder::new().input_reader(keys).output_discard().build();
            let password = rpassword::read_password_with_config(config).map(Zeroizing::new);
            screen.write_all(b"\r\n")?;
            password
        };
        read().with_context(|| format!("failed to read the password of {file}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}

/// What is typed. Ctrl-C ends the program as everywhere, but not before the terminal is again
/// as it was.
struct Keys {
    tty: File,
    before: Termios,
}

impl Read for Keys {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const CTRL_C: u8 = 3;
        let length = self.tty.read(buffer)?;
        if buffer[..length].contains(&CTRL_C) {
            tcsetattr(&self.tty, OptionalActions::Now, &self.before)?;
            kill_process(getpid(), Signal::INT)?;
            // Only where the signal is ignored.
            return Err(io::Error::other("interrupted"));
        }
        Ok(length)
    }
}
