//! Units: what systemd would say of them, and what a service is started with.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use super::stand_ins;

/// The directives that our unit and the documentation use, each known to systemd 247 (Debian 11)
/// and newer. systemd ignores one that it does not know, with a line in the journal.
const KNOWN: [(&str, &[&str]); 4] = [
    (
        "Unit",
        &[
            "After",
            "AssertFileIsExecutable",
            "Description",
            "Documentation",
            "RequiresMountsFor",
            "Wants",
        ],
    ),
    (
        "Service",
        &[
            "AmbientCapabilities",
            "CapabilityBoundingSet",
            "Environment",
            "EnvironmentFile",
            "ExecReload",
            "ExecStart",
            "ExecStartPre",
            "Group",
            "LimitCORE",
            "LimitMEMLOCK",
            "LimitNOFILE",
            "LoadCredential",
            "LockPersonality",
            "LogsDirectory",
            "LogsDirectoryMode",
            "MemoryDenyWriteExecute",
            "NoNewPrivileges",
            "NotifyAccess",
            "PrivateDevices",
            "PrivateTmp",
            "ProtectClock",
            "ProtectControlGroups",
            "ProtectHome",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectProc",
            "ProtectSystem",
            "ReadWritePaths",
            "Restart",
            "RestartSec",
            "RestrictAddressFamilies",
            "RestrictNamespaces",
            "RestrictRealtime",
            "RestrictSUIDSGID",
            "RuntimeDirectory",
            "SendSIGKILL",
            "StateDirectory",
            "StateDirectoryMode",
            "SystemCallArchitectures",
            "SystemCallErrorNumber",
            "SystemCallFilter",
            "TasksMax",
            "TimeoutStopSec",
            "Type",
            "UMask",
            "User",
            "WatchdogSec",
            "WorkingDirectory",
        ],
    ),
    ("Socket", &["Backlog", "BindIPv6Only", "ListenStream"]),
    ("Install", &["WantedBy"]),
];

/// Types of service that systemd knew before version 253.
const TYPES: [&str; 7] = ["simple", "exec", "forking", "oneshot", "dbus", "notify", "idle"];

/// A unit with its drop-ins: section, directive and value in order.
#[derive(Debug, Default)]
pub(super) struct Unit {
    lines: Vec<(String, String, String)>,
}

impl Unit {
    /// Reads a unit and the drop-ins after it.
    pub(super) fn parse(texts: &[&str]) -> Result<Self, String> {
        let mut unit = Self::default();
        for text in texts {
            let mut section = None;
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_prefix('[') {
                    section = Some(name.trim_end_matches(']'));
                } else if !line.is_empty() && !line.starts_with(['#', ';']) {
                    let (name, value) =
                        line.split_once('=').ok_or_else(|| format!("no '=': {line}"))?;
                    let section = section.ok_or_else(|| format!("above every section: {line}"))?;
                    unit.add(section, name, value)?;
                }
            }
        }
        Ok(unit)
    }

    fn add(&mut self, section: &str, name: &str, value: &str) -> Result<(), String> {
        let known = KNOWN.iter().find(|(known, _)| *known == section);
        let (_, known) = known.ok_or_else(|| format!("unknown section [{section}]"))?;
        if !known.contains(&name) {
            return Err(format!("[{section}] {name} is not known to the tests: see KNOWN"));
        }
        // An older systemd ignores a type that it does not know, and keeps the one before.
        let is_fallback = |line: &(String, String, String)| line.1 == "Type" && line.2 == "notify";
        let falls_back = value == "notify-reload" && self.lines.last().is_some_and(is_fallback);
        if name == "Type" && !TYPES.contains(&value) && !falls_back {
            return Err(format!("Type={value} is not known before systemd 253"));
        }
        self.lines.push((section.to_owned(), name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The values of a directive of the service.
    pub(super) fn all(&self, wanted: &str) -> impl Iterator<Item = &str> {
        let lines = self.lines.iter().filter(move |(_, name, _)| name == wanted);
        lines.map(|(_, _, value)| &**value)
    }

    /// The value that counts: the last.
    pub(super) fn last(&self, wanted: &str) -> &str {
        self.all(wanted).last().unwrap_or_else(|| panic!("the unit has no {wanted}"))
    }
}

/// The unit that is shipped.
pub(super) fn shipped() -> String {
    text("kes.service")
}

/// A file of the folder of units.
fn text(name: &str) -> String {
    fs::read_to_string(root().join("systemd").join(name)).unwrap()
}

/// What systemd before 253 says of the type that it does not know.
const OLD_SYSTEMD: &str = "Failed to parse service type, ignoring: notify-reload";

#[test]
fn the_unit_of_several_servers_is_that_of_one_in_a_folder_of_its_own() {
    let expected = shipped()
        .replace("Description=KES key server", "Description=KES key server %i")
        .replace("/etc/kes", "/etc/kes/%i")
        .replace("RuntimeDirectory=kes", "RuntimeDirectory=kes/%i")
        .replace("LogsDirectory=kes", "LogsDirectory=kes/%i");
    assert_eq!(text("kes@.service"), expected);
    assert!(expected.contains("--config /etc/kes/%i/config.yml\n"), "{expected}");
}

/// systemd 253 reloads by the signal that the server answers; an older one runs the command.
#[test]
fn a_reload_works_with_every_systemd() {
    let unit = Unit::parse(&[&shipped()]).unwrap();
    assert_eq!(unit.all("Type").collect::<Vec<_>>(), ["notify", "notify-reload"]);
    assert_eq!(unit.all("ExecReload").count(), 0, "the signal would come twice");
    let old = Unit::parse(&[&shipped(), &text("before-253.conf")]).unwrap();
    assert_eq!((old.last("Type"), old.last("ExecReload")), ("notify", "/bin/kill -HUP $MAINPID"));
}

#[test]
fn the_port_of_the_socket_unit_is_the_default_one() {
    let unit = Unit::parse(&[&text("kes.socket")]).unwrap();
    let default = kes_config::Address::default();
    assert_eq!(unit.last("ListenStream"), default.port().to_string());
    assert_eq!(unit.last("BindIPv6Only"), "both", "as the server's own socket");
}

/// The folders are those of the unit and of the documentation, for the user of `kes.sysusers`.
#[test]
fn users_folders_and_variables_are_those_of_the_unit() {
    let unit = Unit::parse(&[&shipped()]).unwrap();
    let user = text("kes.sysusers");
    let fields: Vec<&str> = user.split_whitespace().collect();
    assert_eq!((fields[0], fields[1], unit.last("User")), ("u", "kes", "kes"), "{user}");
    let folders = text("kes.tmpfiles");
    let lines: Vec<Vec<&str>> = folders
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["d", unit.last("WorkingDirectory"), "0750", "root", "kes", "-"]);
    assert_eq!(lines[1], ["d", "/var/lib/kes", "0700", "kes", "kes", "-"]);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = text("environment.example");
    let variables = example.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for variable in variables {
        let (name, _) = variable.split_once('=').unwrap();
        assert!(
            readme.contains(&format!("${{{name}}}")),
            "{name} is in the README's configuration"
        );
    }
}

#[test]
fn the_unit_and_every_part_of_one_is_known_to_systemd() {
    for name in ["kes.service", "kes@.service", "kes.socket", "before-253.conf"] {
        Unit::parse(&[&text(name)]).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for block in Book::read().blocks_of(Runner::Unit) {
        Unit::parse(&[&block.text]).unwrap_or_else(|error| panic!("{}: {error}", block.place()));
    }
}

/// What systemd itself says of the unit with each part that a document adds to it. Where it is
/// not installed, the test above alone has looked at them.
#[test]
fn systemd_finds_nothing_wrong() {
    let Some(analyze) = stand_ins::find("systemd-analyze") else {
        Unit::parse(&[&shipped()]).unwrap();
        return;
    };
    let book = Book::read();
    let old = text("before-253.conf");
    let parts = book.blocks_of(Runner::Unit).into_iter().map(|block| &*block.text);
    for part in ["", &old].into_iter().chain(parts) {
        let mut session = Session::new();
        session.install_kes();
        let folder = session.system_file("/etc/systemd/system");
        let unit = session.in_scratch_root(&shipped());
        fs::write(folder.join("kes.service"), unit).unwrap();
        fs::create_dir(folder.join("kes.service.d")).unwrap();
        let part = session.in_scratch_root(part);
        fs::write(folder.join("kes.service.d/override.conf"), &part).unwrap();
        verify(&analyze, &folder.join("kes.service"), &part);
        for name in ["kes@.service", "kes.socket"] {
            fs::write(folder.join(name), session.in_scratch_root(&text(name))).unwrap();
        }
        verify(&analyze, &folder.join("kes@tenant.service"), &part);
        verify(&analyze, &folder.join("kes.socket"), &part);
    }
}

/// What systemd counts of what the service may do, from 0 to 10. What is left is the network, the lock
/// of memory, and what depends on the machine: its users, its addresses, another root.
#[test]
fn the_service_may_do_little_beside_its_work() {
    const MOST: &str = "15";
    let Some(analyze) = stand_ins::find("systemd-analyze") else {
        let unit = Unit::parse(&[&shipped()]).unwrap();
        assert_eq!(unit.last("CapabilityBoundingSet"), "CAP_IPC_LOCK");
        assert_eq!(unit.last("SystemCallFilter"), "~@privileged @resources");
        return;
    };
    for name in ["kes.service", "kes@.service"] {
        let output = Command::new(&analyze)
            .args(["security", "--offline=true", "--no-pager", "--threshold", MOST])
            .arg(root().join("systemd").join(name))
            .output()
            .expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stdout);
        // systemd before 250 cannot look at a file.
        let is_known = !String::from_utf8_lossy(&output.stderr).contains("unrecognized option");
        assert!(output.status.success() || !is_known, "{name}: {said}");
    }
}

/// systemd finds nothing wrong with a unit that stands in a scratch root.
pub(super) fn verify(analyze: &Path, unit: &Path, part: &str) {
    let output = Command::new(analyze)
        .args(["verify", "--man=no"])
        .arg(unit)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // It looks at all that the unit depends on, and may find fault with the machine's own units.
    let is_ours =
        |line: &&str| line.contains("kes.s") || line.contains("kes@") || line.contains("override");
    let ours: Vec<&str> =
        said.lines().filter(is_ours).filter(|line| !line.ends_with(OLD_SYSTEMD)).collect();
    assert_eq!(ours, [""; 0], "with: {part}");
}
