//! Passwords of private keys, and other secrets that a person types: read from the terminal without echo, and wiped after use.

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
/// If there is no terminal.
pub(crate) fn of(file: &Path) -> Result<Zeroizing<String>> {
    Terminal::open(file)?.ask_for("Enter the password of", file)
}

/// Asks twice for the password of a private key to be written.
///
/// # Errors
/// If there is no terminal, if the password is empty, and if the second one differs.
pub(crate) fn new_for(file: &Path) -> Result<Zeroizing<String>> {
    let terminal = Terminal::open(file)?;
    let password = terminal.ask_for("Enter a password for", file)?;
    if password.is_empty() {
        bail!("the password is empty");
    }
    if password != terminal.ask_for("Enter it again for", file)? {
        bail!("the two passwords differ");
    }
    Ok(password)
}

/// Asks for the passphrase of a backup: twice for a new one.
///
/// # Errors
/// If there is no terminal, if the passphrase is empty, and if the second one differs.
pub(crate) fn passphrase(file: &Path, is_new: bool) -> Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        bail!(
            "there is no terminal to ask for the passphrase of {}: --passphrase-file names a file that has \
             it, or '-' for standard input",
            file.display()
        );
    }
    let terminal = Terminal::quiet().context("failed to open the terminal")?;
    let passphrase = match is_new {
        true => terminal.ask_for("Enter a passphrase for", file)?,
        false => terminal.ask_for("Enter the passphrase of", file)?,
    };
    if passphrase.is_empty() {
        bail!("the passphrase is empty");
    }
    if is_new && passphrase != terminal.ask_for("Enter it again for", file)? {
        bail!("the two passphrases differ");
    }
    Ok(passphrase)
}

/// Asks for a value, such as `key in base64`, that the terminal does not show.
///
/// # Errors
/// If there is no terminal.
pub(crate) fn hidden(what: &str) -> Result<Zeroizing<Vec<u8>>> {
    let terminal = Terminal::quiet().context("failed to open the terminal")?;
    let text = terminal.ask(&format!("Enter the {what}"));
    let text = text.with_context(|| format!("failed to read the {what}"))?;
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// The terminal with echo turned off until this is dropped. Echo is off before the first prompt, so
/// that input which is pasted or typed ahead is not shown either.
struct Terminal {
    tty: File,
    before: Termios,
}

impl Terminal {
    fn open(file: &Path) -> Result<Self> {
        // The terminal could be opened without these, but then a program in the background of a
        // session would wait for a person who does not look at it.
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
        // Keys arrive one by one, Ctrl-C as one of them: see `Keys`.
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&tty, OptionalActions::Now, &quiet)?;
        Ok(Self { tty, before })
    }

    /// Asks for the password of a file.
    fn ask_for(&self, what: &str, file: &Path) -> Result<Zeroizing<String>> {
        let file = clean(&file.display().to_string()).into_owned();
        self.ask(&format!("{what} {file}"))
            .with_context(|| format!("failed to read the password of {file}"))
    }

    fn ask(&self, prompt: &str) -> io::Result<Zeroizing<String>> {
        let mut screen = &self.tty;
        write!(screen, "{prompt}: ")?;
        let keys = Keys { tty: self.tty.try_clone()?, before: self.before.clone() };
        let config = ConfigBuilder::new().input_reader(keys).output_discard().build();
        let password = rpassword::read_password_with_config(config).map(Zeroizing::new);
        screen.write_all(b"\r\n")?;
        password
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone need not be restored.
        let _ = tcsetattr(&self.tty, OptionalActions::Now, &self.before);
    }
}

/// Reads what is typed. Ctrl-C ends the program as usual, but only after the terminal is restored.
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
            // Reached only if the signal is ignored.
            return Err(io::Error::other("interrupted"));
        }
        Ok(length)
    }
}
