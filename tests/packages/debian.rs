//! `bash deploy/packages/build deb`

use std::fs;
use std::path::Path;
use std::process::Command;

use super::scratch::{self, Scratch};
use super::{
    Packages, configure, is_configured, is_installed, is_removed, must, start_first, tool,
};
use crate::docs;

const ZSH: &str = "usr/share/zsh/vendor-completions/_kes";

/// The packages that ours depends on, in the oldest versions that do.
const INSTALLED: [(&str, &str); 2] = [("libc6", "2.28-10"), ("systemd", "241-7")];

fn root() -> Scratch {
    scratch::needs("systemd-sysusers");
    let root = Scratch::new();
    for folder in ["info", "updates"] {
        fs::create_dir_all(root.path("var/lib/dpkg").join(folder)).unwrap();
    }
    let status = INSTALLED.map(|(name, version)| {
        let architecture = must(Command::new("dpkg").arg("--print-architecture")).stdout;
        let architecture = String::from_utf8(architecture).unwrap();
        format!(
            "Package: {name}\nStatus: install ok installed\nVersion: {version}\n\
             Maintainer: nobody\nDescription: none\nArchitecture: {architecture}\n"
        )
    });
    root.write("var/lib/dpkg/status", &status.concat());
    root
}

fn dpkg(root: &Scratch, arguments: &[&str]) -> String {
    let force = ["dpkg", "--root={root}", "--force-not-root", "--no-debsig"];
    root.must(&[&force, arguments].concat())
}

#[test]
fn a_debian_package_is_installed_upgraded_removed_and_purged() {
    let packages = Packages::build("deb");
    sums_and_bill_fit(&packages);
    lintian_finds_no_error(&packages.files[0]);
    // The same again has the same bytes.
    let before = fs::read(&packages.files[0]).unwrap();
    packages.build_again("1");
    assert!(before == fs::read(&packages.files[0]).unwrap(), "two builds differ");

    let [first, second] = packages.files.each_ref().map(|file| file.to_str().unwrap());
    // The commands of the documentation are those that run here.
    let documented = docs::of_packages("Debian, Ubuntu");
    let install = format!("sudo dpkg --install kes_{}-1_amd64.deb", env!("CARGO_PKG_VERSION"));
    assert_eq!(documented, [&install, "sudo dpkg --remove kes", "sudo dpkg --purge kes"]);

    let root = root();
    dpkg(&root, &["--install", first]);
    is_installed(&root, ZSH);
    assert!(root.has("usr/share/doc/kes/copyright") && root.has("usr/share/doc/kes/changelog.gz"));

    start_first(&root);
    configure(&root);
    dpkg(&root, &["--install", second]);
    let notes = root.take_notes();
    // Servers run until the new files are there, and none is started that did not run.
    assert_eq!(
        notes,
        "systemctl --system daemon-reload\n\
         systemctl --system daemon-reload\n\
         deb-systemd-invoke try-restart kes.service kes@*.service\n"
    );
    is_configured(&root);

    dpkg(&root, &["--remove", "kes"]);
    let notes = root.take_notes();
    assert!(
        notes.starts_with("deb-systemd-invoke stop kes.socket kes.service kes@*.service\n"),
        "{notes}"
    );
    is_removed(&root);
    is_configured(&root);

    // It comes back as it was, and a purge loses no key.
    dpkg(&root, &["--install", second]);
    is_configured(&root);
    root.write("etc/systemd/system/multi-user.target.wants/kes.service", "");
    root.write("etc/systemd/system/sockets.target.wants/kes.socket", "");
    let said = dpkg(&root, &["--purge", "kes"]);
    is_removed(&root);
    assert!(!root.has("etc/kes"), "{:#?}", root.files());
    assert_eq!(root.read("var/lib/kes/my-key"), "a key");
    assert!(said.contains("/var/lib/kes is kept"), "{said}");

    // The unit works in /etc/kes, so `path: keys` is a folder of keys there.
    dpkg(&root, &["--install", second]);
    configure(&root);
    for name in ["etc/kes/a/my keys/.kes-folder", "etc/kes/a/my keys/.sub/key", "etc/kes/a/b/.c/d"]
    {
        root.write(name, "a key");
    }
    let said = dpkg(&root, &["--purge", "kes"]);
    assert!(said.contains("kes: /etc/kes/a/my keys is kept"), "{said}");
    let kept: Vec<_> =
        root.files().into_iter().filter(|file| file.starts_with("etc/kes")).collect();
    assert_eq!(kept, ["etc/kes/a/my keys/.kes-folder", "etc/kes/a/my keys/.sub/key"]);
    fs::remove_dir_all(root.path("etc/kes")).unwrap();

    // Without keys nothing is left but the user.
    dpkg(&root, &["--install", second]);
    fs::remove_file(root.path("var/lib/kes/my-key")).unwrap();
    let said = dpkg(&root, &["--purge", "kes"]);
    assert!(!root.has("var/lib/kes") && !root.has("etc/kes"), "{said}");
    assert!(root.read("etc/passwd").contains("kes:x:"));
}

fn lintian_finds_no_error(package: &Path) {
    let mut command = Command::new(tool("lintian"));
    command.args(["--no-cfg", "--fail-on", "error"]).arg(package);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("E:")).collect();
    assert_eq!(errors, [""; 0], "{said}");
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
}

/// The checksums are those of all files, and one of them is a bill of materials.
fn sums_and_bill_fit(packages: &Packages) {
    let folder = packages.built();
    let version = env!("CARGO_PKG_VERSION");
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let names = packages.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap());
    let bill = format!("kes-{version}.cdx.json");
    let program = format!("kes-{version}-{}", std::env::consts::ARCH);
    for name in names.chain([&*bill, &*program]) {
        assert!(sums.contains(&format!("  {name}\n")), "{name}: {sums}");
    }
    let mut check = Command::new("sha256sum");
    must(check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder));
    let bill: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join(bill)).unwrap()).unwrap();
    assert_eq!(bill["bomFormat"], "CycloneDX");
}
