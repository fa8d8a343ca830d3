//! `kes --manual-pages`: a page for each command, made from the command tree.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::about::VERSION;
use crate::output::Output;
use crate::parse;

/// Writes the manual pages of all commands into a folder, which is made if it is missing.
pub(super) fn write(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("failed to make the folder {}", folder.display()))?;
    let mut files = Vec::new();
    for page in pages() {
        let file = folder.join(&page.file);
        fs::write(&file, &page.text)
            .with_context(|| format!("failed to write the manual page {}", file.display()))?;
        files.push(page.file);
    }
    let shown = folder.display();
    Output::new().print(&format!("{} manual pages written into {shown}\n", files.len()))
}

/// A manual page.
struct Page {
    /// Such as `kes-key-create.1`.
    file: String,
    text: Vec<u8>,
}

fn pages() -> Vec<Page> {
    let mut root = parse::command();
    // Gives each command its full name and `--help`.
    root.build();
    let mut found = Vec::new();
    collect(&root, &mut found);
    found
}

fn collect(command: &Command, found: &mut Vec<Page>) {
    let man = Man::new(command.clone()).source(format!("kes {VERSION}")).manual("KES key server");
    let mut text = Vec::new();
    #[expect(clippy::expect_used, reason = "a vector takes all that is written")]
    render(&man, command, &mut text).expect("a vector takes all that is written");
    found.push(Page { file: man.get_filename(), text });
    for sub in command.get_subcommands() {
        collect(sub, found);
    }
}

fn render(man: &Man, command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(text)?;
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::default();
    for (heading, lines) in sections(&after) {
        roff.control("SH", [heading]);
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(text)
}

/// What the help prints below the flags (`cli/args/help.rs`), as sections of a manual page. Lines stay as
/// they are.
fn sections(after: &str) -> Vec<(&'static str, Vec<&str>)> {
    let mut sections: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for part in after.split("\n\n").filter(|part| !part.is_empty()) {
        let mut lines = part.lines();
        let heading = match part.lines().next() {
            Some("Examples:") => Some("EXAMPLES"),
            Some("Environment:") => Some("ENVIRONMENT"),
            // The part goes on with the section before it.
            _ if !sections.is_empty() => None,
            _ => {
                sections.push(("NOTES", lines.by_ref().collect()));
                continue;
            }
        };
        match (heading, sections.last_mut()) {
            (Some(heading), _) => sections.push((heading, lines.skip(1).collect())),
            (None, Some((_, section))) => {
                section.push("");
                section.extend(lines);
            }
            (None, None) => {}
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> String {
        let page = pages().into_iter().find(|page| page.file == name).unwrap();
        String::from_utf8(page.text).unwrap()
    }

    #[test]
    fn a_missing_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("share/man1");
        write(&pages).unwrap();
        assert!(pages.join("kes-key-create.1").is_file());
    }

    #[test]
    fn every_command_has_a_page() {
        fn count(command: &Command) -> usize {
            1 + command.get_subcommands().map(count).sum::<usize>()
        }
        let pages = pages();
        assert_eq!(pages.len(), count(&parse::command()));
        for page in &pages {
            let text = str::from_utf8(&page.text).unwrap();
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
                assert!(text.contains(&format!("\n.SH {section}\n")), "{}: {text}", page.file);
            }
            assert!(text.contains(&format!("\"kes {VERSION}\"")), "{}: {text}", page.file);
            // What is only accepted for old scripts.
            assert!(!text.contains("enclave") && !text.contains("mlock"), "{}: {text}", page.file);
        }
    }

    #[test]
    fn a_page_has_the_usage_the_examples_and_the_variables() {
        let text = text("kes-key-create.1");
        for part in [
            r"\fBkes key create\fR [options] <name>...",
            ".SH EXAMPLES\n.nf\n  kes key create my\\-key\n",
            ".SH ENVIRONMENT\n.nf\n  KES_SERVER ",
            "MINIO_KES_CAPATH win over these",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let root = self::text("kes.1");
        assert!(root.contains(".SH SUBCOMMANDS\n") && root.contains("kes\\-key(1)"), "{root}");
        assert!(root.contains(".SH NOTES\n") && root.contains("compinit"), "{root}");
    }
}
