use std::time::Duration;

use super::file::line;
use super::*;
use crate::bounds::{HEADER_VALUE, LIMIT, PROXY_SCHEMES, SOCKET_PATH, WEB_SCHEMES};
use crate::fields::facts::{duration, size};

/// Values that have a form. The first two do not mean the same.
pub(super) fn right(form: &Form) -> Vec<String> {
    let of = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let long = |length: usize| "a".repeat(length);
    match form {
        Form::Address => of(&["127.0.0.1:0", ":7373", "[::1]:1", "localhost:7373"]),
        Form::AddressOrSocket => {
            let longest = format!("unix:{}", long(SOCKET_PATH));
            of(&["127.0.0.1:1", "unix:/run/kes.sock", &longest])
        }
        Form::Admin => of(&[ONES, "disabled"]),
        Form::CollectorUrl => urls(&WEB_SCHEMES),
        Form::Count => of(&["3", "5", "0"]),
        Form::Digits(number) => ["a", "B", "7"].map(|digit| digit.repeat(*number)).to_vec(),
        Form::Duration => of(&["2s", "1.5h", "300ms", "5m0s"]),
        Form::DurationFrom(least) => vec![duration(*least), duration(*least * 2)],
        Form::DurationIn(range) => vec![duration(*range.start()), duration(*range.end())],
        Form::Endpoints => {
            let mut all = urls(&WEB_SCHEMES);
            all.push(all.join(", "));
            all
        }
        Form::HeaderName => of(&["X-A", "X-B"]),
        Form::HeaderValue => vec!["v".to_owned(), long(HEADER_VALUE)],
        Form::Identities => vec![format!("[{ONES}]"), format!("[{ONES}, {TWOS}]")],
        Form::KeyName => vec!["my-key".to_owned(), long(kes_api::MAX_NAME_LEN)],
        Form::KeyStore => of(&[
            "{fs: {path: b}}",
            "{fs: {path: c}}",
            "{vault: {endpoint: 'http://v', approle: {id: a, secret: b}}}",
        ]),
        Form::Level => {
            let mut words = listed_words(form);
            assert_eq!(words.pop().unwrap(), "INFO+1 or a number");
            [words, of(&["INFO+1", "-4"])].concat()
        }
        Form::Limit | Form::LimitPerSecond => {
            vec![LIMIT.start().to_string(), LIMIT.end().to_string(), "unlimited".to_owned()]
        }
        Form::Networks => of(&["[10.0.0.7]", "['10.1.0.0/16', '::1']"]),
        Form::Path => of(&["a", "/b/c"]),
        Form::PathOrToken => of(&["/a/b", "a.b.c"]),
        Form::Patterns => of(&["[/v1/status]", "['/v1/key/create/*', /v1/status]"]),
        Form::ProxyUrl => [urls(&PROXY_SCHEMES), of(&["none"])].concat(),
        Form::Refused => vec![],
        Form::ServerName => of(&["vault.example", "10.0.0.1"]),
        Form::Share => of(&["0", "0.5", "1"]),
        Form::Size(range) => vec![size(*range.start()), size(*range.end()), "1GB".to_owned()],
        Form::Switch => of(&["on", "off", "true", "yes", "false", "no"]),
        Form::Text => of(&["a", "b c"]),
        Form::TextOf(range) => vec![long(*range.start()), long(*range.end())],
        Form::VaultPath => of(&["a", "b/c"]),
        Form::Words(words) => of(&words()),
    }
}

/// Values that do not, each with a part of what is told.
fn wrong(form: &Form) -> Vec<(String, String)> {
    let of = |values: &[(&str, &str)]| -> Vec<(String, String)> {
        values.iter().map(|(value, told)| ((*value).to_owned(), (*told).to_owned())).collect()
    };
    let long = |length: usize| "a".repeat(length);
    const NO_TEXT: (&str, &str) = ("[a]", "expected a text, but line");
    const NO_TIMES: [(&str, &str); 3] =
        [("5", "needs a unit"), ("-1s", "must not be negative"), ("soon", "not a duration")];
    const NO_URL: [(&str, &str); 2] = [("ftp://c", "URL"), ("/c", "")];
    match form {
        Form::Address => of(&[("nowhere", "not an address"), NO_TEXT]),
        Form::AddressOrSocket => {
            let longer = format!("unix:{}", long(SOCKET_PATH + 1));
            let most = format!("the system takes {SOCKET_PATH}");
            of(&[("nowhere", "not an address"), (&longer, &most)])
        }
        Form::Admin | Form::Path | Form::Text => of(&[NO_TEXT, ("{a: b}", NO_TEXT.1)]),
        Form::CollectorUrl => of(&NO_URL),
        Form::ProxyUrl => of(&[NO_URL[0], ("http://", "URL")]),
        Form::Count => of(&[("-1", "not a number"), ("1.5", "not a number"), ("many", "")]),
        Form::Digits(number) => {
            let [short, other] = [("a", number - 1), ("g", *number)].map(|(c, n)| c.repeat(n));
            let told = format!("{number} hexadecimal digits");
            of(&[(&short, &told), (&other, &told)])
        }
        Form::Duration => of(&NO_TIMES),
        Form::DurationFrom(least) => {
            let less = duration(*least - Duration::from_millis(1));
            [of(&NO_TIMES), of(&[(&less, &duration(*least))])].concat()
        }
        Form::DurationIn(range) => {
            let less = duration(*range.start() - Duration::from_millis(1));
            let more = duration(*range.end() + Duration::from_millis(1));
            let told = format!("{} to {}", duration(*range.start()), duration(*range.end()));
            [of(&NO_TIMES), of(&[(&less, &told), (&more, &told)])].concat()
        }
        Form::Endpoints => of(&[("v:8200", "has no scheme"), NO_URL[0]]),
        Form::HeaderName => of(&[("X A", "name of an HTTP header")]),
        Form::HeaderValue => {
            let most = format!("longer than {HEADER_VALUE} bytes");
            of(&[(&long(HEADER_VALUE + 1), &most), (" a", "blanks"), NO_TEXT])
        }
        Form::Identities | Form::Patterns => of(&[("a", "expected a list")]),
        Form::KeyName => of(&[("a/b", "key name"), (&long(kes_api::MAX_NAME_LEN + 1), "too long")]),
        Form::KeyStore => of(&[("fs", "expected a map with fs or vault")]),
        Form::Level => vec![("loud".to_owned(), form.cell())],
        Form::Limit | Form::LimitPerSecond => {
            let told = format!("from {} to {}, or 'unlimited'", LIMIT.start(), LIMIT.end());
            let [less, more] = [LIMIT.start() - 1, LIMIT.end() + 1].map(|most| most.to_string());
            of(&[(&less, &told), (&more, &told), ("many", &told), ("1.5", &told)])
        }
        Form::Networks => of(&[("10.0.0.7", "expected a list"), ("[nowhere]", "nowhere")]),
        Form::PathOrToken => of(&[NO_TEXT, ("eyJhb/c", "damaged")]),
        Form::Refused => of(&[("x", "not supported"), ("{a: b}", "not supported")]),
        Form::ServerName => of(&[("a b", "neither a DNS name nor an IP address")]),
        Form::Share => of(&[("1.01", "from 0 to 1"), ("-1", "from 0 to 1"), ("half", "")]),
        Form::Size(range) => {
            let told = format!("from {} to {}", size(*range.start()), size(*range.end()));
            let [less, more] = [range.start() - 1, range.end() + 1].map(|bytes| bytes.to_string());
            of(&[(&less, &told), (&more, &told), ("big", "not a size")])
        }
        Form::Switch => of(&[("maybe", "neither true nor false"), ("1", "")]),
        Form::TextOf(range) => {
            let told = format!("{} to {}", range.start(), range.end());
            of(&[(&long(range.start() - 1), &told), (&long(range.end() + 1), &told), NO_TEXT])
        }
        Form::VaultPath => of(&[("../a", "'..'"), ("a/./b", "'.'"), NO_TEXT]),
        // The message names each word.
        Form::Words(words) => words().iter().map(|word| ("other".into(), (*word).into())).collect(),
    }
}

fn urls(schemes: &[&str]) -> Vec<String> {
    schemes.iter().map(|scheme| format!("{scheme}://host.example")).collect()
}

fn listed_words(form: &Form) -> Vec<String> {
    form.cell().split(", ").map(str::to_owned).collect()
}

#[test]
fn what_has_the_form_is_read() {
    for (field, facts) in rows() {
        for value in right(&facts.form) {
            let text = File::with(field, &value).text();
            let Loaded { warnings, .. } = loaded(&text);
            let ignored = warnings.iter().find(|warning| warning.to_string().contains("ignored"));
            assert!(ignored.is_none(), "{field}: {value}: {ignored:?}");
        }
    }
}

#[test]
fn what_has_another_form_is_refused_with_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    for (field, facts) in rows() {
        let values = wrong(&facts.form);
        assert!(!values.is_empty(), "{field}");
        for (value, told) in values {
            let text = File::with(field, &value).text();
            fs::write(&path, &text).unwrap();
            let Err(errors) = load(&path, &env) else { panic!("{field}: {value} is accepted") };
            let errors = mistakes(&errors.to_string());
            let place = chosen(field);
            let line = line(&text, &place);
            let start = format!("{}:{line}: {}", path.display(), place.replace(".*", "[0]"));
            let is_named = |error: &str| {
                let rest = error.strip_prefix(&start);
                // An item of a list has its number behind the field.
                rest.is_some_and(|rest| rest.starts_with([':', '[']) && rest.contains(&told))
            };
            assert!(errors.lines().any(is_named), "{field}: {value}: {start} … {told}\n{errors}");
            // A refused key store is one too many as well.
            let is_refused = facts.change == Change::Refused;
            assert!(is_refused || errors.lines().count() == 1, "{field}: {value}: {errors}");
        }
    }
}
