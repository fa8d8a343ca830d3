use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use rustix::io::Errno;

use super::faults::{Call, Synced};
use super::marker::Marker;
use super::*;
use crate::fs::tests::{entries, name, temporary, value};

/// Each operation with each system call failing.
mod faults_of_calls;

fn try_open(path: &Path, demands: &Demands) -> io::Result<Opened> {
    Folder::open(path, demands)
}

fn open(path: &Path) -> Arc<Folder> {
    try_open(path, &Demands::default()).unwrap().folder
}

fn refusal(path: &Path, demands: &Demands) -> String {
    try_open(path, demands).err().expect("it is refused").to_string()
}

fn bound(path: &Path) -> Bound {
    Bound::open(path).unwrap()
}

fn read(folder: &Folder, key: &str) -> Result<String, Error> {
    folder.read(name(key)).map(|value| value.expose().to_owned())
}

/// Why a folder is not available, by each of its operations, which all say the same.
fn trouble(folder: &Folder) -> String {
    let (state, cause) = folder.check();
    assert_eq!(state, State::Unreachable);
    let cause = cause.unwrap();
    let (key, other) = (name("key"), name("other"));
    for error in [
        folder.create(key, &value("other")).err(),
        folder.create(other, &value("other")).err(),
        folder.read(key).err(),
        folder.read(other).err(),
        folder.delete(key).err(),
        folder.list(&ListPattern::ALL, Limit::names(1)).err(),
    ] {
        let Some(Error::Unreachable { reason }) = error else { panic!("{error:?}") };
        let path = folder.path.display();
        assert_eq!(reason, format!("folder '{path}' is not available: {cause}"));
    }
    cause
}

#[test]
fn a_file_system_without_exclusive_renaming_is_served_by_links() {
    let folder = temporary();
    let bound = bound(folder.path());
    let write = |bytes| Temporary::write(&bound, bytes, sys::PRIVATE).unwrap();
    write(b"first").link("key").unwrap();
    let second = write(b"second").link("key").unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.path().join("key")).unwrap(), b"first");
    assert_eq!(entries(folder.path()).len(), 1, "no unfinished file is left");

    for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
        let keys = open(folder.path());
        // After the calls up to the sync of the file.
        faults::fail(5, 1, errno);
        keys.create(name("linked"), &value("value")).unwrap();
        assert!(faults::end().contains(&Call::Link));
        assert_eq!(read(&keys, "linked").unwrap(), "value");
        keys.delete(name("linked")).unwrap();
    }
}

#[test]
fn an_unfinished_file_is_for_this_user_alone_and_goes_with_its_creator() {
    let folder = temporary();
    let bound = bound(folder.path());
    let temporary = Temporary::write(&bound, b"value", sys::PRIVATE).unwrap();
    let path = folder.path().join(&temporary.name);
    assert!(KeyName::parse(&temporary.name).is_err());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(temporary);
    assert!(!path.exists());
}

#[test]
fn a_renaming_does_not_replace() {
    let folder = temporary();
    let bound = bound(folder.path());
    let publish = |bytes| Temporary::write(&bound, bytes, sys::PRIVATE).unwrap().publish("key");
    publish(b"first").unwrap();
    assert_eq!(publish(b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(folder.path().join("key")).unwrap(), b"first");
    assert_eq!(entries(folder.path()).len(), 1);
}

#[test]
fn an_error_tells_the_path_and_the_systems_words() {
    let of = |errno: Errno| failed("create", "/keys/key", &errno.into());
    for errno in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
        let Error::Unavailable { reason } = of(errno) else { panic!("{errno:?}") };
        let said = io::Error::from(errno).to_string();
        assert_eq!(reason, format!("cannot create '/keys/key': {said}"));
    }
    let Error::Unavailable { reason } = of(Errno::ACCESS) else { panic!() };
    assert!(reason.ends_with("; the user of the server must be able to read and write it"));
    let Error::Unavailable { reason } = of(Errno::MFILE) else { panic!() };
    assert!(reason.ends_with("; raise LimitNOFILE (systemd) or `ulimit -n`"), "{reason}");
    for errno in [Errno::NOENT, Errno::NOTDIR, Errno::STALE, Errno::TIMEDOUT] {
        assert!(matches!(of(errno), Error::Unreachable { .. }), "{errno:?}");
    }
}

/// A file or folder at the moment of its sync.
fn file(content: &str) -> Synced {
    Synced::File(content.to_owned())
}

fn folder(path: &Path, names: &[&str]) -> Synced {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    Synced::Folder(path.canonicalize().unwrap(), names)
}

#[test]
fn a_create_is_durable_when_it_returns() {
    let temporary = temporary();
    let path = temporary.path();
    let keys = open(path);
    faults::synced();
    keys.create(name("key"), &value("value")).unwrap();
    // First the whole content, then the name that leads to it.
    assert_eq!(faults::synced(), [file("value"), folder(path, &[MARKER, "key"])]);
    assert!(keys.create(name("key"), &value("value")).is_err());
    assert_eq!(faults::synced(), []);
}

#[test]
fn a_delete_is_durable_when_it_returns() {
    let temporary = temporary();
    let path = temporary.path();
    fs::write(path.join("key"), "value").unwrap();
    let keys = open(path);
    faults::synced();
    keys.delete(name("key")).unwrap();
    assert_eq!(faults::synced(), [folder(path, &[MARKER])]);
    assert!(keys.delete(name("key")).is_err());
    assert_eq!(faults::synced(), []);
}

#[test]
fn a_folder_that_is_made_is_durable_with_all_above_it_and_its_marker() {
    let temporary = temporary();
    let path = temporary.path();
    let below = path.join("a/b");
    faults::synced();
    let opened = try_open(&below, &Demands::default()).unwrap();
    assert!(opened.is_new && opened.is_empty && opened.marked.unwrap().is_ok());
    let text = fs::read_to_string(below.join(MARKER)).unwrap();
    assert_eq!(
        faults::synced(),
        [
            folder(&path.join("a"), &["b"]),
            folder(path, &["a"]),
            file(&text),
            folder(&below, &[MARKER])
        ]
    );
    let again = try_open(&below, &Demands::default()).unwrap();
    assert!(!again.is_new && again.is_empty && again.marked.is_none());
    assert_eq!(again.folder.id(), opened.folder.id());
    assert_eq!(faults::synced(), []);
}

#[test]
fn a_file_system_that_syncs_no_folders_is_served() {
    let temporary = temporary();
    let keys = open(temporary.path());
    faults::fail(2, 1, Errno::INVAL);
    keys.delete(name("key")).unwrap_err();
    faults::end();
    fs::write(temporary.path().join("key"), "value").unwrap();
    faults::fail(3, 1, Errno::INVAL);
    keys.delete(name("key")).unwrap();
    let made = [Call::Stat, Call::Stat, Call::Unlink, Call::SyncFolder, Call::Stat];
    assert_eq!(faults::end(), made);
}

#[test]
fn reads_and_writes_that_do_less_than_they_are_asked_are_continued() {
    let temporary = temporary();
    let keys = open(temporary.path());
    faults::short();
    keys.create(name("key"), &value("value")).unwrap();
    assert_eq!(read(&keys, "key").unwrap(), "value");
    let again = try_open(temporary.path(), &Demands::default()).unwrap();
    assert_eq!(again.folder.id(), keys.id());
    faults::end();
    assert_eq!(fs::read(temporary.path().join("key")).unwrap(), b"value");
}

/// A cold read is on the path of a request.
#[test]
fn a_read_costs_four_calls() {
    let temporary = temporary();
    let keys = open(temporary.path());
    keys.create(name("key"), &value("value")).unwrap();
    faults::end();
    read(&keys, "key").unwrap();
    assert_eq!(faults::end(), [Call::Stat, Call::OpenFile, Call::StatOpen, Call::Read]);
}

#[test]
fn without_its_folder_a_store_is_away_until_it_is_back() {
    let above = temporary();
    let (path, away) = (above.path().join("keys"), above.path().join("away"));
    let keys = open(&path);
    keys.create(name("key"), &value("value")).unwrap();
    let is_back = || {
        assert!(matches!(keys.check(), (State::Reachable { .. }, None)));
        assert_eq!(read(&keys, "key").unwrap(), "value");
        let page = keys.list(&ListPattern::ALL, Limit::names(9)).unwrap();
        assert_eq!(page.names, ["key"].into_iter().collect());
    };
    is_back();
    let before = entries(&path);
    fs::rename(&path, &away).unwrap();
    assert!(trouble(&keys).starts_with("No such file or directory"), "{}", trouble(&keys));

    let other = "another folder is in its place; mount the folder again";
    fs::create_dir(&path).unwrap();
    assert!(trouble(&keys).starts_with(other), "{}", trouble(&keys));
    assert_eq!(entries(&path), BTreeSet::new(), "nothing is made in an empty mount point");
    // Nor in the folder of another server.
    let second = open(&path);
    assert!(trouble(&keys).starts_with(other), "{}", trouble(&keys));
    drop(second);
    fs::remove_dir_all(&path).unwrap();

    fs::write(&path, "a file").unwrap();
    assert!(trouble(&keys).starts_with("it is no folder"), "{}", trouble(&keys));
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    assert!(trouble(&keys).starts_with("No such file or directory"), "{}", trouble(&keys));
    fs::remove_file(&path).unwrap();

    // A copy may be older than the folder.
    fs::create_dir(&path).unwrap();
    for name in &before {
        fs::copy(away.join(name), path.join(name)).unwrap();
    }
    assert!(trouble(&keys).starts_with("a copy of it is in its place"), "{}", trouble(&keys));
    assert_eq!(entries(&path), before);
    fs::remove_dir_all(&path).unwrap();

    // By another way, and by its own.
    symlink("away", &path).unwrap();
    is_back();
    fs::remove_file(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    is_back();
    assert_eq!(entries(&path), before);
}

#[test]
fn the_same_folder_of_a_file_system_that_was_mounted_again_is_taken() {
    let (temporary, elsewhere) = (temporary(), temporary());
    let keys = open(temporary.path());
    keys.create(name("key"), &value("value")).unwrap();
    let now = bound(temporary.path());
    let (device, inode) = now.place();
    let was = |place, marker| {
        let mut before = bound(elsewhere.path());
        before.renumber(place);
        before.marker = marker;
        keys.bound.store(Arc::new(before));
    };
    assert!(now.marker.is_some());
    let on_another_device = || was((device + 1, inode), now.marker);
    on_another_device();
    assert_eq!(read(&keys, "key").unwrap(), "value");
    on_another_device();
    assert!(matches!(keys.check(), (State::Reachable { .. }, None)));
    on_another_device();
    keys.delete(name("key")).unwrap();
    // Without a marker nothing tells it from the first folder of any other file system, and with
    // another inode it is a copy.
    was((device + 1, inode), None);
    assert!(trouble(&keys).starts_with("another folder is in its place"));
    was((device + 1, inode + 1), now.marker);
    assert!(trouble(&keys).starts_with("a copy of it is in its place"));
}

#[test]
fn a_folder_whose_number_changes_while_it_is_open_is_still_the_same() {
    let temporary = temporary();
    let keys = open(temporary.path());
    keys.create(name("key"), &value("value")).unwrap();
    let mut before = bound(temporary.path());
    let (device, inode) = before.place();
    before.renumber((device, inode + 1));
    before.marker = None;
    keys.bound.store(Arc::new(before));
    assert_eq!(read(&keys, "key").unwrap(), "value");
}

/// A handle of a network file system that went away for good, while the path leads to the folder.
#[test]
fn a_handle_that_is_stale_is_replaced() {
    let temporary = temporary();
    let keys = open(temporary.path());
    faults::fail(1, 1, Errno::STALE);
    assert!(matches!(keys.check(), (State::Reachable { .. }, None)));
    let made = faults::end();
    assert_eq!(made[..3], [Call::Stat, Call::StatOpen, Call::OpenFolder]);
}

/// What is made in a folder that is unmounted meanwhile may be lost.
#[test]
fn a_change_is_acknowledged_only_if_the_folder_is_still_there() {
    let above = temporary();
    let (path, away) = (above.path().join("keys"), above.path().join("away"));
    let keys = open(&path);
    let swap = || {
        fs::rename(&path, &away).unwrap();
        fs::create_dir(&path).unwrap();
    };
    let back = || {
        fs::remove_dir(&path).unwrap();
        fs::rename(&away, &path).unwrap();
    };
    let change = |work: &dyn Fn(&Bound) -> io::Result<()>| {
        let result = keys.change(
            |bound| {
                swap();
                work(bound)
            },
            |error| panic!("not the cause: {error}"),
        );
        let Err(Error::Unreachable { reason }) = result else { panic!("{result:?}") };
        assert!(reason.contains("another folder is in its place"), "{reason}");
        back();
    };
    change(&|_| Ok(()));
    change(&|_| Err(io::ErrorKind::NotFound.into()));
}

#[test]
fn a_folder_of_the_reference_gets_a_marker_and_keeps_its_keys() {
    let temporary = temporary();
    let path = temporary.path();
    fs::write(path.join("key"), "value").unwrap();
    let untouched = Demands { untouched: true, ..Demands::default() };
    let opened = try_open(path, &untouched).unwrap();
    assert!(opened.marked.is_none() && !opened.is_empty && opened.folder.id().is_none());
    assert_eq!(entries(path), ["key".to_owned()].into());

    let opened = try_open(path, &Demands::default()).unwrap();
    assert!(opened.marked.unwrap().is_ok() && !opened.is_empty && !opened.is_new);
    assert_eq!(read(&opened.folder, "key").unwrap(), "value");
    let listed = opened.folder.list(&ListPattern::ALL, Limit::names(9)).unwrap();
    assert_eq!(listed.names, ["key"].into_iter().collect());
    let mode = fs::metadata(path.join(MARKER)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777 & !0o044, 0o600);
}

#[test]
fn of_many_servers_one_writes_the_marker() {
    let temporary = temporary();
    let path = temporary.path();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let servers: Vec<_> = (0..8).map(|_| scope.spawn(|| open(path).id().unwrap())).collect();
        servers.into_iter().map(|server| server.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(entries(path), [MARKER.to_owned()].into(), "no unfinished file is left");
}

#[test]
fn a_folder_that_cannot_be_written_is_served_without_a_marker() {
    for errno in [Errno::ROFS, Errno::ACCESS, Errno::NOSPC] {
        let temporary = temporary();
        fs::write(temporary.path().join("key"), "value").unwrap();
        faults::end();
        drop(try_open(temporary.path(), &Demands::default()).unwrap());
        let at = faults::end().iter().position(|call| *call == Call::CreateFile).unwrap();
        fs::remove_file(temporary.path().join(MARKER)).unwrap();

        faults::fail(at, 1, errno);
        let opened = try_open(temporary.path(), &Demands::default()).unwrap();
        faults::end();
        let error = opened.marked.unwrap().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(errno));
        let keys = opened.folder;
        assert_eq!((read(&keys, "key").unwrap(), keys.id()), ("value".to_owned(), None));
        // It is bound all the same.
        let away = temporary.path().with_extension("away");
        fs::rename(temporary.path(), &away).unwrap();
        fs::create_dir(temporary.path()).unwrap();
        assert!(trouble(&keys).starts_with("another folder is in its place"));
        fs::remove_dir(temporary.path()).unwrap();
        fs::rename(&away, temporary.path()).unwrap();
        assert_eq!(read(&keys, "key").unwrap(), "value");
    }
}

#[test]
fn a_marker_that_is_damaged_is_told_with_what_to_do() {
    let temporary = temporary();
    let marker = temporary.path().join(MARKER);
    for text in [&b""[..], b"# no ID\n", b"123\n", &[0xff; 40], &[b'#'; 5000]] {
        fs::write(&marker, text).unwrap();
        let said = refusal(temporary.path(), &Demands::default());
        assert!(said.starts_with("its marker '.kes-folder' is damaged"), "{said}");
        assert!(said.contains("restore it from a backup, or remove it"), "{said}");
    }
    fs::remove_file(&marker).unwrap();
    fs::create_dir(&marker).unwrap();
    assert!(refusal(temporary.path(), &Demands::default()).contains("is damaged"));
}

#[test]
fn the_id_of_the_configuration_is_demanded() {
    let above = temporary();
    let path = above.path().join("keys");
    let id = FolderId::random();
    let demands = Demands { id: Some(id), ..Demands::default() };
    let said = refusal(&path, &demands);
    assert!(said.starts_with("No such file or directory"), "{said}");
    assert!(said.ends_with("it held keys before: mount it or restore it"), "{said}");
    assert!(!path.exists());

    fs::create_dir(&path).unwrap();
    let said = refusal(&path, &demands);
    let what_to_do = format!("keystore.fs.id demands the ID {id}; mount or restore the folder");
    assert!(said.starts_with("it has no marker") && said.contains(&what_to_do), "{said}");
    assert_eq!(entries(&path), BTreeSet::new());
    let other = open(&path).id().unwrap();
    let said = refusal(&path, &demands);
    assert!(said.starts_with(&format!("it has the ID {other}, and {what_to_do}")), "{said}");

    // As the message says.
    fs::write(path.join(MARKER), format!("{id}\n")).unwrap();
    assert_eq!(try_open(&path, &demands).unwrap().folder.id(), Some(id));
}

#[test]
fn a_folder_that_was_opened_before_must_be_the_same_or_a_copy() {
    let above = temporary();
    let (path, away) = (above.path().join("keys"), above.path().join("away"));
    let opened = try_open(&path, &Demands::default()).unwrap();
    let demands = Demands { known: Some(opened.known), ..Demands::default() };
    let id = opened.folder.id();
    assert_eq!(try_open(&path, &demands).unwrap().folder.id(), id);

    fs::rename(&path, &away).unwrap();
    assert!(refusal(&path, &demands).ends_with("it held keys before: mount it or restore it"));
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    let other = "another folder is there than the one that this server has opened before";
    assert!(refusal(&path, &demands).starts_with(other));
    assert_eq!(entries(&path), BTreeSet::new());
    drop(open(&path));
    assert!(refusal(&path, &demands).starts_with(other));
    fs::copy(away.join(MARKER), path.join(MARKER)).unwrap();
    assert_eq!(try_open(&path, &demands).unwrap().folder.id(), id);
    fs::remove_dir_all(&path).unwrap();

    // It lost its marker.
    fs::rename(&away, &path).unwrap();
    fs::remove_file(path.join(MARKER)).unwrap();
    let again = try_open(&path, &demands).unwrap();
    assert_ne!(again.folder.id(), id);
    assert!(refusal(&path, &demands).starts_with(other), "another's content");
}

#[test]
fn a_link_to_nothing_is_told_as_such() {
    let above = temporary();
    let path = above.path().join("keys");
    symlink("volume/keys", &path).unwrap();
    let said = refusal(&path, &Demands::default());
    assert_eq!(said, "it is a link to 'volume/keys', which does not exist");
    assert!(!above.path().join("volume").exists());
}

#[test]
fn what_holds_no_key_counts_as_empty() {
    let temporary = temporary();
    for name in [".hidden", "lost+found", ".new-1"] {
        fs::write(temporary.path().join(name), "").unwrap();
    }
    let is_empty = || try_open(temporary.path(), &Demands::default()).unwrap().is_empty;
    assert!(is_empty());
    fs::write(temporary.path().join("key"), "").unwrap();
    assert!(!is_empty());
}

/// A marker as a file that has another inode, or another text.
#[test]
fn a_copy_of_a_marker_is_another_one() {
    let temporary = temporary();
    let keys = open(temporary.path());
    let read = || Marker::read(&keys.bound.load().handle).unwrap().unwrap();
    let first = read();
    assert_eq!(read(), first);
    let (from, to): (PathBuf, _) = (temporary.path().join(MARKER), temporary.path().join("copy"));
    fs::copy(&from, &to).unwrap();
    fs::rename(&to, &from).unwrap();
    assert_eq!(read().id, first.id);
    assert_ne!(read(), first);
}
