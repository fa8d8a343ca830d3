use std::path::Path;

use super::*;
use crate::file::tests::{add, close, inputs, known, open, settings};
use crate::file::{AuditFile, Settings};

/// Two closed segments and one that is written, of a log, as texts.
fn log(key: Option<u8>) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let key = key.map(crate::file::tests::key);
    let mut file = open(Settings { key, ..settings(folder.path()) });
    add(&mut file, 0..5);
    file.rotate().unwrap();
    add(&mut file, 5..10);
    file.rotate().unwrap();
    add(&mut file, 10..15);
    close(file);
    // All are compressed now or never.
    read(folder.path())
}

fn read(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let ordered = crate::search::in_order(&inputs(folder));
    let read = |input: &Input| {
        let mut bytes = Vec::new();
        let mut lines = input.lines().unwrap();
        while let Some(Read1::Line(line)) = lines.next().unwrap() {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        (input.name(), bytes)
    };
    (1..)
        .zip(&ordered)
        .map(|(number, input)| (format!("segment-{number}"), read(input).1))
        .collect()
}

fn check(files: &[(String, Vec<u8>)], known: &Known) -> Report {
    let inputs: Vec<_> =
        files.iter().map(|(name, bytes)| Input::Bytes(name.clone(), bytes.clone())).collect();
    verify(&inputs, known)
}

/// Changes the lines of a file.
fn lines(bytes: &mut Vec<u8>, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    *bytes = lines.concat();
}

/// Tells a figure to `python3 .ci/assure`.
fn figure(name: &str, value: usize) {
    println!("figure: {name} = {value}");
}

/// A finding at a place.
#[track_caller]
fn assert_found(report: &Report, file: &str, line: Option<u64>, text: &str) {
    let is = |finding: &Finding| {
        finding.file == file && finding.line == line && finding.text.contains(text)
    };
    assert!(report.findings.iter().any(is), "{file} {line:?} {text}: {:#?}", report.findings);
}

type Tampering = fn(&mut Vec<(String, Vec<u8>)>);

#[test]
fn every_kind_of_tampering_is_found_and_its_place_is_told() {
    let kinds: [(&str, Tampering, &str, Option<u64>, &str); 15] = [
        (
            "an edited line",
            |files| {
                lines(&mut files[1].1, |lines| {
                    let text = String::from_utf8(lines[2].clone()).unwrap();
                    lines[2] = text.replace("\"status\":200", "\"status\":403").into_bytes();
                })
            },
            "segment-2",
            Some(3),
            "was edited, or its hash was",
        ),
        (
            "an edited last line",
            |files| {
                lines(&mut files[2].1, |lines| {
                    let last = lines.len() - 1;
                    let text = String::from_utf8(lines[last].clone()).unwrap();
                    lines[last] = text.replace("stop", "stay").into_bytes();
                })
            },
            "segment-3",
            Some(7),
            "was edited, or its hash was",
        ),
        (
            "a dropped line",
            |files| lines(&mut files[1].1, |lines| drop(lines.remove(2))),
            "segment-2",
            Some(3),
            "of the chain is missing before this one: it was removed, or moved",
        ),
        (
            "several dropped lines",
            |files| lines(&mut files[1].1, |lines| drop(lines.drain(2..4))),
            "segment-2",
            Some(3),
            "of the chain are missing before this one",
        ),
        (
            "swapped lines",
            |files| lines(&mut files[1].1, |lines| lines.swap(2, 3)),
            "segment-2",
            Some(4),
            "it was moved, repeated or added",
        ),
        (
            "a repeated line",
            |files| {
                lines(&mut files[1].1, |lines| {
                    let line = lines[2].clone();
                    lines.insert(3, line);
                })
            },
            "segment-2",
            Some(4),
            "it was moved, repeated or added",
        ),
        (
            "another text",
            |files| lines(&mut files[1].1, |lines| lines.insert(3, b"nothing happened\n".to_vec())),
            "segment-2",
            Some(4),
            "is no line of an audit file",
        ),
        (
            "a line after the end",
            |files| {
                let line =
                    files[2].1.split_inclusive(|byte| *byte == b'\n').nth(1).unwrap().to_vec();
                files[1].1.extend_from_slice(&line);
            },
            "segment-2",
            Some(8),
            "stands after the last line of its segment",
        ),
        (
            "a cut closed file",
            |files| lines(&mut files[1].1, |lines| lines.truncate(4)),
            "segment-3",
            Some(1),
            "are missing: the end of 'segment-2' was cut off",
        ),
        (
            "a removed file",
            |files| drop(files.remove(1)),
            "segment-3",
            Some(1),
            "segment 2 is missing before this one, with 7 lines",
        ),
        (
            "a file without its first line",
            |files| lines(&mut files[1].1, |lines| drop(lines.remove(0))),
            "segment-2",
            Some(1),
            "is not the first line of a segment",
        ),
        ("an empty file", |files| files[1].1.clear(), "segment-2", None, "has no whole line"),
        (
            "a file of another log",
            |files| files[1] = ("segment-2".to_owned(), log(Some(7))[1].1.clone()),
            "segment-2",
            Some(1),
            "is a segment of another log",
        ),
        (
            "an edited first line",
            |files| {
                lines(&mut files[1].1, |lines| {
                    let text = String::from_utf8(lines[0].clone()).unwrap();
                    lines[0] = text
                        .replace("\"begin\":\"rotated\"", "\"begin\":\"other key\"")
                        .into_bytes();
                })
            },
            "segment-2",
            Some(1),
            "was edited or forged: its hash is wrong",
        ),
        (
            "a chain of another key",
            |files| files[1] = ("segment-2".to_owned(), log(Some(8))[1].1.clone()),
            "segment-2",
            None,
            "cannot be checked: its key is",
        ),
    ];
    let own = log(Some(7));
    let report = check(&own, &known(&[7]));
    assert!(report.is_good() && report.notes.is_empty(), "{report:#?}");
    assert_eq!((report.segments, report.lines, report.first, report.last), (3, 22, 1, 22));
    figure("kinds of tampering", kinds.len());
    let mut found = 0;
    for (kind, tamper, file, line, text) in kinds {
        let mut files = own.clone();
        tamper(&mut files);
        let report = check(&files, &known(&[7]));
        assert!(!report.is_good(), "{kind}");
        assert_found(&report, file, line, text);
        found += 1;
    }
    figure("kinds of tampering found", found);
}

/// Whichever bit of whichever byte is changed.
#[test]
fn no_byte_can_be_changed() {
    let own = log(Some(7));
    let mut random = fastrand::Rng::with_seed(2);
    figure("changed bytes", own.iter().map(|(_, bytes)| bytes.len()).sum());
    let mut found = 0;
    for (file, (_, bytes)) in own.iter().enumerate() {
        for at in 0..bytes.len() {
            let mut files = own.clone();
            files[file].1[at] ^= 1 << random.u8(0..8);
            assert!(!check(&files, &known(&[7])).is_good(), "segment {file}, byte {at}");
            found += 1;
        }
    }
    figure("changed bytes found", found);
}

/// The order of the inputs does not matter; the names of files do.
#[test]
fn files_are_put_in_order_and_renamed_ones_are_told() {
    let mut own = log(Some(7));
    own.reverse();
    assert!(check(&own, &known(&[7])).is_good());
    let folder = tempfile::tempdir().unwrap();
    let path = |number| folder.path().join(format!("audit.jsonl.0000000{number}"));
    std::fs::write(path(1), &own[1].1).unwrap();
    std::fs::write(path(2), &own[2].1).unwrap();
    std::fs::write(folder.path().join("audit.jsonl"), &own[0].1).unwrap();
    let report = crate::file::tests::checked(folder.path());
    let name = path(1).display().to_string();
    assert_found(&report, &name, None, "holds segment 2, and its name is that of segment 1");
}

#[test]
fn a_compressed_file_that_is_damaged_is_told() {
    use std::io::Write as _;
    let own = log(Some(7));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&own[1].1).unwrap();
    let packed = encoder.finish().unwrap();
    let with = |packed: Vec<u8>| {
        let mut files = own.clone();
        files[1].1 = packed;
        check(&files, &known(&[7]))
    };
    assert!(with(packed.clone()).is_good());
    let mut damaged = packed.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    let report = with(damaged);
    assert!(
        report.findings.iter().any(|finding| finding.text.contains("the file was damaged or cut")),
        "{report:#?}"
    );
    assert!(!with(packed[..packed.len() / 2].to_vec()).is_good());
}

/// The newest lines leave no trace in what remains, but heads elsewhere know them.
#[test]
fn a_cut_end_is_found_by_a_kept_head_or_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut file: AuditFile = open(settings(folder.path()));
    add(&mut file, 0..5);
    let early = file.head();
    add(&mut file, 5..10);
    file.checkpoint().unwrap();
    let late = file.head();
    drop(file);
    let note = std::fs::read_to_string(folder.path().join("audit.jsonl.checkpoint")).unwrap();
    let mut files = read(folder.path());
    let heads = |heads: &[LoggedHead]| Known { heads: heads.to_vec(), ..known(&[7]) };
    let noted = |note: &str| Known {
        checkpoints: vec![("note".to_owned(), note.to_owned())],
        ..known(&[7])
    };
    for known in [heads(&[early, late]), noted(&note)] {
        let report = check(&files, &known);
        assert!(report.is_good() && report.notes.is_empty(), "{report:#?}");
        assert_eq!(report.vouched, late.size);
    }
    lines(&mut files[0].1, |lines| lines.truncate(8));
    assert!(check(&files, &heads(&[early])).is_good());
    let cut = "ends with line 8, and a kept head knows line 12: lines 9 to 12 were cut off";
    assert_found(&check(&files, &heads(&[early, late])), "segment-1", None, cut);
    let cut = "the checkpoint 'note' knows line 12";
    assert_found(&check(&files, &noted(&note)), "segment-1", None, cut);
    let report = check(&files, &noted(&note.replace("\n12\n", "\n11\n")));
    assert_found(&report, "note", None, "its signature is wrong");
    // Of another log.
    let report = check(&log(Some(7)), &noted(&note));
    assert_found(&report, "note", None, "this checkpoint is of another log");
}

/// Whoever has no key can take the signature of a checkpoint away, and put another one in its place.
#[test]
fn a_checkpoint_without_the_signature_of_the_key_vouches_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut file: AuditFile = open(settings(folder.path()));
    add(&mut file, 0..5);
    file.checkpoint().unwrap();
    drop(file);
    let note = std::fs::read_to_string(folder.path().join("audit.jsonl.checkpoint")).unwrap();
    let (text, _) = note.split_once("\n\n").unwrap();
    for (signature, told) in [
        ("", "this checkpoint is not signed"),
        ("— x AAAAAAAA\n", "cannot be checked with the given keys"),
    ] {
        let checkpoints = vec![("note".to_owned(), format!("{text}\n\n{signature}"))];
        let report = check(&read(folder.path()), &Known { checkpoints, ..known(&[7]) });
        assert_eq!(report.vouched, 0);
        assert_found(&report, "note", None, told);
    }
}

/// A segment that is there twice has to be the same in each byte.
#[test]
fn a_twin_with_an_edited_line_is_found() {
    let mut files = log(Some(7));
    let twin = files[1].1.clone();
    files.insert(2, ("twin".to_owned(), twin));
    let report = check(&files, &known(&[7]));
    assert!(report.is_good() && report.notes[0].text.contains("once more"), "{report:#?}");
    lines(&mut files[2].1, |lines| {
        let text = String::from_utf8(lines[3].clone()).unwrap();
        lines[3] = text.replace("\"status\":200", "\"status\":403").into_bytes();
    });
    let told = "is another segment 2 than 'segment-2', from this line on";
    assert_found(&check(&files, &known(&[7])), "twin", Some(4), told);
    lines(&mut files[2].1, |lines| lines.truncate(3));
    assert_found(&check(&files, &known(&[7])), "twin", Some(4), told);
}

/// The names of files are listed before they are read, and a server goes on meanwhile.
#[test]
fn a_log_that_rotates_after_its_files_were_listed_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let mut file: AuditFile = open(settings(folder.path()));
    let mut listed = Vec::new();
    for number in 0..8 {
        add(&mut file, [number]);
        if number == 3 {
            listed = inputs(folder.path());
        }
        file.rotate().unwrap();
    }
    close(file);
    // The newest closed one was not compressed when it was listed.
    let closed = |number| folder.path().join(format!("audit.jsonl.0000000{number}"));
    listed.retain(|input| !input.name().contains("00000003"));
    listed.push(Input::File(closed(3)));
    close(open(settings(folder.path())));
    assert!(!closed(3).exists());
    let report = verify(&listed, &known(&[7]));
    assert!(report.is_good() && report.notes.is_empty(), "{report:#?}");
    assert_eq!(report.segments, 9);
    let found = crate::search::in_order(&listed);
    assert_eq!(found.len(), 9);
    // The file that is written is held while its server closes it.
    let held = hold(&listed);
    let mut file = open(settings(folder.path()));
    add(&mut file, [9]);
    file.rotate().unwrap();
    close(file);
    assert!(verify(&held, &known(&[7])).is_good());
}

/// Without a key anybody can make a chain, but not one with a head that is known.
#[test]
fn a_chain_that_was_made_anew_is_found_by_a_kept_head_or_by_the_key() {
    let own = log(None);
    let report = check(&own, &Known::default());
    assert!(report.is_good() && !report.keyed);
    let text = |number: usize| String::from_utf8(own[number].1.clone()).unwrap();
    let last = text(2);
    let seal = last.trim_end().rsplit('"').nth(1).unwrap();
    let head = format!("22:{seal}").parse().unwrap();
    // Edits a line, and makes all that follows anew.
    let mut files = own.clone();
    let mut forged = Head::NONE;
    for (_, bytes) in &mut files {
        let mut anew = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let sealed = crate::chain::Sealed::of_line(line).unwrap();
            let mut text = String::from_utf8(sealed.text.to_vec())
                .unwrap()
                .replace("\"status\":200", "\"status\":404");
            if text.contains("\"kind\":\"segment\"") {
                let (before, after) = text.split_once("\"previous\":\"").unwrap();
                text = format!("{before}\"previous\":\"{forged}{}", after.split_at(44).1);
            }
            forged = forged.after(text.as_bytes(), None);
            anew.extend_from_slice(format!("{text},\"hash\":\"{forged}\"}}\n").as_bytes());
        }
        *bytes = anew;
    }
    assert!(check(&files, &Known::default()).is_good(), "that is what no key means");
    let report = check(&files, &Known { heads: vec![head], ..Known::default() });
    let told =
        "is not the line that a kept head knows: the chain was made anew at this line or before it";
    assert_found(&report, "segment-3", Some(7), told);
    let report = check(&files, &known(&[7]));
    assert_found(
        &report,
        "segment-1",
        Some(1),
        "the chain of this segment has no key, though a key is given",
    );
}

#[test]
fn a_torn_end_is_told_from_a_damaged_one() {
    let own = log(Some(7));
    let with_end = |end: &[u8]| {
        let mut files = own.clone();
        files[2].1.extend_from_slice(end);
        check(&files, &known(&[7]))
    };
    for end in ["{", "{\"seq\":23,", "{\"seq\":23,\"time\":\"20"] {
        let report = with_end(end.as_bytes());
        assert!(report.is_good(), "{report:#?}");
        assert!(
            report.notes[0].text.contains("the file ends within line 23"),
            "{:?}",
            report.notes
        );
    }
    for end in ["x", "{\"seq\":24,\"t", "{\"seq\":23,x", "nothing"] {
        assert_found(
            &with_end(end.as_bytes()),
            "segment-3",
            Some(8),
            "nor the start of the next one",
        );
    }
}

#[test]
fn nothing_is_no_proof() {
    assert!(!verify(&[], &Known::default()).is_good());
    assert!(!verify(&[Input::File("/does/not/exist".into())], &Known::default()).is_good());
}
