use std::path::Path;
use std::time::Instant;

use kes_api::Operation;
use kes_audit::Input;
use kes_audit::file::AuditFile;
use kes_audit::record::Gap;
use kes_audit::verify::{Known, verify};

use super::queue::{Batch, Item};
use super::*;
use crate::observe::logging::receipt::Unwritten;

fn audited(operation: Operation) -> Audited<'static> {
    Audited {
        operation,
        method: "PUT",
        path: "/v1/key/create/k",
        resource: "k",
        ip: None,
        identity: None,
        status: 200,
        is_suspicious: false,
        changed_nothing: false,
        took: Duration::ZERO,
        refusal: None,
        reason: None,
        several: None,
    }
}

fn recorded<'a>(audited: &'a Audited<'a>, contexts: Option<&'a Contexts>) -> Recorded<'a> {
    let (kind, role) = (Kind::Request, Role::Policy("p"));
    Recorded { audited, kind, number: Some(7), role, is_routed: true, contexts }
}

fn target(path: &Path) -> Target {
    let settings = Settings {
        path: path.join("audit.jsonl"),
        key: None,
        max_size: u64::MAX,
        max_age: Duration::MAX,
        keep: None,
        keep_for: None,
        context: ContextMode::On,
        version: "0.0.0",
    };
    Target { path: settings.path.clone().into(), settings }
}

#[test]
fn what_waits_is_told() {
    let queue = Queue::default();
    assert_eq!(queue.queued(), Queued::default());
    let other = audited(Operation::DecryptKey);
    queue.record(&recorded(&other, None), None);
    queue.control(Control::Configure(Box::new(None)));
    queue.record(&recorded(&other, None), None);
    let Queued { records, bytes } = queue.queued();
    assert!(records == 2 && bytes > 100, "{records} {bytes}");
    queue.take(&mut Batch::default(), Instant::now());
    assert_eq!(queue.queued(), Queued::default());
}

/// The records of others cannot take all the room of changes, and the gap is where it is.
#[test]
fn what_waits_is_bounded_and_a_gap_is_counted_where_it_is() {
    let queue = Queue::default();
    let (other, change) = (audited(Operation::DecryptKey), audited(Operation::CreateKey));
    let large = Contexts::of([&[b'x'; 1_000_000][..]]);
    let larger = recorded(&other, Some(&large));
    for _ in 0..20 {
        queue.record(&larger, None);
    }
    let changes = 1000;
    for _ in 0..changes {
        queue.record(&recorded(&change, None), None);
    }
    queue.record(&larger, None);
    let mut batch = Batch::default();
    queue.take(&mut batch, Instant::now());
    let (items, texts) = batch.split();
    let mut told = Vec::new();
    for item in &items {
        match item {
            Item::Write(waiting) => {
                let request = Batch::request(&texts, waiting);
                assert_eq!(
                    (request.key, request.role, request.number),
                    (Some("k"), Role::Policy("p"), Some(7))
                );
                told.push(request.operation.unwrap());
            }
            Item::Gap(Gap { records, changes }) => {
                assert_eq!(*changes, 0);
                told.push(if *records == 12 { "12 lost" } else { "1 lost" });
            }
            Item::Control(_) => panic!("there is none"),
        }
    }
    let expected: Vec<_> = std::iter::repeat_n("DecryptKey", 8)
        .chain(["12 lost"])
        .chain(std::iter::repeat_n("CreateKey", changes))
        .chain(["1 lost"])
        .collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_receipt_is_signed_once_the_record_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let recorder = AuditRecorder::new(Arc::clone(&metrics));
    assert!(!recorder.is_on() && !recorder.wants_contexts());
    let change = audited(Operation::CreateKey);
    recorder.record(&recorded(&change, None));
    recorder.configure(Some(target(folder.path())));
    assert!(recorder.is_on() && recorder.wants_contexts());
    let text = || std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    for number in 1..4 {
        let receipt = recorder.record_with_receipt(&recorded(&change, None));
        assert_eq!(receipt.signed().await, Ok(()));
        assert_eq!(text().matches("\"operation\":\"CreateKey\"").count(), number);
    }
    assert_eq!((metrics.audit_file.records.get(), metrics.audit_file.lost.get()), (3, 0));
    // With nothing to write to, it is lost and counted.
    recorder.configure(None);
    let receipt = recorder.record_with_receipt(&recorded(&change, None));
    assert_eq!(receipt.signed().await, Err(Unwritten::LostByFile));
    assert_eq!((metrics.audit_file.lost.get(), metrics.lost_changes.get()), (1, 1));
    // The next file tells it.
    recorder.configure(Some(target(folder.path())));
    recorder.record(&recorded(&change, None));
    recorder.close();
    assert!(!recorder.is_on());
    assert!(
        text()
            .contains("\"kind\":\"gap\",\"records\":1,\"changes\":1,\"reason\":\"it is not open\""),
        "{}",
        text()
    );
    assert!(text().lines().last().unwrap().contains("\"kind\":\"stop\""));
    let report = verify(&[Input::File(folder.path().join("audit.jsonl"))], &Known::default());
    assert!(report.is_good(), "{:?}", report.findings);
}

/// A process that hands over still has the file: records wait for it, over a reload and a stop.
#[tokio::test]
async fn records_wait_for_a_file_that_another_process_has() {
    let folder = tempfile::tempdir().unwrap();
    let other = AuditFile::open(target(folder.path()).settings).unwrap().unwrap();
    let metrics = Arc::new(Metrics::new());
    let recorder = AuditRecorder::new(Arc::clone(&metrics));
    recorder.configure(Some(target(folder.path())));
    let change = audited(Operation::CreateKey);
    for _ in 0..3 {
        recorder.record(&recorded(&change, None));
        recorder.configure(Some(target(folder.path())));
    }
    let closing = thread::spawn(move || recorder.close());
    // Time for the writer to see all of it. With less the test still passes.
    thread::sleep(Duration::from_millis(300));
    other.close().unwrap();
    closing.join().unwrap();
    assert_eq!((metrics.audit_file.records.get(), metrics.audit_file.lost.get()), (3, 0));
    let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(text.matches("\"operation\":\"CreateKey\"").count(), 3);
    assert!(text.lines().last().unwrap().contains("\"kind\":\"stop\""));
}
