use std::fmt;
use std::sync::Arc;

/// What a decoded path is compared with. Parsed once; comparing allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Arc<str>,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Matches only the path that equals the text.
    Exact,
    /// Matches every path that starts with the text before the final `*`.
    Prefix,
    /// Matches segment by segment: `*` stands for any characters except `/`. After a final `*`
    /// anything may follow.
    Segments { open: bool },
}

impl Pattern {
    /// A pattern of an allow list: `*` is a wildcard only at the end. Inside it stands for itself,
    /// so that no policy allows more than it did under the reference server.
    pub fn allow(text: &str) -> Self {
        let shape = if text.ends_with('*') { Shape::Prefix } else { Shape::Exact };
        Self { text: text.into(), shape }
    }

    /// A pattern of a deny list: a `*` inside matches within one segment, as the documentation of
    /// the reference says. It matches all that the same text matches in an allow list.
    pub fn deny(text: &str) -> Self {
        let pattern = Self::allow(text);
        if pattern.body().contains('*') {
            let open = pattern.is_open();
            return Self { shape: Shape::Segments { open }, ..pattern };
        }
        pattern
    }

    /// Whether a decoded path matches.
    pub fn matches(&self, path: &str) -> bool {
        match self.shape {
            Shape::Exact => path == &*self.text,
            Shape::Prefix => path.starts_with(self.body()),
            Shape::Segments { open } => segments_match(self.body(), path.split('/'), open),
        }
    }

    /// Whether the path matches that a route and a resource make together. Nothing is allocated for
    /// it.
    pub(crate) fn matches_resource(&self, route: &str, resource: &str) -> bool {
        match self.shape {
            Shape::Exact => self.text.strip_prefix(route) == Some(resource),
            Shape::Prefix => match self.body().strip_prefix(route) {
                Some(rest) => resource.starts_with(rest),
                None => route.starts_with(self.body()),
            },
            Shape::Segments { open } => {
                // The path of a route that takes a name ends in `/`: the name begins a segment.
                let (head, tail) = match route.strip_suffix('/') {
                    Some(head) => (head, Some(resource)),
                    None => (route, None),
                };
                let tail = tail.into_iter().flat_map(|tail| tail.split('/'));
                segments_match(self.body(), head.split('/').chain(tail), open)
            }
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern as it was written, shared.
    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The text without a `*` at its end.
    pub(crate) fn body(&self) -> &str {
        self.text.strip_suffix('*').unwrap_or(&self.text)
    }

    /// Whether more may follow the body.
    pub(crate) fn is_open(&self) -> bool {
        self.text.ends_with('*')
    }

    /// Whether a `*` inside the body is a wildcard.
    pub(crate) const fn is_wild(&self) -> bool {
        matches!(self.shape, Shape::Segments { .. })
    }
}

/// As written.
impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn segments_match<'a>(body: &str, mut segments: impl Iterator<Item = &'a str>, open: bool) -> bool {
    let mut patterns = body.split('/');
    let mut next = patterns.next();
    while let Some(pattern) = next {
        let Some(segment) = segments.next() else { return false };
        next = patterns.next();
        let open = open && next.is_none();
        if !segment_matches(pattern.as_bytes(), segment.as_bytes(), open) {
            return false;
        }
    }
    open || segments.next().is_none()
}

/// Whether one segment matches, where `*` in the pattern stands for any bytes, none included.
/// With `open`, the pattern may end before the segment does.
///
/// On a mismatch only the last `*` takes one more byte: everything before it matched as early as
/// possible, so an earlier `*` need not be tried again. This bounds the work by the product of both
/// lengths, whatever path a client sends.
pub(crate) fn segment_matches(pattern: &[u8], segment: &[u8], open: bool) -> bool {
    let (mut pattern, mut segment) = (pattern, segment);
    // The pattern after the last star, and what that star has not taken.
    let mut last_star = None;
    loop {
        match (pattern, segment) {
            ([b'*', after_star @ ..], _) => {
                pattern = after_star;
                last_star = Some((after_star, segment));
                continue;
            }
            ([expected, patterns @ ..], [byte, bytes @ ..]) if expected == byte => {
                (pattern, segment) = (patterns, bytes);
                continue;
            }
            ([], rest) if open || rest.is_empty() => return true,
            _ => {}
        }
        // A mismatch: the last star takes one more byte, if there is one.
        let Some((after_star, [_, rest @ ..])) = last_star else { return false };
        last_star = Some((after_star, rest));
        (pattern, segment) = (after_star, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exact_and_prefix() {
        for parse in [Pattern::allow, Pattern::deny] {
            let exact = parse("/v1/status");
            assert!(exact.matches("/v1/status"));
            for path in ["/v1/status/", "/v1/statu", "/v1/STATUS", "", "/v1/status*"] {
                assert!(!exact.matches(path), "{path}");
            }
            let prefix = parse("/v1/key/create/my-*");
            for path in ["/v1/key/create/my-", "/v1/key/create/my-key", "/v1/key/create/my-a/b"] {
                assert!(prefix.matches(path), "{path}");
            }
            assert!(!prefix.matches("/v1/key/create/my"));
            assert!(parse("*").matches("") && parse("*").matches("/v1/key/create/\u{e9}\0/"));
            assert!(parse("/*").matches("/version") && !parse("/*").matches(""));
            assert!(parse("").matches("") && !parse("").matches("/"));
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        for text in ["/v1/status", "/v1/key/*", "/v1/*/a*b", ""] {
            for pattern in [Pattern::allow(text), Pattern::deny(text)] {
                assert_eq!(pattern.as_str(), text);
                assert_eq!(format!("{pattern:?}"), format!("{text:?}"));
            }
        }
    }

    #[test]
    fn a_star_inside_opens_nothing() {
        let allow = Pattern::allow("/v1/key/*/name");
        assert!(!allow.matches("/v1/key/create/name"));
        assert!(allow.matches("/v1/key/*/name"));
        let allow = Pattern::allow("/v1/*/create/*");
        assert!(!allow.matches("/v1/key/create/name"));
        assert!(allow.matches("/v1/*/create/name"));
    }

    #[test]
    fn a_star_inside_denies_within_one_segment() {
        let deny = Pattern::deny("/v1/key/*/my-key-internal");
        assert!(deny.matches("/v1/key/decrypt/my-key-internal"));
        for path in [
            "/v1/key/bulk/decrypt/my-key-internal",
            "/v1/key/decrypt/my-key-internal2",
            "/v1/key/decrypt/my-key-internal/",
            "/v1/key/my-key-internal",
        ] {
            assert!(!deny.matches(path), "{path}");
        }
        let deny = Pattern::deny("/v1/*/decrypt/*secret*");
        assert!(deny.matches("/v1/key/decrypt/secret"));
        assert!(deny.matches("/v1/key/decrypt/a-secret-b/c"));
        for path in
            ["/v1/key/decrypt/a/secret", "/v1x/key/decrypt/secret", "/v1/key/decryptx/secret"]
        {
            assert!(!deny.matches(path), "{path}");
        }
        assert!(Pattern::deny("/v1/key/*-*a").matches("/v1/key/a-b-a"));
    }

    /// The rule of `segments_match`, written as simply as possible.
    fn naive(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern, path) {
            ([b'*'], _) => true, // at the end: anything may follow
            ([b'*', rest @ ..], _) => (0..=path.len())
                .take_while(|taken| !path[..*taken].contains(&b'/'))
                .any(|taken| naive(rest, &path[taken..])),
            ([p, rest @ ..], [b, path @ ..]) => p == b && naive(rest, path),
            ([], []) => true,
            ([], _) | (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn deny_agrees_with_the_naive_model(pattern in "[a/*]{0,7}|[ab/*]{0,9}", path in "[a/]{0,7}|[ab/*]{0,9}") {
            prop_assert_eq!(
                Pattern::deny(&pattern).matches(&path),
                naive(pattern.as_bytes(), path.as_bytes())
            );
        }

        #[test]
        fn deny_covers_all_that_allow_matches(pattern in "[ab/*é]{0,8}", path in "[ab/*é]{0,8}") {
            if Pattern::allow(&pattern).matches(&path) {
                prop_assert!(Pattern::deny(&pattern).matches(&path));
            }
        }

        #[test]
        fn a_path_in_two_parts_matches_as_the_whole(
            pattern in "(/|/v1/|/v1/key/)?[ab/*]{0,6}",
            route in "/v1/key/|/v1/|/a/|/a/b/|/",
            resource in "[ab/*]{0,6}",
        ) {
            for pattern in [Pattern::allow(&pattern), Pattern::deny(&pattern)] {
                let whole = format!("{route}{resource}");
                prop_assert_eq!(pattern.matches_resource(&route, &resource), pattern.matches(&whole));
                let bare = route.trim_end_matches('/');
                prop_assert_eq!(pattern.matches_resource(bare, ""), pattern.matches(bare));
            }
        }

        #[test]
        fn any_text_is_a_pattern(pattern: String, path: String) {
            let _ = Pattern::allow(&pattern).matches(&path);
            let _ = Pattern::deny(&pattern).matches(&path);
            prop_assert!(Pattern::deny(&pattern).matches(&pattern));
        }
    }
}
