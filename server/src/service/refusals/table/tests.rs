use super::*;

const LIMITS: Limits = Limits { kinds: 20, of_client: 3 };

fn refused(identity: Option<u32>, operation: Operation) -> Audited<'static> {
    Audited {
        operation,
        method: "PUT",
        path: "/v1/key/create/k",
        resource: "k",
        ip: Some(IpAddr::V4(1.into())),
        identity: identity.map(|number| Identity::of_public_key(&number.to_be_bytes())),
        status: 403,
        is_suspicious: false,
        changed_nothing: false,
        took: Duration::ZERO,
        refusal: Some("no"),
        reason: Some("not allowed".to_owned()),
        several: None,
    }
}

fn create(identity: u32) -> Audited<'static> {
    refused(Some(identity), Operation::CreateKey)
}

/// How many stand in each line that is due, with its text.
fn due(table: &mut Table, now: Instant, all: bool) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    for merged in table.due(now, all) {
        merged.tell(|audited| {
            told.push((audited.several.unwrap().count, audited.refusal.unwrap().to_owned()));
        });
    }
    told.sort();
    told
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn many_of_a_kind_become_a_line_that_tells_their_number_and_the_last() {
    let (mut table, start) = (Table::new(LIMITS), Instant::now());
    let before = Timestamp::now();
    let mut by_itself = 0;
    for number in 0..1000 {
        let path = format!("/v1/key/create/k{number}");
        let audited = Audited { path: &path, ..create(1) };
        by_itself += u32::from(!table.is_merged(&audited, start));
    }
    assert_eq!(by_itself, BURST);
    // Another client, operation or status is told.
    assert!(!table.is_merged(&create(2), start));
    assert!(!table.is_merged(&refused(Some(1), Operation::DeleteKey), start));
    assert!(!table.is_merged(&Audited { status: 405, ..create(1) }, start));
    assert!(!table.is_merged(&refused(None, Operation::CreateKey), start));

    assert!(table.due(start + WINDOW / 2, false).is_empty());
    let merged = table.due(start + WINDOW, false);
    assert_eq!(merged.len(), 1);
    for merged in merged {
        merged.tell(|audited| {
            let several = audited.several.unwrap();
            assert_eq!(several.count, 1000 - u64::from(BURST));
            assert!(before <= several.first && several.first <= several.last);
            assert!(several.last <= Timestamp::now());
            let identity = audited.identity.unwrap();
            assert_eq!(identity, Identity::of_public_key(&1_u32.to_be_bytes()));
            assert_eq!((audited.path, audited.status), ("/v1/key/create/k999", 403));
            assert_eq!(
                (audited.refusal, audited.reason.as_deref()),
                (Some("no"), Some("not allowed"))
            );
        });
    }
    assert!(table.due(start + WINDOW * 2, false).is_empty());
}

#[test]
fn a_flood_that_goes_on_is_told_less_often_and_in_full() {
    let (mut table, start) = (Table::new(LIMITS), Instant::now());
    let (mut by_itself, mut merged, mut lines) = (0, 0, 0);
    for second in 0..600 {
        let now = start + seconds(second);
        for _ in 0..50 {
            by_itself += u64::from(!table.is_merged(&create(1), now));
        }
        for (count, _) in due(&mut table, now, false) {
            (merged, lines) = (merged + count, lines + 1);
        }
    }
    for (count, _) in due(&mut table, start, true) {
        (merged, lines) = (merged + count, lines + 1);
    }
    assert_eq!(by_itself + merged, 600 * 50, "each is told");
    assert!(by_itself + lines <= u64::from(BURST) + 2 * 60 + 5, "{by_itself} and {lines} lines");
}

#[test]
fn who_asks_seldom_is_told_one_by_one() {
    let (mut table, start) = (Table::new(LIMITS), Instant::now());
    for number in 0..1000 {
        let now = start + REFILL * number;
        assert!(!table.is_merged(&create(1), now));
        assert!(due(&mut table, now, false).is_empty());
    }
    let later = start + REFILL * (1000 + BURST);
    assert!(due(&mut table, later, false).is_empty());
    assert!(table.kinds.is_empty(), "what is over takes no room");
}

#[test]
fn what_is_merged_is_told_at_the_end() {
    let (mut table, now) = (Table::new(LIMITS), Instant::now());
    while !table.is_merged(&create(1), now) {}
    assert_eq!(due(&mut table, now, true), [(1, "no".to_owned())]);
}

#[test]
fn memory_and_lines_are_bounded_and_every_request_is_counted() {
    let (mut table, now) = (Table::new(LIMITS), Instant::now());
    let mut by_itself = 0;
    let operations = kes_api::route::ROUTES.map(|route| route.operation);
    for operation in operations {
        for _ in 0..100 {
            by_itself += u64::from(!table.is_merged(&refused(Some(0), operation), now));
        }
    }
    // Three kinds, and one for all others of this client.
    assert_eq!(table.kinds.len(), 4);
    assert_eq!(by_itself, 4 * u64::from(BURST));
    for identity in 1..10_000 {
        by_itself += u64::from(!table.is_merged(&create(identity), now));
    }
    assert_eq!(table.kinds.len(), LIMITS.kinds + 1);
    let told = due(&mut table, now + WINDOW, false);
    let count: u64 = told.iter().map(|(count, _)| count).sum();
    assert_eq!(by_itself + count, u64::try_from(operations.len()).unwrap() * 100 + 9_999);
    let texts: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "no",
            "no",
            "no",
            "further requests of this client were not served, the last: no",
            "requests of further clients were not served, the last: no",
        ]
    );
}

#[test]
fn long_texts_take_bounded_memory() {
    let long = "é".repeat(100_000);
    let audited =
        Audited { method: &long, refusal: Some(&long), reason: Some(long.clone()), ..create(1) };
    let kept = Refused::of(&audited);
    assert_eq!(kept.method.len(), MAX_METHOD);
    assert_eq!((kept.message.len(), kept.reason.unwrap().len()), (MAX_TEXT, MAX_TEXT));
}
