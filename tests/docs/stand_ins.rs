//! The programs that a reader's shell finds, and nothing beside them.
//!
//! | program | what runs |
//! | --- | --- |
//! | `kes` | the program under test, once it was installed |
//! | `vault`, `bao` | the real OpenBao |
//! | those of [`TOOLS`] | the system's own |
//! | `cargo run -- …` | `kes …` |
//! | `cargo build --release` | nothing is built: `target/release/kes` is the program under test |
//! | `cargo test` | nothing: the tests run already; that the arguments exist is checked |
//! | `sudo` | the command itself, as the user of the test, with paths in a scratch root |
//! | `install`, `chown` | the system's own, without the owner, which is noted |
//! | `groupadd`, `useradd`, `systemd-sysusers`, `systemctl enable` | the system's own in a scratch root, and noted |
//! | `systemctl`, `journalctl` | noted: what they ask is a systemd that runs as the first process |
//! | `systemd-tmpfiles` | noted: only root can give folders away |
//! | `systemd-run` | the command itself, with the environment that the unit would have |

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::book::root;

/// Tools of the system that the documentation may use.
const TOOLS: [&str; 14] = [
    "awk", "cat", "chmod", "cp", "curl", "env", "grep", "ln", "mkdir", "mv", "openssl", "rm", "sh",
    "tee",
];

const CARGO: &str = r#"case "$*" in
"run -- "*) shift 2; exec "$KES" "$@" ;;
"build --release") set -e; mkdir -p target/release; ln -sf "$KES" target/release/kes ;;
"test") echo "cargo test" >>"$NOTES" ;;
*) echo "cargo: no stand-in for '$*'" >&2; exit 64 ;;
esac
"#;

/// `sudo` and `sudo -u <user>`.
const SUDO: &str = r#"user=root
if [ "$1" = -u ]; then user=$2; shift 2; fi
case "$1" in -*) echo "sudo: no stand-in for $1" >&2; exit 64 ;; esac
echo "sudo as $user: $*" >>"$NOTES"
exec "$@"
"#;

/// Notes `owner <user>:<group> <path>` for each path that it makes.
const INSTALL: &str = r#"owner=root group=root folders= all="$*"
for argument do
    shift
    case "$before$argument" in
    -o?*) owner=$argument; before= ;;
    -g?*) group=$argument; before= ;;
    -o|-g) before=$argument ;;
    *) [ "$argument" = -d ] && folders=yes
       set -- "$@" "$argument"; before= ;;
    esac
done
REAL "$@"
target=; mode=
for argument do
    case "$mode$argument" in
    -m) mode=-m ;;
    -m*) mode= ;;
    -*) ;;
    *) [ -z "$folders" ] || echo "owner $owner:$group $argument" >>"$NOTES"
       target=$argument; sources="$sources $argument" ;;
    esac
done
[ -z "$folders" ] || exit 0
if [ -d "$target" ]; then
    for source in $sources; do
        [ "$source" = "$target" ] || echo "owner $owner:$group ${target%/}/${source##*/}" >>"$NOTES"
    done
else
    echo "owner $owner:$group $target" >>"$NOTES"
fi
"#;

/// Notes `owner <user>:<group> <path>`; with `-R`, of all that is there.
const CHOWN: &str = r#"deep=
if [ "$1" = -R ]; then deep=yes; shift; fi
owner=$1; shift
for path do
    [ -e "$path" ] || { echo "chown: $path: not there" >&2; exit 1; }
    if [ -n "$deep" ]; then FIND "$path"; else echo "$path"; fi
done | while read -r path; do echo "owner $owner $path" >>"$NOTES"; done
"#;

/// Runs the command with what `--property=` and `--setenv=` say, as far as it matters here.
const SYSTEMD_RUN: &str = r#"echo "systemd-run $*" >>"$NOTES"
# The reader's own variables are not the service's.
for variable in APPROLE_ID APPROLE_SECRET CREDENTIALS_DIRECTORY MINIO_IDENTITY; do unset $variable; done
while :; do
    case "$1" in
    --pipe|--wait|--collect) ;;
    --unit=*) unit=${1#*=}.service ;;
    --uid=*|--gid=*) ;;
    --working-directory=*) cd "${1#*=}" || exit ;;
    --property=WorkingDirectory=*) cd "${1#*=*=}" || exit ;;
    --property=User=*|--property=Group=*|--property=AmbientCapabilities=*) ;;
    --property=EnvironmentFile=*) set -a; . "${1#*=*=}" || exit; set +a ;;
    --property=LoadCredential=*)
        credential=${1#*=*=}; folder=$SCRATCH/root/run/credentials/$unit; mkdir -p "$folder"
        cp "${credential#*:}" "$folder/${credential%%:*}" || exit
        export CREDENTIALS_DIRECTORY="$folder" ;;
    --setenv=*) export "${1#*=}" ;;
    -*) echo "systemd-run: no stand-in for $1" >&2; exit 64 ;;
    *) break ;;
    esac
    shift
done
exec "$@"
"#;

/// Programs that leave a note and then work on the scratch root, where the system has them. Where it
/// has not, the note is all.
const NOTED: [(&str, &str); 6] = [
    ("groupadd", r#"exec REAL -P "$SCRATCH/root" "$@""#),
    ("journalctl", ""),
    (
        "systemctl",
        r#"[ "$1" = enable ] || exit 0
shift
[ "$1" != --now ] || shift
exec REAL --root="$SCRATCH/root" --quiet enable "$@""#,
    ),
    ("systemd-sysusers", r#"exec REAL --root="$SCRATCH/root" "$@""#),
    ("systemd-tmpfiles", ""),
    ("useradd", r#"exec REAL -P "$SCRATCH/root" "$@""#),
];

/// Puts all programs but `vault` into a folder.
pub(super) fn install(bin: &Path) {
    fs::create_dir(bin).unwrap();
    for tool in TOOLS {
        symlink(system(tool), bin.join(tool)).unwrap();
    }
    script(bin, "cargo", CARGO);
    script(bin, "sudo", SUDO);
    script(bin, "install", &INSTALL.replace("REAL", system("install").to_str().unwrap()));
    script(bin, "chown", &CHOWN.replace("FIND", system("find").to_str().unwrap()));
    script(bin, "systemd-run", SYSTEMD_RUN);
    for (name, goes_on) in NOTED {
        let goes_on = match find(name) {
            Some(real) => goes_on.replace("REAL", real.to_str().unwrap()),
            None => String::new(),
        };
        script(bin, name, &format!("echo \"{name} $*\" >>\"$NOTES\"\n{goes_on}\n"));
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\ndefault-run = \"kes\"\n"), "`cargo run` runs kes");
}

/// A program that is a script of the shell.
pub(super) fn script(bin: &Path, name: &str, text: &str) {
    let written = bin.join(format!("{name}.new"));
    fs::write(&written, format!("#!/bin/sh\n{text}")).unwrap();
    kes_testkit::install(&written, &bin.join(name));
    fs::remove_file(written).unwrap();
}

/// Where the system has a program.
pub(super) fn system(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("the documentation's tests need {name}"))
}

/// The same, if it has it.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The tools that add users are not on everybody's path.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
