//! Finds the route of a request's path (contract `api.md`, Order of checks).

use std::borrow::Cow;

use kes_api::Route;
use percent_encoding::percent_decode_str;

/// The most bytes of a decoded path that are kept. The longest valid one has 179: a listing of
/// identities that continues, with two names of 80 bytes. What a longer path names is too long in
/// any case; the rest of it would only cost memory, and fill the logs.
pub(crate) const MAX_PATH: usize = 200;

/// The most bytes of a path and its query that a redirect repeats: a path of [`MAX_PATH`] bytes with
/// each of them escaped, and a query.
pub(crate) const MAX_LOCATION: usize = 1_000;

/// The most bytes of an encoded path that are decoded: enough for more than [`MAX_PATH`] bytes even
/// if all are escaped and the last character is cut. What a request with a longer path costs does not
/// grow with the path, but for the check that its segments and escapes are valid, which keeps nothing.
const MAX_ENCODED: usize = 3 * (MAX_PATH + 4);

/// The result of routing a path.
#[derive(Debug)]
pub(crate) enum Routed<'a> {
    /// The path has a route.
    Found(Target<'a>),
    /// The path is not clean: the client is redirected to its clean form, with the query.
    Redirect(String),
    /// The path has no route.
    NotFound,
    /// The path has a `%` without two hex digits.
    BadEscape,
}

/// The route of a request, with its path.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) route: &'static Route,
    /// The decoded path. Bytes that are not UTF-8 are replaced: no name, pattern or route has them.
    /// A path that is too long for any name ends after [`MAX_PATH`] bytes, with the mark `…`, which
    /// no name or pattern has either.
    pub(crate) path: Cow<'a, str>,
    resource_at: usize,
}

impl Target<'_> {
    /// The name or pattern after the route's prefix.
    pub(crate) fn resource(&self) -> &str {
        self.path.get(self.resource_at..).unwrap_or_default()
    }
}

/// Finds the route of a path in its encoded form.
pub(crate) fn route<'a>(path: &'a str, query: Option<&str>) -> Routed<'a> {
    if let Some(clean) = clean(path) {
        // A browser takes `\` for `/`: `/\host` would lead it to another server.
        if clean.contains('\\') {
            return Routed::NotFound;
        }
        return redirect(clean, query);
    }
    if !has_valid_escapes(path) {
        return Routed::BadEscape;
    }
    let path = percent_decode(start(path));
    if let Some((route, resource)) = Route::find(&path) {
        let resource_at = path.len() - resource.len();
        let path = if path.len() > MAX_PATH { Cow::Owned(cut(&path)) } else { path };
        return Routed::Found(Target { route, path, resource_at });
    }
    let lacks_slash = kes_api::route::ROUTES
        .iter()
        .any(|route| route.takes_name() && route.path.strip_suffix('/') == Some(&*path));
    if lacks_slash {
        return redirect(format!("{path}/"), query);
    }
    Routed::NotFound
}

/// The start of a path that is too long, with a mark that it was cut.
fn cut(path: &str) -> String {
    format!("{}…", path.get(..path.floor_char_boundary(MAX_PATH)).unwrap_or_default())
}

/// The clean form of a path with an empty, `.` or `..` segment; `None` if it is clean.
fn clean(path: &str) -> Option<String> {
    let inner = path.strip_prefix('/')?;
    let mut segments = inner.split('/').peekable();
    let mut is_clean = true;
    while let Some(segment) = segments.next() {
        // An empty last segment means that the path ends with `/`.
        is_clean &= match segment {
            "" => segments.peek().is_none(),
            "." | ".." => false,
            _ => true,
        };
    }
    if is_clean {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in inner.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    Some(clean)
}

/// Leads to a path, with the query. Where that is longer than anything that leads somewhere, it is
/// not repeated in the answer.
fn redirect(path: String, query: Option<&str>) -> Routed<'static> {
    match query {
        _ if path.len() + query.map_or(0, str::len) > MAX_LOCATION => Routed::NotFound,
        Some(query) => Routed::Redirect(format!("{path}?{query}")),
        None => Routed::Redirect(path),
    }
}

/// The part of an encoded path that is decoded. It ends before an escape or a character that would
/// not be whole.
fn start(path: &str) -> &str {
    if path.len() <= MAX_ENCODED {
        return path;
    }
    let start = path.get(..path.floor_char_boundary(MAX_ENCODED)).unwrap_or_default();
    match start.rsplit_once('%') {
        Some((before, escape)) if escape.len() < 2 => before,
        _ => start,
    }
}

/// Whether each `%` of a path is followed by two hex digits. The library would keep others as they
/// are.
fn has_valid_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(starts_with_two_hex_digits)
}

/// Decodes `%XX`. Most paths have none; the library would check that they are UTF-8.
fn percent_decode(path: &str) -> Cow<'_, str> {
    if path.contains('%') {
        percent_decode_str(path).decode_utf8_lossy()
    } else {
        Cow::Borrowed(path)
    }
}

fn starts_with_two_hex_digits(text: &str) -> bool {
    text.as_bytes()
        .first_chunk()
        .is_some_and(|[high, low]| high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(&'static str, String)> {
        match route(path, None) {
            Routed::Found(target) => Some((target.route.path, target.resource().to_owned())),
            _ => None,
        }
    }

    fn redirected(path: &str) -> Option<String> {
        match route(path, Some("a=b")) {
            Routed::Redirect(location) => Some(location),
            _ => None,
        }
    }

    #[test]
    fn paths_are_decoded_before_they_are_routed() {
        assert_eq!(found("/v1/%73tatus"), Some(("/v1/status", String::new())));
        assert_eq!(found("/v1/key/create/a%2Fb").unwrap().1, "a/b");
        assert_eq!(found("/v1/key/decrypt/%73ecret-1").unwrap().1, "secret-1");
        assert_eq!(found("/v1/key/create/%C3%A9").unwrap().1, "é");
        assert_eq!(found("/v1/key/create/%ff").unwrap().1, "\u{fffd}");
        assert_eq!(found("/v1/status%3Fx"), None);
        assert_eq!(found("/v1/status%00"), None);
    }

    /// Whatever it is made of, and however it is escaped.
    #[test]
    fn a_path_that_is_too_long_for_any_name_is_cut() {
        let names = ["a".repeat(80), "b".repeat(80)];
        let longest = format!("/v1/identity/list/{}*{}", names[0], names[1]);
        assert_eq!(found(&longest).unwrap().1, *longest.get("/v1/identity/list/".len()..).unwrap());
        let prefix = "/v1/key/create/";
        for (piece, decoded) in [("a", "a"), ("%00", "\0"), ("%C3%A9", "é"), ("%ff", "\u{fffd}")] {
            let (route, name) = found(&format!("{prefix}{}", piece.repeat(4000))).unwrap();
            assert_eq!(route, prefix);
            let kept = name.strip_suffix('…').unwrap();
            let most = MAX_PATH - prefix.len();
            assert!(kept.len() <= most && kept.len() + 3 > most, "{} bytes", kept.len());
            assert!(kept.split(decoded).all(str::is_empty), "{kept}");
            assert!(kes_api::KeyName::parse(&name).is_err());
            assert!(kes_api::ListPattern::parse(&name).is_err());
        }
    }

    /// It is not decoded as a whole, and that makes no difference.
    #[test]
    fn what_a_long_path_costs_does_not_grow_with_it() {
        for piece in ["a", "%00", "%C3%A9", "%ff", "a%F0%9F%94%91", "é%41"] {
            for shift in 0..8 {
                let prefix = format!("/v1/key/create/{}", "b".repeat(shift));
                for repeats in [10, 60, 100, 200, 204, 205, 300, 5000] {
                    let path = format!("{prefix}{}", piece.repeat(repeats));
                    let Routed::Found(target) = route(&path, None) else { panic!("{path}") };
                    let whole = percent_decode_str(&path).decode_utf8_lossy();
                    let expected =
                        if whole.len() > MAX_PATH { cut(&whole) } else { whole.into_owned() };
                    assert_eq!(target.path, expected);
                    if let Cow::Owned(path) = target.path {
                        assert!(path.capacity() <= 2 * MAX_ENCODED, "{}", path.capacity());
                    }
                }
            }
        }
        // What is wrong with the end is told all the same.
        let long = "a".repeat(5000);
        let routed = |path: &str| format!("{:?}", route(path, None));
        assert_eq!(routed(&format!("/v1/key/create/{long}%zz")), "BadEscape");
        assert_eq!(routed(&format!("/v1/key/create/{long}//")), "NotFound");
        assert_eq!(routed(&format!("/v1/nothing/{long}")), "NotFound");
        assert_eq!(routed(&format!("/v1/status/{long}")), "NotFound");
    }

    #[test]
    fn broken_escapes_are_told() {
        for path in [
            "/%zz",
            "/v1/key/create/%",
            "/v1/key/create/a%1",
            "/v1/key/create/%+1",
            "/v1/key/create/%%41",
            "/v1/key/create/%4%41",
            "/v1/key/create/%41%",
            "/v1/key/create/%4é",
            "/v1/key/create/%é",
        ] {
            assert!(matches!(route(path, None), Routed::BadEscape), "{path}");
        }
    }

    #[test]
    fn a_redirect_leads_to_no_other_server() {
        for path in [r"//\evil.example", r"/./\evil.example/", r"/v1//a\b"] {
            assert!(matches!(route(path, None), Routed::NotFound), "{path}");
        }
    }

    #[test]
    fn a_redirect_repeats_no_long_path() {
        let at_most = "a".repeat(MAX_LOCATION - "/".len());
        for (path, query, is_repeated) in [
            (format!("//{at_most}"), None, true),
            (format!("//{at_most}a"), None, false),
            (format!("//{}", "%41".repeat(4000)), None, false),
            ("//version".to_owned(), Some("a".repeat(MAX_LOCATION)), false),
            ("/v1/key/create".to_owned(), Some("a".repeat(MAX_LOCATION)), false),
            (format!("/{}version", "x/../".repeat(1000)), None, true),
        ] {
            let is_redirect = matches!(route(&path, query.as_deref()), Routed::Redirect(_));
            assert_eq!(is_redirect, is_repeated, "{} bytes", path.len());
        }
    }

    #[test]
    fn unclean_paths_are_redirected() {
        for (path, clean) in [
            ("//version", "/version?a=b"),
            ("/v1/key/../status", "/v1/status?a=b"),
            ("/v1/key/decrypt/./secret-1", "/v1/key/decrypt/secret-1?a=b"),
            ("/v1/key/create//a", "/v1/key/create/a?a=b"),
            ("/v1/key/create/a/..", "/v1/key/create?a=b"),
            ("/../..", "/?a=b"),
            ("/v1/key/create", "/v1/key/create/?a=b"),
            ("/v1/key/list/a//", "/v1/key/list/a/?a=b"),
        ] {
            assert_eq!(redirected(path).as_deref(), Some(clean), "{path}");
        }
        for path in ["/", "/version", "/v1/key/create/", "/v1/key", "*", ""] {
            assert_eq!(redirected(path), None, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_routed_or_refused(path in "(/|%2f|%|[a-z.%]|é){0,40}") {
            if let Routed::Redirect(clean) = route(&path, None) {
                let again = matches!(route(&clean, None), Routed::Redirect(twice) if twice == clean);
                proptest::prop_assert!(!again, "{} leads to itself", clean);
            }
        }
    }
}
