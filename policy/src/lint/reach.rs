use kes_api::route::{Operation, Route};

use crate::Pattern;
use crate::pattern::segment_matches;

/// Whether a pattern matches a path of the route, with a valid name if the route takes one.
pub(super) fn reaches(pattern: &Pattern, route: &Route) -> bool {
    // A quick check that excludes nearly all pairs: a reload lints a thousand policies while the
    // server has requests to answer.
    if !pattern.is_wild() && !pattern.body().bytes().zip(route.path.bytes()).all(|(a, b)| a == b) {
        return false;
    }
    let mut segments = route.path.split('/').peekable();
    let mut patterns = pattern.body().split('/').peekable();
    while let Some(part) = patterns.next() {
        let Some(segment) = segments.next() else { return false };
        let open = pattern.is_open() && patterns.peek().is_none();
        let is_name = route.takes_name() && segments.peek().is_none();
        let matches = if is_name {
            matches_a_name(pattern, part, open, route.operation)
        } else if pattern.is_wild() {
            segment_matches(part.as_bytes(), segment.as_bytes(), open)
        } else if open {
            segment.starts_with(part)
        } else {
            segment == part
        };
        if !matches {
            return false;
        }
    }
    pattern.is_open() || segments.next().is_none()
}

/// Whether the last segment of a pattern matches a name, or a list pattern, that is valid for the
/// operation. A `*` is tried with as few characters as possible.
fn matches_a_name(pattern: &Pattern, part: &str, open: bool, operation: Operation) -> bool {
    a_name(pattern, part, open, operation).is_some()
}

/// Such a name.
pub(super) fn a_name(
    pattern: &Pattern,
    part: &str,
    open: bool,
    operation: Operation,
) -> Option<String> {
    let good = |text: &String| operation.route().is_valid_resource(text);
    let inner: &[&str] = if pattern.is_wild() { &["", "a"] } else { &["*"] };
    let last: &[&str] = if open { &["", "a"] } else { &[""] };
    let filled = inner.iter().flat_map(|inner| last.iter().map(move |last| (inner, last)));
    filled.map(|(inner, last)| part.replace('*', inner) + last).find(good)
}
