use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustix::fd::AsFd as _;
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::wrap::health::CHECK_INTERVAL;
use crate::{StoreOperation, battery};

pub(super) fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

pub(super) fn value(text: &str) -> Value {
    Value::new(text.to_owned())
}

async fn try_open(path: impl AsRef<Path>) -> Result<FsStore, OpenError> {
    let fs = config::Fs { path: path.as_ref().into(), id: None };
    FsStore::open(fs, &KnownFolders::default(), Opening::Start).await
}

async fn open(path: impl AsRef<Path>) -> FsStore {
    try_open(path).await.unwrap()
}

async fn names(store: &FsStore) -> Vec<KeyName> {
    let page = store.list(&ListPattern::ALL, Limit::names(1000)).await.unwrap();
    page.names.iter().map(name).collect()
}

/// All entries of a folder, hidden ones too.
pub(super) fn entries(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn does_what_every_store_does() {
    let above = temporary();
    let next = std::sync::atomic::AtomicU32::new(0);
    battery::run(battery::MissingDelete::Fails, async || {
        let folder = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        open(above.path().join(folder)).await
    })
    .await;
    for folder in entries(above.path()) {
        let left = entries(&above.path().join(folder));
        let is_whole = |name: &String| name == MARKER || !name.starts_with('.');
        assert!(left.iter().all(is_whole), "unfinished files: {left:?}");
    }
}

#[tokio::test]
async fn missing_folders_are_made_and_keys_are_files_for_this_user_alone() {
    let above = temporary();
    let path = above.path().join("a/b");
    let store = open(&path).await;
    store.create(&name("key"), &value("dmFsdWU=")).await.unwrap();
    assert_eq!(fs::read(path.join("key")).unwrap(), b"dmFsdWU=", "nothing but the value");
    assert_eq!(mode(&path.join("key")), 0o600);
    assert_eq!([mode(&path), mode(path.parent().unwrap())], [0o700; 2]);
}

#[tokio::test]
async fn a_folder_that_stands_is_opened_as_it_is_and_keys_outlive_the_store() {
    let folder = temporary();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o750)).unwrap();
    for round in 0..2 {
        let store = open(folder.path()).await;
        if round == 0 {
            store.create(&name("key"), &value("value")).await.unwrap();
        }
        assert_eq!(store.read(&name("key")).await.ok().unwrap().expose(), "value");
        assert_eq!(names(&store).await, [name("key")]);
    }
    assert_eq!(mode(folder.path()), 0o750);
}

#[tokio::test]
async fn what_is_no_folder_is_not_opened() {
    let folder = temporary();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = try_open(&path).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("is a file"), "{text}");
    }
}

#[tokio::test]
async fn what_an_operator_puts_there_is_read() {
    let (folder, elsewhere) = (temporary(), temporary());
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "value\n").unwrap();
    fs::write(folder.path().join("file"), "x".repeat(Value::MAX_LEN)).unwrap();
    symlink(&secret, folder.path().join("link")).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(names(&store).await, [name("file"), name("link")]);
    assert_eq!(store.read(&name("link")).await.ok().unwrap().expose(), "value\n");
    assert_eq!(store.read(&name("file")).await.ok().unwrap().expose().len(), Value::MAX_LEN);
    let created = store.create(&name("link"), &value("other")).await;
    assert!(matches!(created, Err(Error::Exists { .. })), "{created:?}");
    store.delete(&name("link")).await.unwrap();
    assert_eq!(fs::read(&secret).unwrap(), b"value\n", "the link is removed, not its target");
}

#[tokio::test]
async fn what_is_no_key_is_not_listed() {
    let folder = temporary();
    let path = folder.path();
    for file in [".hidden", ".new-0123", "with.dot", "with space", "-dash", "ümlaut", "key"] {
        fs::write(path.join(file), "value").unwrap();
    }
    fs::create_dir(path.join("folder")).unwrap();
    symlink("nowhere", path.join("dangling")).unwrap();
    symlink("folder", path.join("link-to-folder")).unwrap();
    symlink("circle", path.join("circle")).unwrap();
    rustix::fs::mknodat(CWD, path.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    symlink("pipe", path.join("link-to-pipe")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    let store = open(path).await;
    assert_eq!(names(&store).await, [name("key")]);
    let others =
        ["folder", "dangling", "link-to-folder", "circle", "pipe", "link-to-pipe", "socket"];
    for key in others {
        let read = store.read(&name(key)).await.err();
        assert!(matches!(read, Some(Error::NotFound { .. })), "{key}: {read:?}");
        let deleted = store.delete(&name(key)).await.err();
        assert!(matches!(deleted, Some(Error::NotFound { .. })), "{key}: {deleted:?}");
        assert!(path.join(key).symlink_metadata().is_ok(), "{key} is still there");
    }
}

#[tokio::test]
async fn what_is_no_stored_key_is_refused_and_never_waited_for() {
    let folder = temporary();
    let path = folder.path();
    fs::write(path.join("big"), "x".repeat(Value::MAX_LEN + 1)).unwrap();
    fs::write(path.join("binary"), [0xff, 0xfe]).unwrap();
    let store = open(path).await;
    for (key, said) in [("big", "too big"), ("binary", "not text")] {
        let Err(Error::Corrupt { name, reason, .. }) = store.read(&name(key)).await else {
            panic!("{key} was read")
        };
        assert_eq!(name.as_str(), key);
        assert!(reason.contains(said), "{reason}");
        let created = store.create(&name, &value("value")).await;
        assert!(matches!(created, Err(Error::Exists { .. })), "{key}: {created:?}");
    }
}

#[tokio::test]
async fn what_a_crashed_creator_left_is_removed_after_an_hour() {
    let folder = temporary();
    let write = |file: &str, minutes: u64| {
        let file = fs::File::create(folder.path().join(file)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(minutes * 60)).unwrap();
    };
    for (file, minutes) in [(".new-young", 59), (".other", 61), ("key", 61)] {
        write(file, minutes);
    }
    // More than the sweep searches before a pause.
    let stale: Vec<_> = (0..2 * SWEEP_ENTRIES).map(|n| format!(".new-{n}")).collect();
    stale.iter().for_each(|file| write(file, 61));
    let untouched = Demands { untouched: true, ..Demands::default() };
    let Opened { entries: all, .. } = Folder::open(folder.path(), &untouched).unwrap();
    sweep(all).await;
    let left = entries(folder.path());
    assert_eq!(left.iter().collect::<Vec<_>>(), [".new-young", ".other", "key"]);

    write(&stale[0], 61);
    let _store = open(folder.path()).await;
    let removed = async {
        while folder.path().join(&stale[0]).exists() {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    time::timeout(Duration::from_secs(10), removed).await.expect("a store does that when opened");
}

#[tokio::test(start_paused = true)]
async fn the_state_follows_the_folder() {
    let above = temporary();
    let path = above.path().join("keys");
    let store = open(&path).await;
    let becomes = async |reachable: bool| {
        let start = Instant::now();
        while matches!(store.state(), State::Reachable { .. }) != reachable {
            assert!(start.elapsed() < 2 * CHECK_INTERVAL, "it did not become {reachable}");
            time::sleep(Duration::from_millis(100)).await;
        }
    };
    let away = above.path().join("away");
    becomes(true).await;
    fs::rename(&path, &away).unwrap();
    becomes(false).await;
    assert_eq!(store.state(), State::Unreachable);
    fs::create_dir(&path).unwrap();
    time::sleep(2 * CHECK_INTERVAL).await;
    assert_eq!(store.state(), State::Unreachable);
    let trouble = store.trouble().unwrap();
    let what =
        format!("folder '{}' is not available: another folder is in its place", path.display());
    assert!(trouble.starts_with(&what), "{trouble}");
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    becomes(true).await;
}

#[tokio::test]
async fn a_path_that_was_opened_before_is_known_however_it_is_written() {
    let above = temporary();
    let path = above.path().join("keys");
    let known = KnownFolders::default();
    let open = |path: &Path| {
        let fs = config::Fs { path: path.into(), id: None };
        FsStore::open(fs, &known, Opening::Start)
    };
    drop(open(&path).await.unwrap());
    drop(open(&above.path().join("other")).await.unwrap());
    fs::rename(&path, above.path().join("away")).unwrap();
    for same in [path.clone(), above.path().join("./keys/")] {
        let error = open(&same).await.err().unwrap().to_string();
        assert!(error.contains("it held keys before"), "{error}");
    }
    assert!(!path.exists());
}

/// A second server is refused, and so is one that has read its configuration again; the first one
/// reads it as often as it wants, and who only reads keys is not asked.
#[tokio::test]
async fn a_folder_is_for_one_server() {
    let folder = temporary();
    let servers = [(); 3].map(|()| KnownFolders::default());
    let config = || config::Fs { path: folder.path().into(), id: None };
    let open = |server: usize, opening| FsStore::open(config(), &servers[server], opening);
    let first = open(0, Opening::Start).await.unwrap();
    let again = open(0, Opening::Reload).await.unwrap();
    drop(first);
    for opening in [Opening::Start, Opening::Reload] {
        let error = open(1, opening).await.err().unwrap().to_string();
        let process = format!("is using it (process {})", std::process::id());
        assert!(
            error.contains(&process) && error.contains("a folder is for one server"),
            "{error}"
        );
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
    FsStore::open_to_read(config()).await.unwrap();
    FsStore::open_untouched(&config()).await.unwrap();

    // One that takes over has the lock as well, from the start on, and when the other one has ended.
    let passed = || {
        let locks = servers[0].locks_to_pass_on();
        locks.iter().map(|lock| lock.as_fd().try_clone_to_owned().unwrap()).collect()
    };
    servers[2].inherit(passed());
    let successor = open(2, Opening::Start).await.unwrap();
    servers[2].end_inheritance();
    drop(again);
    assert!(open(1, Opening::Start).await.is_err());
    let reloaded = open(2, Opening::Reload).await.unwrap();
    drop(successor);
    assert!(open(1, Opening::Start).await.is_err());
    drop(reloaded);
    open(1, Opening::Start).await.unwrap();
}

/// One that takes over with another folder in its configuration needs the lock of that one, and leaves
/// the one that it could have taken over.
#[tokio::test]
async fn a_lock_that_is_taken_over_is_for_its_folder_alone() {
    let (own, others) = (temporary(), temporary());
    let config = |folder: &TempDir| config::Fs { path: folder.path().into(), id: None };
    let servers = [(); 3].map(|()| KnownFolders::default());
    let open =
        |server: usize, folder| FsStore::open(config(folder), &servers[server], Opening::Start);
    let old = open(0, &own).await.unwrap();
    let other = open(1, &others).await.unwrap();
    let locks = servers[0].locks_to_pass_on();
    servers[2].inherit(vec![locks[0].as_fd().try_clone_to_owned().unwrap()]);
    drop(locks);
    assert!(open(2, &others).await.is_err());
    drop(other);
    let new = open(2, &others).await.unwrap();
    servers[2].end_inheritance();
    drop(old);
    open(1, &own).await.unwrap();
    drop(new);
}

/// A mistyped path must not lead a running server to a new, empty folder.
#[tokio::test]
async fn a_reload_makes_no_folder() {
    let above = temporary();
    let path = above.path().join("new");
    let config = || config::Fs { path: path.as_path().into(), id: None };
    let known = KnownFolders::default();
    let error = FsStore::open(config(), &known, Opening::Reload).await.err().unwrap().to_string();
    assert!(error.contains("a reload makes no folder: correct the path"), "{error}");
    assert!(!path.exists());
    fs::create_dir(&path).unwrap();
    FsStore::open(config(), &known, Opening::Reload).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_stops_neither_callers_nor_the_runtime() {
    let folder = temporary();
    let store = Arc::new(open(folder.path()).await);
    let (disk, hangs) = mpsc::channel::<()>();
    let hangs = Arc::new(Mutex::new(hangs));
    let mut callers = task::JoinSet::new();
    for _ in 0..BUDGETS.reads {
        let (store, hangs) = (Arc::clone(&store), Arc::clone(&hangs));
        callers.spawn(async move {
            let work = move |_: &Folder| {
                let _ = hangs.lock().recv();
                Ok(())
            };
            let limit = store.inner();
            let call = limit.inner().inner().call(work);
            store.within(limit.within(StoreOperation::Read, call)).await
        });
    }
    while store.inner().free(StoreOperation::Read) > 0 {
        task::yield_now().await;
    }
    // One more call, which has to wait for a slot.
    callers.spawn({
        let store = Arc::clone(&store);
        async move { store.read(&name("key")).await.map(drop) }
    });
    task::yield_now().await;
    time::advance(DEADLINE + Duration::from_secs(1)).await;
    for outcome in callers.join_all().await {
        let Err(Error::Unreachable { reason }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("did not answer within 10 s"), "{reason}");
    }
    // The threads hang on although their callers have gone. Calls of other kinds go on.
    assert_eq!(store.inner().free(StoreOperation::Read), 0);
    store.create(&name("key"), &value("value")).await.unwrap();
    assert_eq!(names(&store).await, [name("key")]);
    drop(disk);
    assert_eq!(store.read(&name("key")).await.ok().unwrap().expose(), "value");
}

/// What the process that is killed stores under a name: long enough to be written in parts.
fn text_of(name: &str) -> String {
    name.repeat(100)
}

/// Creates and deletes keys, and prints what it has done, until it is killed.
async fn churn(folder: PathBuf, round: String) {
    let store = Arc::new(open(folder).await);
    let say = |what: &str, key: &KeyName| {
        let mut out = io::stdout().lock();
        writeln!(out, "{what} {key}").unwrap();
        out.flush().unwrap();
    };
    let mut tasks = task::JoinSet::new();
    for at in 0..4 {
        let (store, round) = (Arc::clone(&store), round.clone());
        tasks.spawn(async move {
            for count in 0.. {
                let key = name(&format!("key-{round}-{at}-{count}"));
                store.create(&key, &value(&text_of(key.as_str()))).await.unwrap();
                say("created", &key);
                if count % 3 == 0 {
                    say("deleting", &key);
                    store.delete(&key).await.unwrap();
                    say("deleted", &key);
                }
            }
        });
    }
    tasks.join_all().await;
}

/// The test starts its own executable as the process that it kills.
#[test]
fn whenever_it_is_killed_keys_are_whole_and_none_is_lost() {
    const FOLDER: &str = "KES_TEST_KILLED_FOLDER";
    const ROUND: &str = "KES_TEST_KILLED_ROUND";
    if let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(churn(folder.into(), round));
    }
    let folder = temporary();
    let (mut alive, mut seen) = (BTreeSet::new(), 0);
    for round in 0..kills() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("fs::tests::whenever_it_is_killed_keys_are_whole_and_none_is_lost")
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut gone = BTreeSet::new();
        let mut said = 0;
        let mut line = String::new();
        // The process is killed after a different number of lines each time, while calls are
        // running.
        while out.read_line(&mut line).unwrap() > 0 {
            if let Some((what, key)) = line.trim_end().split_once(' ')
                && line.ends_with('\n')
                && KeyName::parse(key).is_ok()
            {
                match what {
                    "created" => _ = alive.insert(key.to_owned()),
                    "deleting" => _ = alive.remove(key),
                    "deleted" => _ = gone.insert(key.to_owned()),
                    _ => {}
                }
                said += 1;
                if said == 1 + round * 7 % 60 {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(said > round * 7 % 60, "it ended by itself");
        seen += said;

        let left = entries(folder.path());
        for key in left.iter().filter(|name| !name.starts_with('.')) {
            let text = fs::read_to_string(folder.path().join(key)).unwrap();
            assert_eq!(text, text_of(key), "{key} is torn");
        }
        assert!(alive.is_subset(&left), "lost: {:?}", alive.difference(&left));
        assert!(gone.is_disjoint(&left), "came back: {:?}", gone.intersection(&left));
    }
    assert!(seen > 20 * kills(), "{seen}");
}

/// How often the process is killed: `KES_KILLS` sets another number.
fn kills() -> usize {
    std::env::var("KES_KILLS").map_or(50, |count| count.parse().unwrap())
}

/// Names that no key can have are told, but for those that the server itself gives, and a folder is
/// asked whether it takes two names for one.
#[tokio::test]
async fn entries_that_are_no_keys_are_listed_by_name() {
    use std::sync::Arc;

    use crate::inventory::{ForeignNames, Inventory as _};

    let folder = tempfile::tempdir().unwrap();
    let config = || config::Fs { path: folder.path().into(), id: None };
    let store = FsStore::open(config(), &KnownFolders::default(), Opening::Start).await.unwrap();
    fs::create_dir(folder.path().join("a.folder")).unwrap();
    fs::create_dir(folder.path().join("a-folder")).unwrap();
    symlink("nothing", folder.path().join("a-link")).unwrap();
    for name in ["key", "a.b", ".new-x", "b.a", "-a"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let wanted = ForeignNames::new(Arc::new(|name| name.contains('a')));
    let names = store.foreign(wanted).await.ok().unwrap().into_sorted();
    let expected = ["-a", "a-folder", "a-link", "a.b", "b.a"].map(str::to_owned).to_vec();
    assert_eq!(names, (expected, 0));

    assert!(!store.name_rules().await.unwrap().ignores_case);
    // The marker is found under another spelling, as in a folder that ignores the case of letters.
    fs::write(folder.path().join(MARKER.to_ascii_uppercase()), "x").unwrap();
    assert!(store.name_rules().await.unwrap().ignores_case);
}

#[tokio::test]
async fn a_folder_that_is_only_read_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let config = |path: &Path| config::Fs { path: path.into(), id: None };
    let Err(error) = FsStore::open_to_read(config(&path)).await else { panic!("it was made") };
    assert!(error.is_missing(), "{error}");
    assert!(!path.exists());

    fs::create_dir(&path).unwrap();
    fs::write(path.join("key"), "value").unwrap();
    let store = FsStore::open_to_read(config(&path)).await.unwrap();
    let name = KeyName::parse("key").unwrap();
    assert_eq!(store.read(&name).await.ok().unwrap().expose(), "value");
    assert!(store.is_at(&path).await && store.is_at(&path.join(".")).await);
    assert!(!store.is_at(folder.path()).await && !store.is_at(&path.join("none")).await);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}
