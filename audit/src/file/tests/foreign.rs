//! What somebody writes at the end of a file while no server runs.

use super::*;

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Starts a server on a file that was changed, and checks that it says so, that `verify` tells the
/// place, and that no more than the sealed records are found.
#[track_caller]
fn assert_told(folder: &Path, line: u64, expected: &[u64]) {
    let mut file = open(settings(folder));
    let told = file.problems().concat();
    assert!(told.contains("were not written by a server"), "{told:?}");
    add(&mut file, [100]);
    close(file);
    let report = checked(folder);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert_eq!(report.findings[0].line, Some(line), "{report:#?}");
    assert!(report.findings[0].text.contains("were not written by a server"), "{report:#?}");
    assert_eq!(report.notes, []);
    let mut found = Vec::new();
    for input in inputs(folder) {
        let all = crate::search::Search::default();
        crate::search::search::<io::Error>(&input, &all, |_, entry| {
            found.extend(entry.request);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(found, [expected, &[100]].concat());
}

/// A whole line of JSON without a seal, or several, is no line that was not written whole.
#[test]
fn a_line_without_a_seal_is_no_torn_one() {
    for end in ["", "\n", "\n{\"seq\":6,\"ti"] {
        let folder = folder();
        let mut file = open(settings(folder.path()));
        add(&mut file, 0..2);
        close(file);
        let line = r#"{"seq":6,"time":"2026-11-27T22:00:00.000000Z","kind":"request","request":7}"#;
        append(&settings(folder.path()).path, &format!("{line}{end}"));
        assert_told(folder.path(), 6, &[0, 1]);
    }
}

/// Lines that were there, edited, and without what seals them.
#[test]
fn lines_whose_seals_were_taken_away_are_no_torn_ones() {
    for lines in 1..4 {
        let folder = folder();
        let path = settings(folder.path()).path;
        let mut file = open(settings(folder.path()));
        add(&mut file, 0..2);
        file.checkpoint().unwrap();
        add(&mut file, 2..2 + lines);
        kill(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let unsealed = |(number, line): (usize, &str)| match line.split_once(",\"mac\"") {
            Some((start, _)) if number >= 4 => format!("{start}}}\n").replace("my-key", "other"),
            _ => format!("{line}\n"),
        };
        std::fs::write(&path, text.lines().enumerate().map(unsealed).collect::<String>()).unwrap();
        assert_told(folder.path(), 5, &[0, 1]);
    }
}

/// What was found at a start cannot be taken away or exchanged later.
#[test]
fn what_a_line_tells_of_has_to_be_there() {
    let folder = folder();
    let path = settings(folder.path()).path;
    let mut file = open(settings(folder.path()));
    add(&mut file, 0..2);
    close(file);
    append(&path, "{\"seq\":6,\"time\":\"20");
    close(open(settings(folder.path())));
    let report = checked(folder.path());
    assert_good(&report);
    assert!(report.notes[0].text.contains("19 bytes of a line that was not written whole"));
    let whole = std::fs::read_to_string(&path).unwrap();
    for (other, told) in [
        ("", "that it tells of are not there"),
        ("{\"seq\":6,\"time\":\"19\n", "is no line of an audit file"),
    ] {
        std::fs::write(&path, whole.replace("{\"seq\":6,\"time\":\"20\n", other)).unwrap();
        let report = checked(folder.path());
        assert!(report.findings[0].text.contains(told), "{report:#?}");
    }
}

/// The bytes are hashed as they are read, so that a file that inflates to many is no trouble. In a
/// process of its own, whose memory nothing else takes.
#[test]
fn what_is_no_line_is_not_kept_in_memory() {
    use std::io::Write as _;
    const NAME: &str = "file::tests::foreign::what_is_no_line_is_not_kept_in_memory";
    const IS_CHILD: &str = "KES_TEST_MEMORY_OF_JUNK";
    if std::env::var_os(IS_CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let args = ["--exact", NAME, "--test-threads", "1"];
        let child = std::process::Command::new(program).args(args).env(IS_CHILD, "1").output();
        let output = child.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let folder = folder();
    let mut file = open(settings(folder.path()));
    add(&mut file, 0..2);
    close(file);
    let packed = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let mut all = packed(&std::fs::read(settings(folder.path()).path).unwrap());
    let line = [vec![b'x'; 1024 * 1024 - 1], vec![b'\n']].concat();
    all.extend(packed(&line).repeat(256));
    let report = verify(&[Input::Bytes("a".to_owned(), all)], &known(&[7]));
    assert!(report.findings[0].text.contains("256 lines from here on"), "{report:#?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 128 * 1024, "{peak} KiB");
}
