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
const KNOWN: [(&str, &[&str]); 3] = [
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
            "SystemCallArchitectures",
            "SystemCallErrorNumber",
            "SystemCallFilter",
            "TasksMax",
            "TimeoutStopSec",
            "Type",
            "UMask",
            "User",
            "WorkingDirectory",
        ],
    ),
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
        if name == "Type" && !TYPES.contains(&value) {
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
    fs::read_to_string(root().join("systemd/kes.service")).unwrap()
}

#[test]
fn the_unit_and_every_part_of_one_is_known_to_systemd() {
    Unit::parse(&[&shipped()]).unwrap();
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
    let parts = book.blocks_of(Runner::Unit).into_iter().map(|block| &*block.text);
    for part in std::iter::once("").chain(parts) {
        let mut session = Session::new();
        session.install_kes();
        let folder = session.system_file("/etc/systemd/system");
        let unit = session.in_scratch_root(&shipped());
        fs::write(folder.join("kes.service"), unit).unwrap();
        fs::create_dir(folder.join("kes.service.d")).unwrap();
        let part = session.in_scratch_root(part);
        fs::write(folder.join("kes.service.d/override.conf"), &part).unwrap();
        verify(&analyze, &folder.join("kes.service"), &part);
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
    let output = Command::new(&analyze)
        .args(["security", "--offline=true", "--no-pager", "--threshold", MOST])
        .arg(root().join("systemd/kes.service"))
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stdout);
    // systemd before 250 cannot look at a file.
    let is_known = !String::from_utf8_lossy(&output.stderr).contains("unrecognized option");
    assert!(output.status.success() || !is_known, "{said}");
}

fn verify(analyze: &Path, unit: &Path, part: &str) {
    let output = Command::new(analyze)
        .args(["verify", "--man=no"])
        .arg(unit)
        .output()
        .expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // It looks at all that the unit depends on, and may find fault with the machine's own units.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("kes.service")).collect();
    assert_eq!(ours, [""; 0], "with: {part}");
}
