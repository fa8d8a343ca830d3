//! A root to install packages in. It has the machine's programs in `/bin`, `/sbin` and `/lib`, and a `/usr`,
//! `/etc` and `/var` of its own. Nobody needs to be root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts the machine's programs, which cannot be changed there, and runs a command.
const WITHIN: &str = r#"
show() { mkdir -p "$root$2" && mount --rbind "$1" "$root$2"; }
for pair in /usr/bin:/bin /usr/sbin:/sbin /usr/lib:/lib /lib64:/lib64; do
    if [ -d "${pair%:*}" ]; then
        show "${pair%:*}" "${pair#*:}"
        mount -o remount,bind,ro "$root${pair#*:}"
    fi
done
# Programs look for some of their libraries there.
for folder in /usr/lib/*-linux-gnu; do
    show "$folder" "$folder"
    mount -o remount,bind,ro "$root$folder"
done
show /dev /dev
show /proc /proc
# rpm has a path of its own for the scripts of packages.
for name in systemctl deb-systemd-invoke; do
    if [ -e "$root/bin/$name" ]; then mount --bind "$root/stand-ins/$name" "$root/bin/$name"; fi
done
exec "$@"
"#;

/// Programs that cannot do their work in such a root. Each notes how it was called.
const STAND_INS: [&str; 2] = ["systemctl", "deb-systemd-invoke"];

/// Debian 12 has this version; it needs `before-253.conf`.
const STAND_IN: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo 'systemd 252 (252.39-1)'; exit; fi
echo \"${0##*/} $*\" >>/notes
";

const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";

/// Leaves the owner as it is.
const OWNED: &str = r#"#!/bin/sh
case "${0##*/} $1 $2 $3 $4" in
"install -o root -g "*) shift 4; exec /bin/install "$@" ;;
esac
"#;

/// What the mounts need, and what is looked at on its own.
const NOT_LISTED: [&str; 7] = ["bin", "dev", "lib", "lib64", "proc", "sbin", "stand-ins"];

/// A root for one test.
pub(super) struct Scratch {
    folder: tempfile::TempDir,
    unshare: &'static [&'static str],
}

impl Scratch {
    /// A root of a system with systemd that runs.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let unshare: &[&str] = match can_mount() {
            true => &["--mount"],
            false => &["--user", "--map-root-user", "--mount"],
        };
        let scratch = Self { folder, unshare };
        for name in ["etc", "run/systemd/system", "stand-ins", "tmp", "usr/bin", "var/tmp"] {
            fs::create_dir_all(scratch.path(name)).unwrap();
        }
        let is_root = unshare.len() == 1;
        // Without root no file can have another owner than ours.
        let owned: &[&str] = if is_root { &[] } else { &["chgrp", "install"] };
        let programs = STAND_INS.iter().map(|name| (*name, STAND_IN)).chain([("sudo", SUDO)]);
        for (name, text) in programs.chain(owned.iter().map(|name| (*name, OWNED))) {
            let file = scratch.path("stand-ins").join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        scratch.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        scratch.write("etc/group", "root:x:0:\n");
        scratch
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command with the mounts, and gives what it says. `{root}` is the path of the root.
    pub(super) fn must(&self, command: &[&str]) -> String {
        let root = self.folder.path().to_str().unwrap();
        let words = command.iter().map(|word| word.replace("{root}", root));
        let output = Command::new("unshare")
            .args(self.unshare)
            .args(["sh", "-euc", WITHIN, "sh"])
            .args(words)
            .env("root", root)
            .env("PATH", "/stand-ins:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
        said
    }

    /// Runs lines of a shell in the root, as root.
    pub(super) fn in_it(&self, lines: &str) -> String {
        self.must(&["chroot", "{root}", "/bin/sh", "-euc", lines])
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).symlink_metadata().is_ok()
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// How the stand-ins were called since they were asked last.
    pub(super) fn take_notes(&self) -> String {
        let notes = fs::read_to_string(self.path("notes")).unwrap_or_default();
        self.write("notes", "");
        notes
    }

    /// A folder has a mode and an owner. Without root no file can have another owner than ours.
    pub(super) fn is_folder(&self, name: &str, mode: u32, owner: &str) {
        let found = fs::metadata(self.path(name));
        let found = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.is_dir(), "{name} is no folder");
        self.is(name, mode, owner);
    }

    /// The same of a file.
    pub(super) fn is_file(&self, name: &str, mode: u32, owner: &str) {
        assert!(self.path(name).is_file(), "{name} is no file: {:#?}", self.files());
        self.is(name, mode, owner);
    }

    fn is(&self, name: &str, mode: u32, owner: &str) {
        let found = fs::metadata(self.path(name)).unwrap();
        assert_eq!(found.mode() & 0o7777, mode, "{name}: {:o}", found.mode());
        if self.unshare.len() == 1 {
            let (user, group) = owner.split_once(':').unwrap();
            let ids = (self.id("etc/passwd", user), self.id("etc/group", group));
            assert_eq!((found.uid(), found.gid()), ids, "{name}: {owner}");
        }
    }

    fn id(&self, file: &str, name: &str) -> u32 {
        let text = self.read(file);
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        line.unwrap_or_else(|| panic!("{text}")).split(':').nth(2).unwrap().parse().unwrap()
    }

    /// The paths of what is no folder. What a package manager keeps is left out.
    pub(super) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap();
                if NOT_LISTED.contains(&name) || ["var/lib/dpkg", "var/lib/rpm"].contains(&name) {
                    continue;
                }
                match path.is_dir() && !path.is_symlink() {
                    true => folders.push(path),
                    false => drop(found.insert(name.to_owned())),
                }
            }
        }
        found
    }
}

/// Whether this user may mount without a user namespace: root in most places.
fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--mount", "true"]).output().is_ok_and(|output| output.status.success())
}

/// A program of the machine that packages need while they are installed.
pub(super) fn needs(program: &str) {
    let is_there =
        ["/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists());
    assert!(is_there, "{program} is needed for this test: install systemd");
}
