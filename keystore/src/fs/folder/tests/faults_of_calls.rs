use std::fmt::Debug;

use super::*;

const KEPT: &str = "kept";
const TEXT: &str = "the text of a key, which is longer than a few bytes";

/// What a disk, a network file system and the limits of a process answer.
const FAULTS: [Errno; 12] = [
    Errno::IO,
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::FBIG,
    Errno::ROFS,
    Errno::ACCESS,
    Errno::PERM,
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::STALE,
    Errno::TIMEDOUT,
];

/// How many calls fail: one, or all from one on, until the disk is well again.
const COUNTS: [usize; 2] = [1, usize::MAX];

/// Runs an operation on a folder with two keys again and again, each time with another of its system
/// calls failing, and lets a test look at the outcome. Returns the calls that failed.
fn with_each_fault<T: Debug>(
    operation: impl Fn(&Folder) -> Result<T, Error>,
    look: impl Fn(&Folder, &Result<T, Error>),
) -> BTreeSet<Call> {
    let mut failed = BTreeSet::new();
    for errno in FAULTS {
        for count in COUNTS {
            for after in 0.. {
                let temporary = temporary();
                let keys = open(temporary.path());
                for key in [KEPT, "key"] {
                    keys.create(name(key), &value(TEXT)).unwrap();
                }
                faults::fail(after, count, errno);
                let result = operation(&keys);
                let made = faults::end();
                let Some(call) = made.get(after) else { break };
                failed.extend(made[after..].iter().take(count));
                let what = format!("{call:?} {errno:?} after {after}, {count} times: {result:?}");
                if let Err(error) = &result {
                    is_told(errno, error, &keys.path, &what);
                }
                assert_sound(&keys, &what);
                look(&keys, &result);
            }
        }
    }
    failed
}

/// A fault of the system is one of the store, never of the key. Its text says where and what.
fn is_told(errno: Errno, error: &Error, path: &Path, what: &str) {
    let is_away = matches!(errno, Errno::STALE | Errno::TIMEDOUT);
    let reason = match error {
        Error::Unavailable { reason } if !is_away => reason,
        Error::Unreachable { reason } if is_away => reason,
        _ => panic!("{what}"),
    };
    assert!(reason.contains(path.to_str().unwrap()), "{what}");
    assert!(reason.contains(&io::Error::from(errno).to_string()), "{what}");
}

/// After a fault all keys are whole, the one that nobody touched is there, and the store works.
fn assert_sound(keys: &Folder, what: &str) {
    for name in entries(&keys.path) {
        let text = fs::read_to_string(keys.path.join(&name)).unwrap();
        if !name.starts_with('.') {
            assert_eq!(text, TEXT, "{name}: {what}");
        }
    }
    assert_eq!(read(keys, KEPT).unwrap(), TEXT, "{what}");
    assert!(matches!(keys.check(), (State::Reachable { .. }, None)), "{what}");
    keys.create(name("after"), &value(TEXT)).unwrap();
    keys.delete(name("after")).unwrap();
}

fn unfinished(keys: &Folder) -> usize {
    entries(&keys.path).iter().filter(|name| name.starts_with(".new-")).count()
}

#[test]
fn a_create_makes_a_whole_key_or_none() {
    let new = || name("new");
    let failed = with_each_fault(
        |keys| keys.create(new(), &value(TEXT)),
        |keys, result| {
            // A key of which nobody was told may be there: its folder could not be synced.
            let again = keys.create(new(), &value(TEXT));
            match (result, again) {
                (Ok(()), Err(Error::Exists { .. })) => {}
                (Err(_), Ok(()) | Err(Error::Exists { .. })) => {}
                outcome => panic!("{outcome:?}"),
            }
            assert_eq!(read(keys, "new").unwrap(), TEXT);
            assert!(unfinished(keys) <= usize::from(result.is_err()));
        },
    );
    let all = [
        Call::Stat,
        Call::OpenFolder,
        Call::StatEntry,
        Call::CreateFile,
        Call::Write,
        Call::SyncFile,
        Call::Rename,
        Call::SyncFolder,
        Call::Unlink,
    ];
    assert!(failed.is_superset(&all.into()), "{failed:?}");
}

#[test]
fn a_fault_while_a_name_is_taken_does_not_replace_it() {
    with_each_fault(
        |keys| match keys.create(name("key"), &value("another")) {
            Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => panic!("it was replaced"),
        },
        |keys, _| assert_eq!(read(keys, "key").unwrap(), TEXT),
    );
}

#[test]
fn a_read_has_the_whole_text_or_fails() {
    let failed = with_each_fault(
        |keys| read(keys, "key"),
        |keys, result| {
            if let Ok(text) = result {
                assert_eq!(text, TEXT);
            }
            assert_eq!(read(keys, "key").unwrap(), TEXT);
        },
    );
    let all = [Call::Stat, Call::OpenFile, Call::StatOpen, Call::Read];
    assert!(failed.is_superset(&all.into()), "{failed:?}");
}

/// A key that is missing is told as missing, or as a fault: it is never found.
#[test]
fn a_fault_makes_no_missing_key_and_finds_none() {
    with_each_fault(
        |keys| match read(keys, "missing") {
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => panic!("it was found"),
        },
        |_, _| {},
    );
}

#[test]
fn a_delete_removes_the_whole_key_or_nothing() {
    let failed = with_each_fault(
        |keys| keys.delete(name("key")),
        |keys, result| {
            let again = keys.delete(name("key"));
            match (result, again) {
                (Ok(()), Err(Error::NotFound { .. })) => {}
                (Err(_), Ok(()) | Err(Error::NotFound { .. })) => {}
                outcome => panic!("{outcome:?}"),
            }
        },
    );
    let all = [Call::Stat, Call::Unlink, Call::SyncFolder];
    assert!(failed.is_superset(&all.into()), "{failed:?}");
}

#[test]
fn a_listing_is_complete_or_fails() {
    let list = |keys: &Folder| keys.list(&ListPattern::ALL, Limit::names(9)).map(|page| page.names);
    let all = ["kept", "key"].into_iter().collect();
    let failed = with_each_fault(list, |keys, result| {
        assert!(result.as_ref().is_ok_and(|names| *names == all) || result.is_err());
        assert!(list(keys).unwrap() == all);
        // A link is a key if it leads to a file.
        symlink(KEPT, keys.path.join("link")).unwrap();
        faults::fail(3, 1, Errno::IO);
        let linked = list(keys);
        let is_met = faults::end().get(3) == Some(&Call::Stat);
        assert!(is_met && matches!(linked, Err(Error::Unavailable { .. })), "{linked:?}");
    });
    let all = [Call::Stat, Call::OpenFolder, Call::ReadFolder];
    assert!(failed.is_superset(&all.into()), "{failed:?}");
}

#[test]
fn a_check_tells_what_is_wrong_and_that_it_is_over() {
    with_each_fault(
        |keys| {
            match keys.check() {
                (State::Reachable { .. }, None) => Ok(()),
                (State::Unreachable, Some(cause)) => Err(Away { state: State::Unreachable, cause }),
                (state, cause) => Err(Away { state, cause: cause.unwrap() }),
            }
            .map_err(|away| keys.away(&away))
        },
        |_, _| {},
    );
}

/// What stops a start, and what a start leaves behind.
#[test]
fn a_start_that_fails_leaves_the_keys_as_they_are() {
    for errno in FAULTS {
        for count in COUNTS {
            for after in 0.. {
                let temporary = temporary();
                let path = temporary.path().join("above/keys");
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join(KEPT), TEXT).unwrap();
                faults::fail(after, count, errno);
                let result = try_open(&path, &Demands::default());
                let made = faults::end();
                let Some(call) = made.get(after) else { break };
                let what = format!("{call:?} {errno:?} after {after}, {count} times");
                if let Err(error) = result {
                    assert!(
                        error.to_string().contains(&io::Error::from(errno).to_string()),
                        "{what}"
                    );
                }
                let again = try_open(&path, &Demands::default()).unwrap();
                assert_sound(&again.folder, &what);
                assert!(again.folder.id().is_some(), "{what}");
            }
        }
    }
}

/// No caller sees that a signal came.
#[test]
fn a_call_that_a_signal_interrupts_is_repeated() {
    type Operation = fn(&Folder) -> bool;
    let operations: [Operation; 6] = [
        |keys| keys.create(name("new"), &value(TEXT)).is_ok(),
        |keys| read(keys, KEPT).is_ok_and(|text| text == TEXT),
        |keys| matches!(keys.read(name("missing")), Err(Error::NotFound { .. })),
        |keys| keys.delete(name("key")).is_ok(),
        |keys| {
            let page = keys.list(&ListPattern::ALL, Limit::names(9)).unwrap();
            page.names == ["kept", "key"].into_iter().collect()
        },
        |keys| matches!(keys.check(), (State::Reachable { .. }, None)),
    ];
    for operation in operations {
        for after in 0.. {
            let temporary = temporary();
            let keys = open(temporary.path());
            for key in [KEPT, "key"] {
                keys.create(name(key), &value(TEXT)).unwrap();
            }
            faults::fail(after, 3, Errno::INTR);
            let is_well = operation(&keys);
            let made = faults::end();
            assert!(is_well, "{after}: {made:?}");
            if made.len() <= after {
                break;
            }
            assert_sound(&keys, "after a signal");
            assert_eq!(unfinished(&keys), 0);
        }
    }
}
