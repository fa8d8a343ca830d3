use std::fmt;

use kes_api::route::{Operation, ROUTES};

use self::coverage::Coverage;
use self::reach::reaches;
use crate::{Pattern, Policy};

/// Which requests a pattern matches.
mod reach;

/// What a deny pattern refuses, compared with what its author expects.
mod coverage;

/// Something in a policy that its author surely did not mean. The text is for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// What it is about.
    pub place: Place,
    /// The pattern as the text shows it; empty for [`Place::Policy`].
    pattern: String,
    /// Why it is odd.
    finding: Finding,
}

/// What a [`Lint`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The policy as a whole.
    Policy,
    /// The allow pattern at that position.
    Allow(usize),
    /// The deny pattern at that position.
    Deny(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    LiteralStar,
    SegmentStar,
    NoRoute { instead: Instead },
    Coverage(Coverage),
    NoDescribe,
}

/// Finds what contract `config.md`, Policies, requires a warning for.
pub fn lint(policy: &Policy) -> Vec<Lint> {
    let allow = policy.allow_patterns().iter().enumerate().filter_map(|(position, pattern)| {
        let finding = allow_finding(pattern)?;
        Some(Lint::of(Place::Allow(position), pattern, finding))
    });
    let deny = policy.deny_patterns().iter().enumerate().flat_map(|(position, pattern)| {
        let coverage = coverage::of(policy, pattern).map(Finding::Coverage);
        let findings = deny_finding(pattern).into_iter().chain(coverage);
        findings.map(move |finding| Lint::of(Place::Deny(position), pattern, finding))
    });
    let mut lints: Vec<_> = allow.chain(deny).collect();

    // MinIO describes its default key every 10 s to keep it cached during an outage of the key
    // store, and ignores the refusal.
    let works = allows(policy, Operation::GenerateKey) && allows(policy, Operation::DecryptKey);
    if works && !allows(policy, Operation::DescribeKey) {
        let (place, finding) = (Place::Policy, Finding::NoDescribe);
        lints.push(Lint { place, pattern: String::new(), finding });
    }
    lints
}

impl Lint {
    fn of(place: Place, pattern: &Pattern, finding: Finding) -> Self {
        Self { place, pattern: pattern.as_str().escape_debug().to_string(), finding }
    }

    /// The same with another text in place of a pattern that must not be printed.
    #[must_use]
    pub fn showing(self, instead_of_pattern: String) -> Self {
        let finding = match self.finding {
            // The suggestion would reveal the pattern.
            Finding::NoRoute { .. } => Finding::NoRoute { instead: Instead::Unknown },
            finding => finding,
        };
        Self { pattern: instead_of_pattern, finding, ..self }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = &self.pattern;
        match &self.finding {
            Finding::LiteralStar => write!(
                f,
                "'{pattern}' allows next to nothing: in an allow pattern '*' is a \
                 wildcard only at the end"
            ),
            Finding::SegmentStar => write!(
                f,
                "the '*' inside '{pattern}' matches within one path segment; other versions of \
                 the server deny nothing by this pattern"
            ),
            Finding::NoRoute { instead: Instead::Unknown } => {
                write!(f, "'{pattern}' matches no request to any API")
            }
            Finding::NoRoute { instead: Instead::Name(path) } => write!(
                f,
                "'{pattern}' matches no request to any API: a name follows the path, as in \
                 '{path}*'"
            ),
            Finding::NoRoute { instead: Instead::Other(text) } => write!(
                f,
                "'{pattern}' matches no request to any API; is '{}' meant?",
                text.escape_debug()
            ),
            Finding::NoRoute { instead: Instead::Gone } => {
                write!(
                    f,
                    "'{pattern}' matches no request to any API; it is for an API of older versions"
                )
            }
            Finding::Coverage(coverage) => write!(f, "'{pattern}' {coverage}"),
            Finding::NoDescribe => f.write_str(
                "allows generate and decrypt but not '/v1/key/describe/*', with which MinIO keeps \
                 its default key cached through an outage of the key store",
            ),
        }
    }
}

fn allow_finding(pattern: &Pattern) -> Option<Finding> {
    if pattern.body().contains('*') {
        return Some(Finding::LiteralStar);
    }
    no_route(pattern)
}

fn deny_finding(pattern: &Pattern) -> Option<Finding> {
    no_route(pattern).or_else(|| pattern.is_wild().then_some(Finding::SegmentStar))
}

/// What the author of a pattern that matches no request may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Instead {
    /// Unknown.
    Unknown,
    /// A name after the path of this route.
    Name(&'static str),
    /// A pattern that matches requests.
    Other(String),
    /// An API that no longer exists.
    Gone,
}

/// How the paths of APIs began that older versions had and documentation still shows.
const GONE: [&str; 9] = [
    "/v1/enclave/",
    "/v1/policy/assign",
    "/v1/policy/write",
    "/v1/policy/delete",
    "/v1/identity/assign",
    "/v1/identity/forget",
    "/v1/identity/delete",
    "/v1/log/audit/trace",
    "/v1/log/error/trace",
];

fn no_route(pattern: &Pattern) -> Option<Finding> {
    let reaches_any = |pattern: &Pattern| ROUTES.iter().any(|route| reaches(pattern, route));
    if reaches_any(pattern) {
        return None;
    }
    let text = pattern.as_str();
    let bare = text.strip_suffix('/').unwrap_or(text);
    let is_named = |path: &&str| path.strip_suffix('/').is_some_and(|path| path == bare);
    let named = ROUTES.iter().map(|route| route.path).find(is_named);
    let instead = if let Some(path) = named {
        Instead::Name(path)
    } else if GONE.iter().any(|gone| text.starts_with(gone)) {
        Instead::Gone
    } else {
        let meant = slips(text).into_iter().find(|text| reaches_any(&Pattern::allow(text)));
        meant.map_or(Instead::Unknown, Instead::Other)
    };
    Some(Finding::NoRoute { instead })
}

/// The pattern with one common slip corrected, for each kind of slip.
fn slips(text: &str) -> Vec<String> {
    let lower = text.trim().to_lowercase();
    // `https://kes:7373/v1/status`
    let path = match lower.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|start| rest.get(start..)).unwrap_or_default(),
        None => &lower,
    };
    let path = format!("/{}", path.trim_start_matches('/'));
    let bare = path.trim_end_matches('/');
    [path.clone(), bare.to_owned(), format!("/v1{path}"), path.replace("/keys/", "/key/")]
        .into_iter()
        .filter(|slip| slip.len() > "/*".len() && slip != text)
        .collect()
}

/// Whether a policy allows an operation for at least one name.
fn allows(policy: &Policy, operation: Operation) -> bool {
    let route = operation.route();
    // A pattern that matches three names this different is taken to match all names.
    let denied = policy.deny_patterns().iter().any(|pattern| {
        ["a", "B-1", "_x9"].iter().all(|name| pattern.matches(&format!("{}{name}", route.path)))
    });
    !denied && policy.allow_patterns().iter().any(|pattern| reaches(pattern, route))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(allow: &[&str], deny: &[&str]) -> Vec<(Place, String)> {
        let policy = Policy::new("p", allow.iter().copied(), deny.iter().copied());
        lint(&policy).iter().map(|lint| (lint.place, lint.to_string())).collect()
    }

    #[test]
    fn good_patterns_pass() {
        let allow = [
            "*",
            "/*",
            "/v1/*",
            "/v1/key/*",
            "/v1/key/cre*",
            "/v1/key/create/*",
            "/v1/key/create/my-*",
            "/v1/key/create/my-key",
            "/v1/key/list/",
            "/v1/key/list/my-*",
            "/v1/key/bulk/decrypt/*",
            "/v1/key/describe/*",
            "/v1/status",
            "/v1/log/audit",
        ];
        assert_eq!(texts(&allow, &allow), []);
        assert_eq!(texts(&["/version"], &[]), []);
    }

    #[test]
    fn patterns_that_match_no_request() {
        for (bad, more) in [
            ("", ""),
            ("/v1/metric", ""),
            ("/v1/key/create/a/b", ""),
            ("/v1/key/create/a.b*", ""),
            ("/v1/key/create/a/*", ""),
            ("/", ""),
            ("/v1/keys/*", "; is '/v1/key/*' meant?"),
            ("/v1/keys/create/k", "; is '/v1/key/create/k' meant?"),
            ("/v1/status/", "; is '/v1/status' meant?"),
            ("/V1/status", "; is '/v1/status' meant?"),
            (" /v1/status", "; is '/v1/status' meant?"),
            ("v1/key/create/*", "; is '/v1/key/create/*' meant?"),
            ("/key/create/*", "; is '/v1/key/create/*' meant?"),
            ("https://kes:7373/v1/*", "; is '/v1/*' meant?"),
            // Everything is never what is meant.
            ("//*", "; is '/v1/*' meant?"),
            ("/v1/log/audit/trace", "; it is for an API of older versions"),
            ("/v1/policy/write/*", "; it is for an API of older versions"),
        ] {
            let expected = format!("'{bad}' matches no request to any API{more}");
            assert_eq!(texts(&[bad], &[]), [(Place::Allow(0), expected.clone())]);
            assert_eq!(texts(&[], &[bad]), [(Place::Deny(0), expected)]);
        }
        for bad in ["/v1/key/bulk/decrypt", "/v1/key/create", "/v1/key/create/"] {
            let lints = texts(&["/v1/status", bad], &[]);
            assert_eq!(lints[0].0, Place::Allow(1));
            assert!(lints[0].1.starts_with(&format!("'{bad}' matches no request")), "{lints:?}");
            let path = bad.trim_end_matches('/');
            assert!(lints[0].1.ends_with(&format!("as in '{path}/*'")), "{lints:?}");
        }
    }

    #[test]
    fn a_pattern_that_must_not_be_printed_is_not() {
        let policy = Policy::new("p", ["/v1/keys/secret", "/v1/key/create"], ["/v1/*/secret"]);
        for lint in lint(&policy) {
            let text = lint.showing("${VARIABLE}".to_owned()).to_string();
            assert!(text.contains("'${VARIABLE}'") && !text.contains("/v1/"), "{text}");
        }
    }

    #[test]
    fn stars_inside() {
        let lints = texts(&["/v1/key/*/name", "/v1/*/create/*"], &[]);
        assert_eq!(lints.len(), 2);
        assert!(lints.iter().all(|(_, text)| text.contains("allows next to nothing")));

        for good in ["/v1/key/*/name", "/v1/*/create/a*b", "/v1/key/create/*-secret*", "/*/*"] {
            let lints = texts(&[], &[good]);
            assert_eq!(lints.len(), 1);
            assert!(lints[0].1.contains("within one path segment"), "{lints:?}");
        }
        for bad in ["/v1/keys/*/name", "/v1/key/create/a.*b", "/v1/*"] {
            let lints = texts(&[], &[bad]);
            assert!(!lints.iter().any(|(_, text)| text.contains("segment")), "{lints:?}");
        }
        assert!(texts(&[], &["/v1/keys/*/name"])[0].1.contains("matches no request"));
    }

    #[test]
    fn describe_is_missed() {
        let work = ["/v1/key/generate/*", "/v1/key/decrypt/my-*"];
        let lints = texts(&work, &[]);
        assert_eq!(lints.len(), 1);
        assert_eq!(lints[0].0, Place::Policy);
        assert!(lints[0].1.contains("/v1/key/describe/*"));

        assert_eq!(texts(&[work[0], work[1], "/v1/key/describe/my-key"], &[]), []);
        assert_eq!(texts(&["/v1/key/*"], &[]), []);
        assert_eq!(texts(&["/v1/key/*"], &["/v1/key/describe/*"]).len(), 1);
        assert_eq!(texts(&["/v1/key/*"], &["/v1/key/describe/my-*"]), []);
        assert_eq!(texts(&["/v1/key/*"], &["/v1/key/desc*/*"]).len(), 2);
        assert_eq!(texts(&work, &["/v1/key/decrypt/*"]), []);
        assert_eq!(texts(&work[..1], &[]), []);
    }

    #[test]
    fn what_a_deny_pattern_does_not_cover_is_told() {
        let all = ["/v1/key/*", "/v1/policy/*", "/v1/log/*"];
        for (deny, told) in [
            ("/version", "denies nothing: '/version' is open"),
            ("/v1/identity/self/*", "denies nothing: '/v1/identity/self/describe' is open"),
            ("/v1/key/bulk/decrypt/*", "denies '/v1/key/decrypt/' for these names as well"),
            ("/v1/key/bulk/*", "denies '/v1/key/decrypt/' for these names as well"),
            (
                "/v1/log/refusals",
                "denies '/v1/log/audit' as well, because '/v1/log/refusals' gives",
            ),
            ("/v1/key/generate/a-*", "does not deny '/v1/key/encrypt/'"),
            ("/v1/key/gen*", "does not deny '/v1/key/encrypt/'"),
            ("/v1/key/create/a", "does not deny '/v1/key/import/'"),
            ("/v1/policy/describe/a", "does not deny '/v1/policy/read/'"),
            ("/v1/key/list/a-*", "denies only listings of these names alone: '/v1/key/list/*'"),
            ("/v1/policy/list/a", "denies only listings of these names alone"),
        ] {
            let lints = texts(&all, &[deny]);
            assert_eq!(lints.len(), 1, "{deny}: {lints:?}");
            assert_eq!(lints[0].0, Place::Deny(0));
            assert!(lints[0].1.starts_with(&format!("'{deny}' {told}")), "{lints:?}");
        }
        for deny in [
            &["/v1/key/decrypt/a-*"][..],
            &["/v1/key/encrypt/*"],
            &["/v1/key/import/*"],
            &["/v1/key/generate/a-*", "/v1/key/encrypt/a*"],
            &["/v1/key/create/a", "/v1/key/import/*"],
            &["/v1/key/list/a-*", "/v1/key/list/"],
            &["/v1/key/list/*"],
            &["/v1/key/*"],
            &["/v1/identity/*", "/v*"],
        ] {
            assert_eq!(texts(&all, deny), [], "{deny:?}");
        }
        // Whoever allows the wider operation by itself means it; what is not allowed needs no deny.
        for allow in [&["/v1/key/create/*", "/v1/key/import/*"][..], &["/v1/key/create/*"]] {
            assert_eq!(texts(allow, &["/v1/key/create/a"]), [], "{allow:?}");
        }
        let bulk = ["/v1/key/bulk/decrypt/*"];
        assert_eq!(texts(&bulk, &bulk), []);
    }
}
