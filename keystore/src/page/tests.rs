use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

/// The page of sorted names by the definition of a page.
fn expected(sorted: &[&str], limit: Limit) -> (usize, Option<KeyName>) {
    let json = |count: usize| sorted[..count].iter().map(|name| name.len() + 3).sum::<usize>();
    let fits = |count: usize| {
        let is_room = match sorted.get(count) {
            None => json(count) <= limit.last,
            Some(next) => json(count) + next.len() <= limit.more,
        };
        count <= limit.names && is_room
    };
    let count = (0..=sorted.len()).rev().find(|count| fits(*count)).unwrap_or_default();
    (count, sorted.get(count).map(|next| name(next)))
}

fn any_limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        (0_usize..30).prop_map(Limit::names),
        (0_usize..120, 0_usize..120).prop_map(|(last, more)| Limit::bytes(last, more)),
    ]
}

proptest! {
    #[test]
    fn a_page_has_the_smallest_names(
        texts in prop::collection::vec("[a-c]{1,4}", 0..80),
        limit in any_limit(),
    ) {
        let mut page = PageBuilder::new(limit);
        texts.iter().for_each(|text| page.add(name(text)));
        let sorted: Vec<_> = texts.iter().map(String::as_str).collect::<BTreeSet<_>>()
            .into_iter().collect();
        let (count, next) = expected(&sorted, limit);
        let names = sorted[..count].iter().copied().collect();
        prop_assert_eq!(page.finish(), Page { names, next });
    }

    /// If it is not known which names follow, a page has the same names as if it were, or fewer.
    #[test]
    fn a_page_that_ends_early_leaves_nothing_out(
        texts in prop::collection::btree_set("[a-c]{1,4}", 1..80),
        limit in any_limit(),
        cut in 1_usize..80,
    ) {
        let sorted: Vec<_> = texts.iter().map(String::as_str).collect();
        let known = &sorted[..cut.min(sorted.len())];
        let mut page = PageBuilder::new(limit);
        known.iter().for_each(|text| page.add(name(text)));
        let page = page.finish_early();
        let (count, _) = expected(&sorted, limit);
        prop_assert!(page.names.len() <= count.max(known.len() - 1));
        prop_assert!(page.names.iter().eq(known.iter().copied().take(page.names.len())));
        prop_assert_eq!(page.next, known.get(page.names.len()).map(|next| name(next)));
        // A page has all names that it certainly may have.
        if known.len() < sorted.len() {
            prop_assert!(page.names.len() == count || page.names.len() == known.len() - 1);
        }
    }

    #[test]
    fn a_listing_of_pages_is_complete(
        texts in prop::collection::btree_set("[a-c]{1,4}", 0..80),
        limit in (7_usize..60, 11_usize..60).prop_map(|(last, more)| Limit::bytes(last, more)),
    ) {
        let names: Names = texts.iter().map(String::as_str).collect();
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let page = Page::cut(&names, from, limit, false).unwrap();
            found.extend(page.names.iter().map(str::to_owned));
            prop_assert!(!page.names.is_empty() || page.next.is_none());
            let Some(next) = page.next else { break };
            from = names.find(next.as_str()).unwrap();
        }
        prop_assert!(found.iter().eq(&texts));
    }
}

#[test]
fn names_are_found() {
    let names: Names = ["a", "ab", "b", "key-1", "key-10"].into_iter().collect();
    for (at, name) in names.iter().enumerate() {
        assert_eq!(names.find(name), Some(at));
        assert_eq!(names.get(at), Some(name));
    }
    for missing in ["", "A", "aa", "key-", "key-2", "z"] {
        assert_eq!(names.find(missing), None, "{missing}");
    }
    assert_eq!((names.len(), names.get(5), names.from(9).len()), (5, None, 0));
    assert!(Names::default().is_empty());
}

/// A page of a whole key store takes little more memory than its JSON, and names that a larger one
/// does not need are dropped.
#[test]
fn memory_is_bounded_whatever_there_is() {
    let room = 100_000;
    let mut page = PageBuilder::new(Limit::bytes(room, room));
    let mut most = 0;
    for at in 0..200_000_u32 {
        page.add(name(&format!("{:08x}", at.wrapping_mul(2_654_435_761))));
        most = most.max(page.text.capacity() + page.spans.capacity() * size_of::<Span>());
    }
    // Twice the names at 8 + 8 bytes each, and vectors that double when they grow.
    assert!(most < 2 * 2 * room * 16 / 11 + 10_000, "{most}");
    let names = page.finish().names;
    assert_eq!(names.len(), (room - 8) / 11);
    assert!(names.iter().is_sorted());
}
