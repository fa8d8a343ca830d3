use super::*;
use crate::context::{ContextMode, Contexts};
use crate::file::Settings;
use crate::file::tests::{close, inputs, open, request, settings};
use crate::record::{Request, Role};

fn found(folder: &std::path::Path, wanted: &Search) -> Vec<u64> {
    let mut numbers = Vec::new();
    for input in in_order(&inputs(folder)) {
        search::<io::Error>(&input, wanted, |_, entry| {
            numbers.extend(entry.request);
            Ok(())
        })
        .unwrap();
    }
    numbers
}

/// What a search in a folder could not compare.
fn missed(folder: &std::path::Path, wanted: &Search) -> Missed {
    let mut all = Missed::default();
    for input in in_order(&inputs(folder)) {
        let missed = search::<io::Error>(&input, wanted, |_, _| Ok(())).unwrap();
        all.unsealed += missed.unsealed;
        all.hashed += missed.hashed;
        all.left_out += missed.left_out;
    }
    all
}

fn pattern(text: &str) -> Option<Pattern> {
    text.parse().ok()
}

#[test]
fn lines_are_found_by_what_they_tell() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(settings(folder.path()));
    let who = Identity::of_public_key(b"who");
    let one = Contexts::of([&br#"{"photos":"photos/2026/cat.jpg"}"#[..]]);
    let two = Contexts::of([&br#"{"b":"b/o"}"#[..], br#"{"photos":"photos/dog.jpg"}"#]);
    file.add(&Request { identity: Some(who), contexts: one.packed(), ..request(1) });
    file.add(&Request { contexts: two.packed(), role: Role::Admin, ..request(2) });
    file.add(&Request {
        key: Some("other"),
        answer: Some((403, std::time::Duration::ZERO)),
        ..request(3)
    });
    file.commit(false).unwrap();
    file.rotate().unwrap();
    file.add(&Request { operation: Some("GenerateKey"), ..request(4) });
    file.commit(false).unwrap();
    close(file);
    let all = Search::default;
    for (wanted, expected) in [
        (all(), vec![1, 2, 3, 4]),
        (Search { identity: Some(who), ..all() }, vec![1]),
        (Search { key: pattern("other"), ..all() }, vec![3]),
        (Search { key: pattern("my-*"), ..all() }, vec![1, 2, 4]),
        (Search { policy: Some("minio".to_owned()), ..all() }, vec![1, 3, 4]),
        (Search { policy: Some("MINIO".to_owned()), ..all() }, vec![]),
        (Search { operation: Some("generatekey".to_owned()), ..all() }, vec![4]),
        (Search { bucket: pattern("photos"), ..all() }, vec![1, 2]),
        (Search { bucket: pattern("photos"), object: pattern("dog.jpg"), ..all() }, vec![2]),
        (Search { bucket: pattern("b"), object: pattern("dog.jpg"), ..all() }, vec![]),
        (Search { object: pattern("2026/*"), ..all() }, vec![1]),
        (Search { status: "403".parse().ok(), ..all() }, vec![3]),
        (Search { status: "2xx".parse().ok(), ..all() }, vec![1, 2, 4]),
        (
            Search { since: Some(Timestamp::parse("2020-01-01T00:00:00Z").unwrap()), ..all() },
            vec![1, 2, 3, 4],
        ),
        (
            Search { until: Some(Timestamp::parse("2020-01-01T00:00:00Z").unwrap()), ..all() },
            vec![],
        ),
    ] {
        assert_eq!(found(folder.path(), &wanted), expected);
    }
    for text in ["", "6xx", "99", "4x", "600"] {
        assert!(text.parse::<Status>().is_err(), "{text}");
    }
}

#[test]
fn a_hashed_name_is_found_with_the_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(Settings { context: ContextMode::Hash, ..settings(folder.path()) });
    let one = Contexts::of([&br#"{"photos":"photos/cat.jpg"}"#[..]]);
    file.add(&Request { contexts: one.packed(), ..request(1) });
    file.commit(false).unwrap();
    close(file);
    let wanted = |key: &[u8], object: Option<&str>| Search {
        bucket: pattern("photos"),
        object: object.and_then(pattern),
        hashed_with: key.iter().map(|byte| AuditKey::of_bytes(&[*byte; 32]).unwrap()).collect(),
        ..Search::default()
    };
    assert_eq!(found(folder.path(), &wanted(&[7], None)), [1]);
    assert_eq!(found(folder.path(), &wanted(&[8, 7], Some("cat.jpg"))), [1]);
    assert_eq!(found(folder.path(), &wanted(&[7], Some("dog.jpg"))), [0; 0]);
    assert_eq!(found(folder.path(), &wanted(&[8], None)), [0; 0]);
    assert_eq!(found(folder.path(), &wanted(&[], None)), [0; 0]);
    // What cannot be compared is told, and what was compared is not.
    let part = |bucket: &str, object: &str| Search {
        bucket: pattern(bucket).filter(|_| !bucket.is_empty()),
        object: pattern(object),
        ..wanted(&[7], None)
    };
    for (wanted, hashed) in [
        (wanted(&[7], Some("dog.jpg")), 0),
        (wanted(&[], None), 1),
        (wanted(&[8], None), 1),
        (part("", "cat.jpg"), 1),
        (part("pho*", "cat.jpg"), 1),
        (part("photos", "cat*"), 1),
        (Search { status: "403".parse().ok(), ..wanted(&[], None) }, 0),
    ] {
        assert_eq!(missed(folder.path(), &wanted), Missed { hashed, ..Missed::default() });
    }
}

/// `MinIO` adds its entry to those that a client chooses, in the order of their names.
#[test]
fn an_object_is_found_whatever_else_a_client_has_put_into_the_context() {
    let folder = tempfile::tempdir().unwrap();
    let others = [
        r#""department":"hr""#.to_owned(),
        format!(r#""a":"{}""#, "x".repeat(600)),
        format!(r#""{}":"x""#, "a".repeat(600)),
        // As if it were the object.
        r#""b":"b/forged""#.to_owned(),
        (0..700).map(|number| format!(r#""a{number}":"a{number}""#)).collect::<Vec<_>>().join(","),
    ];
    for mode in [ContextMode::On, ContextMode::Hash] {
        let mut file = open(Settings { context: mode, ..settings(folder.path()) });
        for (number, other) in (1..).zip(&others) {
            let context = format!(r#"{{{other},"photos":"photos/2026/cat.jpg","z":"y"}}"#);
            let contexts = Contexts::of([context.as_bytes()]);
            file.add(&Request { contexts: contexts.packed(), ..request(number) });
        }
        file.commit(false).unwrap();
        close(file);
    }
    let wanted = Search {
        bucket: pattern("photos"),
        object: pattern("2026/cat.jpg"),
        hashed_with: vec![AuditKey::of_bytes(&[7; 32]).unwrap()],
        ..Search::default()
    };
    assert_eq!(found(folder.path(), &wanted), [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
    assert_eq!(missed(folder.path(), &wanted), Missed::default());
}

/// A record that does not tell all of its objects is one that a search may have missed.
#[test]
fn objects_that_a_record_does_not_tell_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(settings(folder.path()));
    let entry = |number: usize| format!(r#""a{number:04}":"a{number:04}""#);
    let entries: Vec<_> = (0..1001).map(entry).collect();
    let context = format!("{{{}}}", entries.join(","));
    file.add(&Request { contexts: Contexts::of([context.as_bytes()]).packed(), ..request(1) });
    file.commit(false).unwrap();
    close(file);
    let wanted = |bucket| Search { bucket: pattern(bucket), ..Search::default() };
    assert_eq!(found(folder.path(), &wanted("a0999")), [1]);
    assert_eq!(found(folder.path(), &wanted("a1000")), [0; 0]);
    assert_eq!(missed(folder.path(), &wanted("a1000")).left_out, 1);
}
