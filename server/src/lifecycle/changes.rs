//! What a reload has changed, for the log and the status. However much it is, the text is bounded:
//! a list names a few and counts the rest.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use kes_api::Identity;
use kes_config::{Change, listed, shown};
use kes_policy::{PolicyChange, Role};
use zeroize::Zeroizing;

/// How many policies, and groups of identities, have a line of their own.
const MOST_LINES: usize = 10;

/// How many settings have a line of their own: more than anybody changes in one go, and fewer than a
/// file has APIs.
const MOST_SETTINGS: usize = 30;

/// How much is read to compare files of the key store. A bundle of all public CAs has 200 KiB.
const MOST_CONTENTS: u64 = 4 << 20;

/// The role of an identity before and now.
type Roles = (Option<Role>, Option<Role>);

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// One for each change.
    lines: Vec<String>,
    /// The kinds of changes, with their numbers.
    kinds: Vec<String>,
}

impl Changes {
    /// Those of a whole configuration. `certificates` are those of loaded files.
    pub(super) fn new(
        policies: &kes_policy::Changes,
        settings: &[Change],
        certificates: &[Change],
    ) -> Self {
        let mut changes = Self::default();
        changes.policies(policies);
        changes.identities(policies);
        changes.fields(settings, "settings");
        changes.fields(certificates, "certificates");
        changes
    }

    /// Those of the certificate files alone.
    pub(super) fn of_certificates(certificates: &[Change]) -> Self {
        let mut changes = Self::default();
        changes.fields(certificates, "certificates");
        changes
    }

    /// Writes a line for each change to the log.
    pub(super) fn log(&self) {
        for line in &self.lines {
            tracing::info!(detail = %format_args!("reload: {line}"));
        }
    }

    pub(super) const fn are_none(&self) -> bool {
        self.kinds.is_empty()
    }

    /// All changes in one line.
    pub(super) fn summary(&self) -> String {
        if self.are_none() { "nothing changed".to_owned() } else { self.kinds.join("; ") }
    }

    fn policies(&mut self, changes: &kes_policy::Changes) {
        let kes_policy::Changes { added, removed, changed, identities: _, limits: _ } = changes;
        for (names, what) in [(added, "added"), (removed, "removed")] {
            if !names.is_empty() {
                let policies = policies(names.len());
                self.lines.push(format!("{policies} {what}: {}", listed(names)));
                self.kinds.push(format!("{policies} {what}"));
            }
        }
        if changed.is_empty() {
            return;
        }
        let (first, rest) = changed.split_at(changed.len().min(MOST_LINES));
        for change in first {
            let name = shown(&change.name);
            self.lines.push(format!("policy {name} changed: {}", differences(change)));
        }
        if !rest.is_empty() {
            let names = listed(rest.iter().map(|change| &change.name));
            self.lines.push(format!("{} more policies changed: {names}", rest.len()));
        }
        self.kinds.push(format!("{} changed", policies(changed.len())));
    }

    fn identities(&mut self, changes: &kes_policy::Changes) {
        let kes_policy::Changes { identities: all, limits, .. } = changes;
        for what in ["added", "removed", "moved"] {
            let groups: Vec<_> = all.iter().filter(|(roles, _)| kind_of(roles) == what).collect();
            if groups.is_empty() {
                continue;
            }
            let (first, rest) = groups.split_at(groups.len().min(MOST_LINES));
            for (roles, group) in first {
                let way = match roles {
                    (None, to) => format!("to {}", role(to.as_ref())),
                    (from, None) => format!("from {}", role(from.as_ref())),
                    (from, to) => {
                        format!("from {} to {}", role(from.as_ref()), role(to.as_ref()))
                    }
                };
                let count = identities(group.len());
                self.lines.push(format!("{count} {what} {way}: {}", listed(*group)));
            }
            let number = |groups: &[(&Roles, &Vec<Identity>)]| {
                groups.iter().map(|(_, group)| group.len()).sum::<usize>()
            };
            if !rest.is_empty() {
                self.lines.push(format!("{} more identities {what}", number(rest)));
            }
            self.kinds.push(format!("{} {what}", identities(number(&groups))));
        }
        if !limits.is_empty() {
            let kind = format!("other limits for {}", identities(limits.len()));
            self.lines.push(format!("{kind}: {}", listed(limits)));
            self.kinds.push(kind);
        }
    }

    fn fields(&mut self, changes: &[Change], kind: &str) {
        if changes.is_empty() {
            return;
        }
        let (first, rest) = changes.split_at(changes.len().min(MOST_SETTINGS));
        let lines = first.iter().map(|Change { field, text }| format!("{field} {text}"));
        self.lines.extend(lines);
        let fields = |changes: &[Change]| {
            listed(changes.iter().map(|change| change.field.clone()).collect::<Vec<_>>())
        };
        if !rest.is_empty() {
            self.lines.push(format!("{} more {kind} changed: {}", rest.len(), fields(rest)));
        }
        self.kinds.push(format!("{kind} changed: {}", fields(changes)));
    }
}

fn policies(count: usize) -> String {
    format!("{count} {}", if count == 1 { "policy" } else { "policies" })
}

fn identities(count: usize) -> String {
    format!("{count} {}", if count == 1 { "identity" } else { "identities" })
}

/// What became of identities that had the first role and have the second.
const fn kind_of(roles: &Roles) -> &'static str {
    match roles {
        (None, _) => "added",
        (_, None) => "removed",
        _ => "moved",
    }
}

fn role(role: Option<&Role>) -> String {
    match role {
        Some(Role::Policy(name)) => format!("policy {}", shown(name)),
        Some(Role::Admin) => "the admin".to_owned(),
        None => "none".to_owned(),
    }
}

fn differences(change: &PolicyChange) -> String {
    let mut parts = Vec::new();
    for (patterns, list) in [(&change.allow, "allow"), (&change.deny, "deny")] {
        for (names, what) in [(&patterns.added, "added"), (&patterns.removed, "removed")] {
            if !names.is_empty() {
                parts.push(format!("{list} {} {what} ({})", names.len(), listed(names)));
            }
        }
    }
    if change.limits {
        parts.push("limits".to_owned());
    }
    parts.join(", ")
}

/// The contents of a file, or of those in a folder; `None` if one cannot be read. A part that is
/// longer than any certificate file is left out.
pub(super) fn contents(path: &Path) -> Option<Vec<Zeroizing<Vec<u8>>>> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.sort();
    let mut left = MOST_CONTENTS;
    let mut read = |file: PathBuf| {
        let file = kes_tls::open_file(&file).ok()?;
        // Allocated at full size: a vector that grows leaves an unwiped copy behind.
        let length = file.metadata().ok()?.len().min(left);
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).ok()?));
        file.take(length).read_to_end(&mut bytes).ok()?;
        left -= length;
        Some(bytes)
    };
    let is_folder = files.first().is_none_or(|file| file != path);
    // A folder may hold other things than certificates.
    files
        .into_iter()
        .map(|file| read(file).or_else(|| is_folder.then(Zeroizing::default)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn change(field: &str) -> Change {
        Change { field: field.to_owned().into(), text: "changed".to_owned() }
    }

    #[test]
    fn nothing_is_told_as_nothing() {
        let changes = Changes::new(&kes_policy::Changes::default(), &[], &[]);
        assert!(changes.are_none() && changes.lines.is_empty());
        assert_eq!(changes.summary(), "nothing changed");
    }

    #[test]
    fn ten_thousand_changes_of_each_kind_are_told_in_few_lines() {
        let text = |number: usize| format!("{}{number}", "n\n".repeat(100));
        let names = || (0..10_000).map(|number| text(number).into()).collect::<Vec<_>>();
        let who = |number: usize| Identity::of_public_key(&number.to_be_bytes());
        let role = |number| Some(Role::Policy(text(number).into()));
        let patterns = || kes_policy::PatternChange { added: names(), removed: names() };
        let changed =
            |name| PolicyChange { name, allow: patterns(), deny: patterns(), limits: true };
        let policies = kes_policy::Changes {
            added: names(),
            removed: names(),
            changed: names().into_iter().take(50).map(changed).collect(),
            identities: (0..30_000)
                .map(|number| match number % 3 {
                    0 => ((None, role(number)), vec![who(number)]),
                    1 => ((role(number), None), vec![who(number)]),
                    _ => ((role(number), role(0)), vec![who(number)]),
                })
                .collect(),
            limits: (0..10_000).map(who).collect(),
        };
        let settings: Vec<_> = (0..10_000).map(|number| change(&text(number))).collect();
        let changes = Changes::new(&policies, &settings[..100], &[change("tls.cert")]);
        let count = changes.lines.len();
        assert!(count < 100, "{count} lines");
        let longest = changes.lines.iter().map(String::len).max().unwrap();
        assert!(longest < 16_000, "{longest} bytes");
        assert!(changes.summary().len() < 3_000, "{}", changes.summary());
        for told in [
            "10000 policies added",
            "10000 policies removed",
            "50 policies changed",
            "10000 identities added",
            "10000 identities removed",
            "10000 identities moved",
            "other limits for 10000 identities",
            "certificates changed: tls.cert",
        ] {
            assert!(changes.kinds.iter().any(|kind| kind == told), "{told}");
        }
    }

    #[test]
    fn the_contents_of_files_and_folders_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        assert_eq!(contents(&path("none")), None);
        fs::write(path("a"), "1").unwrap();
        fs::create_dir(path("b")).unwrap();
        let of = |path: &Path| {
            contents(path).unwrap().iter().map(|part| part.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(of(&path("a")), [b"1"]);
        assert_eq!(of(folder.path()), [&b"1"[..], b""]);
        fs::write(path("a"), vec![0; 5 << 20]).unwrap();
        assert_eq!(of(&path("a"))[0].len(), 4 << 20);
    }
}
