//! `kes --version` and `kes --auto-completion`.

use std::path::Path;

use anyhow::{Result, bail};
use clap_complete::Shell;

use crate::output::{self, Output};
use crate::parse;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, or `unknown`.
pub(crate) const COMMIT: &str = env!("KES_BUILD_COMMIT");

/// Prints version, commit, compiler and platform.
pub(super) fn version() -> Result<()> {
    Output::new()
        .print(&format!("Version    {VERSION:22}commit={COMMIT}\nRuntime    {}\n", runtime()))
}

/// Compiler, operating system and architecture, the latter in Go's words.
pub(super) fn runtime() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fips = if cfg!(feature = "fips") { " fips" } else { "" };
    format!("rust {} {}/{arch}{fips}", env!("KES_BUILD_RUSTC"), std::env::consts::OS)
}

/// Prints a completion script for the shell in `$SHELL`.
pub(super) fn completion() -> Result<()> {
    let shell = std::env::var("SHELL").unwrap_or_default();
    let Some(shell) = shell_of(&shell) else {
        bail!(
            "no completion for the shell {shell:?}: set SHELL to bash, zsh or fish, as in \
             'SHELL=bash kes --auto-completion'"
        );
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parse::command(), "kes", &mut script);
    let mut output = Output::new();
    output.print(&String::from_utf8(script)?)?;
    if output.is_terminal() {
        // Whoever typed this wants completion, not a script to read.
        output::note(&format!("{} loads it, in {}", loading(shell).0, loading(shell).1));
    }
    Ok(())
}

/// The line that loads the script, and the file to put it in.
fn loading(shell: Shell) -> (&'static str, &'static str) {
    match shell {
        Shell::Zsh => ("'source <(kes --auto-completion)'", "~/.zshrc after compinit"),
        Shell::Fish => ("'kes --auto-completion | source'", "~/.config/fish/config.fish"),
        _ => ("'source <(kes --auto-completion)'", "~/.bashrc"),
    }
}

fn shell_of(path: &str) -> Option<Shell> {
    match Path::new(path).file_name()?.to_str()? {
        "bash" => Some(Shell::Bash),
        "zsh" => Some(Shell::Zsh),
        "fish" => Some(Shell::Fish),
        _ => None,
    }
}
