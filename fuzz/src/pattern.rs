use kes_policy::Pattern;

use crate::split_line;

/// A pattern of a policy and, in the next line, a path: the pattern matches what a table of all
/// prefixes says.
pub(crate) fn pattern(data: &[u8]) {
    let (pattern, path) = split_line(data);
    let (Ok(pattern), Ok(path)) = (std::str::from_utf8(pattern), std::str::from_utf8(path)) else {
        return;
    };
    let (allow, deny) = (Pattern::allow(pattern), Pattern::deny(pattern));
    assert_eq!((allow.as_str(), deny.as_str()), (pattern, pattern));

    let allowed = match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    };
    assert_eq!(allow.matches(path), allowed, "allow {pattern} {path}");
    assert_eq!(deny.matches(path), denied(pattern.as_bytes(), path.as_bytes()), "{pattern} {path}");
    // A text denies all that it allows.
    assert!(!allowed || deny.matches(path), "{pattern} {path}");
}

/// Whether a deny pattern matches: a `*` at the end stands for anything, one before it for anything
/// within a segment.
fn denied(pattern: &[u8], path: &[u8]) -> bool {
    let (body, is_open) = match pattern.split_last() {
        Some((b'*', body)) => (body, true),
        _ => (pattern, false),
    };
    // Whether the pattern so far matches the path up to each position.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for byte in body {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            let extends = |before: usize| match byte {
                b'*' => next[before] && path[before] != b'/',
                byte => reached[before] && path[before] == *byte,
            };
            next[at] = (*byte == b'*' && reached[at]) || at.checked_sub(1).is_some_and(extends);
        }
        reached = next;
    }
    if is_open { reached.contains(&true) } else { reached[path.len()] }
}
