//! `bash deploy/packages/build rpm`

use std::path::Path;
use std::process::Command;

use super::scratch::{self, Scratch};
use super::{
    Packages, configure, is_configured, is_installed, is_removed, must, start_first, tool,
};
use crate::docs;

const ZSH: &str = "usr/share/zsh/site-functions/_kes";

fn rpm(program: &Path, root: &Scratch, arguments: &[&str]) -> String {
    // Its database here does not know what the machine has installed.
    let command = [program.to_str().unwrap(), "--root={root}"];
    root.must(&[&command, arguments].concat())
}

#[test]
fn an_rpm_is_installed_upgraded_and_removed() {
    scratch::needs("systemd-sysusers");
    let program = tool("rpm");
    let packages = Packages::build("rpm");
    let [first, second] = packages.files.each_ref().map(|file| file.to_str().unwrap());

    let asked = must(Command::new(&program).args(["-qp", "--requires", first])).stdout;
    let asked = String::from_utf8(asked).unwrap();
    let mut needed: Vec<&str> = asked.lines().filter(|line| !line.starts_with("rpmlib(")).collect();
    needed.dedup();
    assert_eq!(needed, ["/bin/sh", "glibc >= 2.28", "systemd"], "{asked}");

    // rpm of Red Hat 8 may not know zstd.
    assert!(!asked.contains("Zstd"), "{asked}");

    // The commands of the documentation are those that run here.
    let documented = docs::of_packages("Red Hat, Fedora, SUSE");
    let upgrade = format!("sudo rpm --upgrade kes-{}-1.x86_64.rpm", env!("CARGO_PKG_VERSION"));
    assert_eq!(documented, [&upgrade, "sudo rpm --erase kes"]);

    let root = Scratch::new();
    rpm(&program, &root, &["--upgrade", "--nodeps", first]);
    is_installed(&root, ZSH);
    assert!(root.has("usr/share/licenses/kes/LICENSE"));

    start_first(&root);
    configure(&root);
    rpm(&program, &root, &["--upgrade", "--nodeps", second]);
    let notes = root.take_notes();
    // Servers run until the new files are there, and none is started that did not run.
    assert!(!notes.contains("stop") && !notes.contains("disable"), "{notes}");
    assert!(notes.ends_with("systemctl try-restart kes.service kes@*.service\n"), "{notes}");
    is_configured(&root);
    rpm(&program, &root, &["--verify", "--nodeps", "kes"]);

    rpm(&program, &root, &["--erase", "kes"]);
    let notes = root.take_notes();
    assert!(
        notes.starts_with(
            "systemctl --no-reload disable --now kes.socket kes.service\n\
             systemctl stop kes@*.service\n"
        ),
        "{notes}"
    );
    is_removed(&root);
    is_configured(&root);
}

/// A step that fails does not keep the package from being installed or erased.
#[test]
fn no_step_of_the_scripts_has_to_succeed() {
    let folder = super::repository().join("deploy/packages/rpm");
    let nothing = tempfile::tempdir().unwrap();
    for script in ["post", "preun", "postun"] {
        let text = std::fs::read_to_string(folder.join(script)).unwrap();
        let text = text.replace("/usr/share/kes", nothing.path().to_str().unwrap());
        let mut shell = Command::new("/bin/sh");
        must(shell.args(["-euc", &text, script, "0"]).env("PATH", nothing.path()));
    }
}
