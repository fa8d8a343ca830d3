//! Passwords of private keys: asked for on the terminal, never echoed, wiped after use.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

/// Asks for the password of a private key that exists.
///
/// # Errors
/// Without a terminal there is nobody to ask.
pub(crate) fn of(file: &Path) -> Result<Zeroizing<String>> {
    ask(file, "Enter the password of")
}

/// Asks twice for the password of a private key to be written.
///
/// # Errors
/// Without a terminal, and when the password is empty or the second differs from the first.
pub(crate) fn new_for(file: &Path) -> Result<Zeroizing<String>> {
    let password = ask(file, "Enter a password for")?;
    if password.is_empty() {
        bail!("the password is empty");
    }
    if password != ask(file, "Enter it again for")? {
        bail!("the two passwords differ");
    }
    Ok(password)
}

fn ask(file: &Path, what: &str) -> Result<Zeroizing<String>> {
    let file = crate::output::clean(&file.display().to_string()).into_owned();
    // The terminal itself could be opened without these; a program that runs in the background
    // of somebody's session would then wait for a person who does not look at it.
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        bail!("the private key {file} needs a password, and there is no terminal to ask for it");
    }
    let password = rpassword::prompt_password(format!("{what} {file}: "))
        .with_context(|| format!("failed to read the password of {file}"))?;
    Ok(Zeroizing::new(password))
}
