use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use kes_api::{KeyName, ListPattern, PolicyName, Route};
use kes_server::fuzzing::{MAX_LOCATION, MAX_PATH, Routed, route};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::split_line;

/// The path of a request, as it comes from the HTTP library: its route is that of the decoded path,
/// and a redirect stays on this server and ends. Then names and patterns of listings.
pub(crate) fn path(data: &[u8]) {
    if let Ok(target) = PathAndQuery::try_from(data) {
        check_route(target.path(), target.query());
    }
    let (pattern, name) = split_line(data);
    if let (Ok(pattern), Ok(name)) = (std::str::from_utf8(pattern), std::str::from_utf8(name)) {
        check_name(name);
        check_listing(pattern, name);
    }
}

fn check_route(path: &str, query: Option<&str>) {
    let escapes: BTreeSet<bool> = path
        .match_indices('%')
        .map(|(at, _)| {
            let digits = path.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        })
        .collect();
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    match route(path, query) {
        Routed::Found { operation, path, resource } => {
            assert!(!escapes.contains(&false), "{path}");
            let route = operation.route();
            assert_eq!(path, format!("{}{resource}", route.path));
            if path != decoded {
                // It is too long for any name or pattern, and has a mark in place of its end.
                let start = path.strip_suffix('…').expect("the mark");
                assert!(decoded.starts_with(start), "{path}");
                // The last character that has room is whole.
                assert!((MAX_PATH - 3..=MAX_PATH).contains(&start.len()), "{path}");
                let whole = decoded.strip_prefix(route.path).expect("a path of the route");
                assert!(!route.is_valid_resource(whole), "{path}");
                assert!(!route.is_valid_resource(&resource), "{path}");
            }
            assert!(route.takes_name() || resource.is_empty(), "{path}");
        }
        // A path that is not clean and has a `\`, or is too long for a redirect, is not looked at any
        // further.
        Routed::NotFound => {
            let is_clean = !path.contains("//") && !path.contains("/.");
            let is_long = path.len() + query.map_or(0, str::len) > MAX_LOCATION;
            assert!(
                path.contains('\\')
                    || is_long && !is_clean
                    || !escapes.contains(&false) && Route::find(&decoded).is_none(),
                "{path}"
            );
        }
        Routed::BadEscape => assert!(escapes.contains(&false), "{path}"),
        Routed::Redirect(location) => check_redirect(path, &location),
    }
}

fn check_redirect(from: &str, location: &str) {
    let here = Url::parse("https://kes.example:7373/").expect("a URL");
    let there = here.join(location).unwrap_or_else(|error| panic!("{location}: {error}"));
    assert_eq!(there.origin(), here.origin(), "'{from}' redirects to '{location}'");
    // First to the clean form, then to that with a `/` at its end.
    let mut location = location.to_owned();
    for _ in 0..2 {
        let (path, query) = match location.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*location, None),
        };
        match route(path, query) {
            Routed::Redirect(next) => location = next,
            _ => return,
        }
    }
    panic!("'{from}' is redirected again and again, last to '{location}'");
}

fn check_name(name: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_name = (1..=80).contains(&name.chars().count())
        && name.chars().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name != "_";
    assert_eq!(KeyName::parse(name).is_ok(), is_name, "{name}");
    assert_eq!(PolicyName::parse(name).is_ok(), is_name, "{name}");
    if let Ok(key) = KeyName::parse(name) {
        assert_eq!(key.as_str(), name);
    }
}

fn check_listing(text: &str, name: &str) {
    let Ok(pattern) = ListPattern::parse(text) else { return };
    let (prefix, from) = text.split_once('*').unwrap_or((text, ""));
    assert_eq!(pattern.matches(name), name.starts_with(prefix) && name >= from, "{text} {name}");
    // A page that ends before a listed name continues with it.
    if KeyName::parse(name).is_ok() && pattern.matches(name) {
        let next = pattern.continue_at(name);
        let next = ListPattern::parse(&next).expect("the pattern of the next page");
        assert!(next.matches(name), "{text} {name}");
        assert_eq!((next.prefix(), next.from()), (prefix, name));
    }
}
