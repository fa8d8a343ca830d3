use super::*;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

/// A folder of this user alone, with a file in it.
struct World {
    folder: tempfile::TempDir,
    is_root: bool,
    own: (u32, u32),
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let found = fs::metadata(folder.path()).unwrap();
        let own = (found.uid(), found.gid());
        let world = Self { folder, is_root: own.0 == 0, own };
        world.file("secret", 0o600);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, "").unwrap();
        self.mode(name, mode);
        path
    }

    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        self.mode(name, mode);
        path
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The findings about a file, without the folder's name; `passwd` and `group` as in `/etc`.
    fn findings_with(&self, name: &str, rule: Rule, insiders: Insiders) -> Vec<String> {
        let mut search = Search::new(insiders);
        search.file(&Place::of_file(&self.path(name)), rule);
        let root = format!("{}/", self.folder.path().display());
        search.findings.iter().map(|text| text.replace(&root, "")).collect()
    }

    fn findings(&self, name: &str, rule: Rule) -> Vec<String> {
        let insiders = Insiders::new(self.own.0, vec![self.own.1], b"", b"");
        self.findings_with(name, rule, insiders)
    }
}

#[test]
fn modes_are_judged_by_what_the_file_is() {
    let world = World::new();
    for (mode, of_secret, of_others) in [
        (0o600, "", ""),
        (0o640, "", ""),
        (0o660, "", ""),
        (0o400, "", ""),
        (0o644, "can be read by everybody (mode 0644); `chmod go-rwx secret`", ""),
        (0o604, "can be read by everybody (mode 0604)", ""),
        (0o602, "can be changed by everybody (mode 0602)", "can be changed by everybody"),
        (
            0o666,
            "can be read and changed by everybody (mode 0666)",
            "can be changed by everybody (mode 0666); `chmod go-w secret` takes that away",
        ),
        (0o601, "", ""),
    ] {
        world.mode("secret", mode);
        for (rule, expected) in [(Rule::Secret, of_secret), (Rule::Unchanged, of_others)] {
            let found = world.findings("secret", rule);
            assert_eq!(found.is_empty(), expected.is_empty(), "{mode:o}: {found:?}");
            assert!(found.iter().all(|text| text.contains(expected)), "{found:?}");
        }
    }
}

#[test]
fn a_group_counts_unless_it_is_roots_or_the_services() {
    let world = World::new();
    let gid = if world.is_root { 1234 } else { world.own.1 };
    if world.is_root {
        chown(world.path("secret"), None, Some(gid)).unwrap();
    }
    let line = |name: &str| format!("{name}:x:{gid}:\n").into_bytes();
    for (groups, group, mode, expected) in [
        (vec![], line("staff"), 0o640, "read by group 'staff' (mode 0640); `chmod g-rwx"),
        (vec![], vec![], 0o660, "read and changed by group "),
        (vec![], line("kes"), 0o640, ""),
        (vec![gid], vec![], 0o640, ""),
        (vec![gid], line("own"), 0o640, ""),
        (vec![], line("staff"), 0o600, ""),
    ] {
        world.mode("secret", mode);
        let insiders = Insiders::new(world.own.0, groups, b"", &group);
        let found = world.findings_with("secret", Rule::Secret, insiders);
        assert_eq!(found.is_empty(), expected.is_empty(), "{found:?}");
        assert!(found.iter().all(|text| text.contains(expected)), "{found:?}");
    }
    // A group of this process that somebody else is in as well.
    let (group, passwd) = (format!("users:x:{gid}:bob\n"), b"bob:x:4321:4321::/:\n");
    let insiders = Insiders::new(world.own.0, vec![gid], passwd, group.as_bytes());
    world.mode("secret", 0o640);
    assert_eq!(world.findings_with("secret", Rule::Secret, insiders).len(), 1);
}

#[test]
fn an_access_control_list_counts() {
    let world = World::new();
    let list = |user: u16, mask: u16| {
        let entries = [(1, 6, u32::MAX), (2, user, 4321), (4, 0, u32::MAX), (16, mask, u32::MAX)];
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (kind, rights, id) in entries.into_iter().chain([(32, 0, u32::MAX)]) {
            bytes.extend(u16::to_le_bytes(kind));
            bytes.extend(u16::to_le_bytes(rights));
            bytes.extend(u32::to_le_bytes(id));
        }
        bytes
    };
    for (user, mask, expected) in [
        (4, 4, "can be read by user 4321 (access control list); `setfacl -b secret` takes"),
        (6, 6, "can be read and changed by user 4321 (access control list)"),
        (4, 0, ""),
        (0, 4, ""),
    ] {
        let flags = rustix::fs::XattrFlags::empty();
        let bytes = list(user, mask);
        let path = world.path("secret");
        if rustix::fs::setxattr(&path, "system.posix_acl_access", &bytes, flags).is_err() {
            return; // a file system without such lists
        }
        let found = world.findings("secret", Rule::Secret);
        assert_eq!(found.is_empty(), expected.is_empty(), "{user} {mask}: {found:?}");
        assert!(found.iter().all(|text| text.contains(expected)), "{found:?}");
    }
}

#[test]
fn a_file_of_somebody_else_is_told() {
    let world = World::new();
    let (owner, checks) = if world.is_root { (4321, 0) } else { (world.own.0, world.own.0 + 1) };
    if world.is_root {
        chown(world.path("secret"), Some(owner), None).unwrap();
    }
    let passwd = |name: &str| format!("{name}:x:{owner}:1::/:\n").into_bytes();
    let found = |passwd: &[u8]| {
        let insiders = Insiders::new(checks, vec![world.own.1], passwd, b"");
        let found = world.findings_with("secret", Rule::Secret, insiders);
        found.into_iter().filter(|text| text.starts_with("secret belongs")).collect::<Vec<_>>()
    };
    assert!(found(&passwd("bob"))[0].contains("to user 'bob', who can read and change it"));
    assert!(found(&passwd("kes")).is_empty());
}

#[test]
fn a_folder_on_the_way_that_others_can_change_is_told_once() {
    let world = World::new();
    world.folder("open", 0o777);
    world.folder("open/inner", 0o700);
    for name in ["open/inner/a", "open/inner/b"] {
        world.file(name, 0o600);
    }
    let told = |names: &[&str]| {
        let insiders = Insiders::new(world.own.0, vec![world.own.1], b"", b"");
        let mut search = Search::new(insiders);
        for name in names {
            search.file(&Place::of_file(&world.path(name)), Rule::Secret);
        }
        search.findings
    };
    let found = told(&["open/inner/a", "open/inner/b", "secret"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("open/inner/a can be replaced: folder "), "{found:?}");
    assert!(found[0].contains("open can be changed by everybody (mode 0777)"), "{found:?}");
    // By any way: links are followed, and `..` as well.
    symlink("open/inner", world.path("link")).unwrap();
    symlink(world.path("link/b"), world.path("second")).unwrap();
    for name in ["link/a", "second", "open/inner/../../secret"] {
        let is_told = !told(&[name]).is_empty();
        assert!(is_told, "{name}");
    }
    assert!(told(&["open/../secret"]).is_empty(), "nothing is looked up in the folder");
    symlink("loop", world.path("loop")).unwrap();
    assert!(told(&["loop"]).is_empty());

    // In a folder such as /tmp, what belongs to insiders stays theirs.
    world.mode("open", 0o1777);
    for name in ["open/inner/a", "link/a", "second"] {
        assert_eq!(told(&[name]), [""; 0], "{name}");
    }
    let missing = told(&["open/keys"]);
    assert!(missing[0].contains("open/keys does not exist: everybody can create"), "{missing:?}");
    if world.is_root {
        symlink("inner/a", world.path("open/theirs")).unwrap();
        std::os::unix::fs::lchown(world.path("open/theirs"), Some(4321), None).unwrap();
        let found = told(&["open/theirs"]);
        assert!(found[0].contains("by the symbolic link "), "{found:?}");
    }
}

#[test]
fn files_of_an_open_folder_are_looked_at() {
    let world = World::new();
    let keys = ConfiguredPath::from(&world.folder("keys", 0o755));
    let told = || {
        let insiders = Insiders::new(world.own.0, vec![world.own.1], b"", b"");
        let mut search = Search::new(insiders);
        search.named(&keys, Rule::Unchanged);
        search.contents(&keys, Rule::Secret);
        search.findings
    };
    world.file("keys/a", 0o600);
    assert_eq!(told(), [""; 0]);
    for name in ["keys/b", "keys/c", "keys/d"] {
        world.file(name, 0o644);
    }
    let found = told();
    assert_eq!(found.len(), 1, "{found:?}");
    let text = "(and 2 other files of this folder) can be read by everybody (mode 0644)";
    assert!(found[0].contains(text), "{found:?}");
    world.mode("keys", 0o700);
    assert_eq!(told(), [""; 0]);
    world.mode("keys", 0o733);
    assert_eq!(told().len(), 2);
}

#[test]
fn what_is_neither_file_nor_folder_is_let_be() {
    let insiders = Insiders::new(4321, vec![], b"", b"");
    let mut search = Search::new(insiders);
    search.file(&Place::of_file(Path::new("/dev/null")), Rule::Secret);
    assert_eq!(search.findings, [""; 0]);
}
