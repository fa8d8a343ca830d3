use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::reader::Input;
use crate::record::{Kind, Role};
use crate::verify::{Known, Report, verify};

mod foreign;

pub(crate) fn key(byte: u8) -> Arc<AuditKey> {
    Arc::new(AuditKey::of_bytes(&[byte; 32]).unwrap())
}

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("audit.jsonl"),
        key: Some(key(7)),
        max_size: u64::MAX,
        max_age: Duration::MAX,
        keep: None,
        keep_for: None,
        context: ContextMode::On,
        version: "0.0.0",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as the function that it is for")]
pub(crate) fn open(settings: Settings) -> AuditFile {
    // The compression of the one before may still go on.
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match AuditFile::open(settings.clone()).unwrap() {
            Some(file) => return file,
            None => assert!(std::time::Instant::now() < until, "somebody else has it"),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Ends as a server that stops, once all is compressed.
pub(crate) fn close(mut file: AuditFile) {
    file.compression.wait();
    file.close().unwrap();
}

/// Ends as a server that is killed.
fn kill(mut file: AuditFile) {
    file.compression.wait();
}

pub(crate) fn request(number: u64) -> Request<'static> {
    Request {
        kind: Kind::Request,
        time: SystemTime::now(),
        number: Some(number),
        operation: Some("DecryptKey"),
        target: None,
        identity: None,
        role: Role::Policy("minio"),
        address: None,
        key: Some("my-key"),
        name: None,
        answer: Some((200, Duration::from_micros(50))),
        message: None,
        reason: None,
        contexts: &[],
    }
}

pub(crate) fn add(file: &mut AuditFile, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        file.add(&request(number));
    }
    file.commit(false).unwrap();
}

/// All segments of a file, as `audit.jsonl*` matches them.
pub(crate) fn inputs(folder: &Path) -> Vec<Input> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("audit.jsonl") && !name.ends_with(".checkpoint")
        })
        .collect();
    paths.sort();
    paths.into_iter().map(Input::File).collect()
}

pub(crate) fn known(keys: &[u8]) -> Known {
    let keys = keys.iter().map(|byte| AuditKey::of_bytes(&[*byte; 32]).unwrap()).collect();
    Known { keys, ..Known::default() }
}

pub(crate) fn checked(folder: &Path) -> Report {
    verify(&inputs(folder), &known(&[7]))
}

#[track_caller]
fn assert_good(report: &Report) {
    assert!(report.is_good(), "{:#?}", report.findings);
}

fn text(folder: &Path) -> String {
    let input = |input: &Input| {
        let mut text = String::new();
        let mut lines = input.lines().unwrap();
        while let Some(line) = lines.next().unwrap() {
            let (crate::reader::Read1::Line(line) | crate::reader::Read1::Partial(line)) = line;
            text.push_str(std::str::from_utf8(line).unwrap());
            text.push('\n');
        }
        text
    };
    crate::search::in_order(&inputs(folder)).iter().map(input).collect()
}

/// The numbers of the requests that are recorded, in their order.
fn recorded(folder: &Path) -> Vec<u64> {
    let numbers = |line: &str| {
        let entry: crate::entry::Entry<'_> = serde_json::from_str(line).ok()?;
        entry.request
    };
    text(folder).lines().filter_map(numbers).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_chain_goes_on_over_restarts_and_segments() {
    let folder = folder();
    let path = folder.path();
    let small = || Settings { max_size: 4096, ..settings(path) };
    let mut heads = Vec::new();
    for run in 0..5 {
        let mut file = open(small());
        for batch in 0..20 {
            add(&mut file, [run * 20 + batch]);
            heads.push(file.head());
            file.rotate_if_due().unwrap();
        }
        assert_eq!(file.problems(), [""; 0]);
        // Some servers are killed.
        if run % 2 == 0 { close(file) } else { kill(file) }
    }
    let report = verify(&inputs(path), &Known { heads, ..known(&[7]) });
    assert_good(&report);
    assert!(report.keyed && report.segments > 5, "{report:?}");
    assert_eq!(report.notes, [], "nothing unusual");
    assert_eq!(recorded(path), (0..100).collect::<Vec<_>>());
    assert_eq!(report.lines, report.last);
    assert!(report.vouched > report.last - 3);
    let mode = std::fs::metadata(settings(path).path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn closed_segments_are_compressed() {
    let folder = folder();
    let mut file = open(settings(folder.path()));
    for number in 0..3 {
        add(&mut file, [number]);
        file.rotate().unwrap();
    }
    close(file);
    // The last one may have come too late for the run before.
    let file = open(settings(folder.path()));
    close(file);
    let names: Vec<String> = inputs(folder.path()).iter().map(Input::name).collect();
    let compressed = names.iter().filter(|name| name.ends_with(".gz")).count();
    assert_eq!((names.len(), compressed), (4, 3), "{names:?}");
    assert_good(&checked(folder.path()));
    assert_eq!(recorded(folder.path()), [0, 1, 2]);
}

/// A server that is killed may leave any part of what it has written last.
#[test]
fn what_is_left_of_a_line_is_told_and_never_removed() {
    let whole = folder();
    let mut file = open(settings(whole.path()));
    add(&mut file, 0..3);
    let size = file.size;
    add(&mut file, 3..5);
    drop(file);
    let bytes = std::fs::read(settings(whole.path()).path).unwrap();
    for end in usize::try_from(size).unwrap()..=bytes.len() {
        let folder = folder();
        std::fs::write(settings(folder.path()).path, &bytes[..end]).unwrap();
        std::fs::set_permissions(
            settings(folder.path()).path,
            std::fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        assert_good(&checked(folder.path()));
        let mut file = open(settings(folder.path()));
        add(&mut file, 10..12);
        drop(file);
        let report = checked(folder.path());
        assert_good(&report);
        let now = std::fs::read(settings(folder.path()).path).unwrap();
        assert_eq!(now[..end], bytes[..end], "nothing is removed");
        let kept = recorded(folder.path());
        let lines =
            bytes[..end].split(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\"}")).count();
        // The first line and that of the start are no requests.
        let expected: Vec<u64> = (0..u64::try_from(lines).unwrap() - 2).chain(10..12).collect();
        assert_eq!(kept, expected, "{end}");
        let is_torn = !bytes[..end].ends_with(b"\n") && !bytes[..end].ends_with(b"\"}");
        assert_eq!(report.notes.len(), usize::from(is_torn), "{end}: {:?}", report.notes);
        if is_torn {
            assert!(report.notes[0].text.contains("bytes of a line that was not written whole"));
        }
    }
}

/// A full disk may take any part of a batch, again and again.
#[test]
fn what_a_full_disk_has_not_taken_is_forgotten_and_the_chain_goes_on() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..300 {
        let folder = folder();
        let mut file = open(settings(folder.path()));
        let mut expected = Vec::new();
        let mut number = 0;
        for _ in 0..random.usize(1..6) {
            let first = number;
            number += random.u64(1..4);
            (first..number).for_each(|number| file.add(&request(number)));
            let (buffer, ends) = (std::mem::take(&mut file.buffer), std::mem::take(&mut file.ends));
            let own = std::mem::take(&mut file.own);
            let line = ends[random.usize(0..ends.len())].0;
            let at = match random.u8(0..4) {
                0 => line,
                1 => line - 1,
                2 => random.usize(0..3),
                _ => random.usize(0..buffer.len()),
            };
            let at = at.min(buffer.len() - 1);
            assert_eq!(write_all(&file.file, &buffer[..at]).0, at);
            file.size += at as u64;
            let written = file.cut(&buffer, &ends, at).saturating_sub(own);
            expected.extend(first..first + written as u64);
        }
        file.add_gap(Gap { records: 2, changes: 1 }, "no space left");
        file.commit(true).unwrap();
        add(&mut file, [1000]);
        expected.push(1000);
        drop(file);
        let report = checked(folder.path());
        assert_good(&report);
        assert_eq!(recorded(folder.path()), expected, "round {round}");
        let told = |text: &str| report.notes.iter().any(|note| note.text.contains(text));
        assert!(told(
            "the server lost 2 records here, 1 of them about changes of keys: no space left"
        ));
        // What a later server finds is the same.
        drop(open(settings(folder.path())));
        assert_good(&checked(folder.path()));
    }
}

#[test]
fn a_write_that_fails_says_so() {
    let folder = folder();
    let mut file = open(settings(folder.path()));
    let real =
        std::mem::replace(&mut file.file, File::options().write(true).open("/dev/full").unwrap());
    let head = file.head();
    (0..3).for_each(|number| file.add(&request(number)));
    let error = file.commit(false).unwrap_err();
    assert_eq!((error.written, error.reason.kind()), (0, io::ErrorKind::StorageFull));
    assert_eq!(file.head(), head);
    file.file = real;
    add(&mut file, [4]);
    assert_good(&checked(folder.path()));
    assert_eq!(recorded(folder.path()), [4]);
}

/// No line follows the last one of a segment, whatever is in the way of the next one.
#[test]
fn a_segment_that_cannot_be_followed_takes_no_more_lines() {
    let folder = folder();
    let own = settings(folder.path());
    let mut file = open(own.clone());
    file.compression.wait();
    add(&mut file, [0]);
    // Somebody has put a file where the closed one belongs, and a folder where the next one is made.
    std::fs::write(segment::closed(&own.path, 1), "something else").unwrap();
    std::fs::create_dir(segment::beside(&own.path, "new")).unwrap();
    assert!(file.rotate().is_err());
    for _ in 0..2 {
        file.add(&request(1));
        let head = file.head();
        let error = file.commit(false).unwrap_err();
        assert_eq!((error.written, file.head().size), (0, head.size - 1));
    }
    std::fs::remove_dir(segment::beside(&own.path, "new")).unwrap();
    add(&mut file, [2]);
    close(file);
    let bytes = std::fs::read(segment::closed(&own.path, 1)).unwrap();
    assert_eq!(bytes, b"something else");
    std::fs::remove_file(segment::closed(&own.path, 1)).unwrap();
    let report = checked(folder.path());
    assert_good(&report);
    assert_eq!(report.segments, 2, "{report:?}");
    assert_eq!(recorded(folder.path()), [0, 2]);
}

/// A rotation that is cut short leaves the closed file, the next one, or neither in place.
#[test]
fn a_rotation_that_was_cut_short_is_finished() {
    for step in 0..3 {
        let folder = folder();
        let own = settings(folder.path());
        let mut file = open(own.clone());
        add(&mut file, [0]);
        file.rotate().unwrap();
        file.compression.wait();
        drop(file);
        // As it was before the compression.
        let closed = segment::closed(&own.path, 1);
        let compressed = std::fs::read(format!("{}.gz", closed.display())).unwrap();
        let mut plain = Vec::new();
        io::copy(&mut flate2::read::GzDecoder::new(&*compressed), &mut plain).unwrap();
        std::fs::remove_file(format!("{}.gz", closed.display())).unwrap();
        match step {
            // The last line is written.
            0 => std::fs::write(&own.path, &plain).unwrap(),
            // The file is renamed.
            1 => {
                std::fs::remove_file(&own.path).unwrap();
                std::fs::write(&closed, &plain).unwrap();
            }
            // The compressed file is there, and the other one still is.
            _ => {
                std::fs::write(&closed, &plain).unwrap();
                std::fs::write(format!("{}.gz", closed.display()), &compressed).unwrap();
                assert_good(&checked(folder.path()));
            }
        }
        let mut file = open(own);
        add(&mut file, [1]);
        close(file);
        assert_good(&checked(folder.path()));
        assert_eq!(recorded(folder.path()), [0, 1], "{step}");
    }
}

#[test]
fn a_file_that_is_moved_is_not_compressed_before_it_has_its_last_lines() {
    let folder = folder();
    let own = settings(folder.path());
    let mut file = open(own.clone());
    file.compression.wait();
    std::fs::rename(&own.path, own.path.with_extension("jsonl.00000001")).unwrap();
    file.compress();
    file.compression.wait();
    add(&mut file, [0]);
    file.rotate_if_due().unwrap();
    close(file);
    assert_good(&checked(folder.path()));
    assert_eq!(recorded(folder.path()), [0]);
}

#[test]
fn a_file_that_is_moved_or_cut_from_outside_is_left() {
    type Outside = fn(&Path);
    let moved: Outside =
        |path| std::fs::rename(path, path.with_extension("jsonl.00000001")).unwrap();
    let moved_and_made: Outside = |path| {
        std::fs::rename(path, path.with_extension("jsonl.00000001")).unwrap();
        std::fs::write(path, "").unwrap();
    };
    for outside in [moved, moved_and_made] {
        let folder = folder();
        let own = settings(folder.path());
        let mut file = open(own.clone());
        add(&mut file, [0]);
        outside(&own.path);
        add(&mut file, [1]);
        file.rotate_if_due().unwrap();
        assert!(file.problems()[0].contains("was moved, removed or cut by somebody else"));
        add(&mut file, [2]);
        file.rotate_if_due().unwrap();
        close(file);
        let report = checked(folder.path());
        assert_good(&report);
        assert!(report.notes[0].text.contains("was moved or cut"), "{:?}", report.notes);
        assert_eq!(recorded(folder.path()), [0, 1, 2]);
    }
    // What was cut is gone, and that is found.
    let folder = folder();
    let own = settings(folder.path());
    let mut file = open(own.clone());
    add(&mut file, [0, 1]);
    File::options().write(true).open(&own.path).unwrap().set_len(0).unwrap();
    file.rotate_if_due().unwrap();
    add(&mut file, [2]);
    close(file);
    let report = checked(folder.path());
    assert_good(&report);
    assert!(
        report.notes.iter().any(|note| note.text.contains("is segment 2")),
        "{:?}",
        report.notes
    );
    assert_eq!(recorded(folder.path()), [2]);
}

#[test]
fn a_chain_goes_on_under_another_key_or_none() {
    let folder = folder();
    let own = settings(folder.path());
    for own_key in [Some(key(7)), Some(key(8)), None] {
        let mut file = open(Settings { key: own_key, ..own.clone() });
        add(&mut file, [1]);
        assert!(file.reconfigure(&Settings { max_size: 1, ..file.settings.clone() }).is_some());
        assert!(file.reconfigure(&Settings { key: Some(key(9)), ..own.clone() }).is_none());
    }
    let all = inputs(folder.path());
    let report = verify(&all, &known(&[7, 8]));
    assert!(!report.keyed);
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    assert!(report.findings[0].text.contains("the chain of this segment has no key"));
    let report = verify(&all, &known(&[7]));
    let told = format!("cannot be checked: its key is {}", key(8).id());
    assert!(report.findings.iter().any(|finding| finding.text.contains(&told)), "{report:#?}");
}

#[test]
fn old_segments_are_removed_and_each_removal_is_told() {
    let folder = folder();
    let mut file = open(Settings { keep: Some(2), ..settings(folder.path()) });
    for number in 0..5 {
        add(&mut file, [number]);
        file.rotate().unwrap();
        file.compression.wait();
    }
    assert_eq!(inputs(folder.path()).len(), 3);
    let report = checked(folder.path());
    assert_good(&report);
    assert!(text(folder.path()).contains(r#""kind":"removed","segment":3,"#));
    // By age.
    file.settings.keep_for = Some(Duration::ZERO);
    std::thread::sleep(Duration::from_millis(5));
    file.rotate().unwrap();
    assert_eq!(inputs(folder.path()).len(), 1);
    assert_good(&checked(folder.path()));
}

#[test]
fn two_processes_never_write_one_file() {
    let folder = folder();
    let file = open(settings(folder.path()));
    assert!(AuditFile::open(settings(folder.path())).unwrap().is_none());
    AuditFile::check(&settings(folder.path())).unwrap();
    drop(file);
    drop(open(settings(folder.path())));
}

#[test]
fn lines_that_are_gone_at_the_start_are_told() {
    let folder = folder();
    let own = settings(folder.path());
    let mut file = open(own.clone());
    add(&mut file, 0..3);
    let size = file.size;
    add(&mut file, 3..6);
    close(file);
    File::options().write(true).open(&own.path).unwrap().set_len(size).unwrap();
    assert_good(&checked(folder.path()));
    let mut file = open(own.clone());
    let told =
        "lines 6 to 9 are missing: the checkpoint beside it has 9 lines, and the file ends before";
    assert_eq!(file.problems(), [told]);
    close(file);
    let report = checked(folder.path());
    assert!(report.findings[0].text.ends_with(told), "{report:#?}");
    // Without any of its files another log begins.
    for input in inputs(folder.path()) {
        std::fs::remove_file(input.name()).unwrap();
    }
    let mut file = open(own);
    assert!(file.problems()[0].contains("of another log"), "{:?}", file.problems());
}

#[test]
fn a_place_that_others_can_change_is_refused() {
    let folder = folder();
    let own = settings(folder.path());
    let told = |settings: Settings| {
        let error = AuditFile::check(&settings).unwrap_err().to_string();
        assert_eq!(
            AuditFile::open(settings).err().map(|error| error.to_string()),
            Some(error.clone())
        );
        error
    };
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    assert!(
        told(Settings { path: folder.path().join("none/audit.jsonl"), ..own.clone() })
            .contains("No such file")
    );
    std::fs::write(folder.path().join("target"), "").unwrap();
    symlink("target", &own.path).unwrap();
    assert!(told(own.clone()).contains("is a symbolic link"));
    std::fs::remove_file(&own.path).unwrap();
    std::fs::write(&own.path, "a log of something else\n").unwrap();
    mode(&own.path, 0o600);
    assert!(told(own.clone()).contains("is not an audit file of kes"));
    mode(&own.path, 0o620);
    assert!(told(own.clone()).contains("has mode 620, with which others could change it"));
    std::fs::remove_file(&own.path).unwrap();
    mode(folder.path(), 0o777);
    assert!(told(own.clone()).contains("may be written by everybody"));
    mode(folder.path(), 0o1777);
    AuditFile::check(&own).unwrap();
    std::fs::create_dir(&own.path).unwrap();
    assert!(AuditFile::check(&own).is_err());
}

/// What reads logs elsewhere may be in the group of the file.
#[test]
fn the_group_can_go_on_reading() {
    let folder = folder();
    let own = settings(folder.path());
    let mut file = open(own.clone());
    std::fs::set_permissions(&own.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    file.rotate().unwrap();
    close(file);
    for input in inputs(folder.path()) {
        let mode = std::fs::metadata(input.name()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{}", input.name());
    }
}
