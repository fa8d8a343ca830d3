use super::*;

fn read(section: &str) -> Loaded {
    with(&format!("traces: {section}\n"))
}

fn traces(section: &str) -> Traces {
    read(section).config.traces.unwrap()
}

#[test]
fn traces_are_off_unless_they_have_an_endpoint() {
    for section in ["", "~"] {
        assert!(read(section).config.traces.is_none(), "{section}");
    }
    assert!(loaded(HEAD).config.traces.is_none());
    let read = traces("{endpoint: 'http://127.0.0.1:4318'}");
    assert_eq!(read.endpoint.as_str(), "http://127.0.0.1:4318/");
    assert!(read.headers.is_empty() && read.ca.is_none());
    assert_eq!(read.sample, 1.0);
    let read = traces(
        "{endpoint: 'https://c/a', headers: {Authorization: Bearer x, X-Scope-OrgID: '${ONES}'}, \
         ca: ca.pem, sample: 0.25}",
    );
    assert_eq!((read.endpoint.as_str(), read.sample), ("https://c/a", 0.25));
    assert_eq!(read.ca.as_deref(), Some(Path::new("ca.pem")));
    let headers: BTreeMap<&str, &str> =
        read.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("authorization", "Bearer x"), ("x-scope-orgid", ONES)].into());
    for (sample, expected) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.001", 0.001)] {
        let section = format!("{{endpoint: 'http://localhost', sample: {sample}}}");
        assert_eq!(traces(&section).sample, expected, "{sample}");
    }
}

#[test]
fn mistakes_in_the_section_are_told_without_a_secret() {
    let more = (0..33).map(|number| format!("h{number}: x, ")).collect::<String>();
    let long = "x".repeat(8193);
    let url = "endpoint: 'http://localhost'";
    for (section, told) in [
        ("{sample: 1}".to_owned(), "traces.endpoint: is required, such as http://127.0.0.1:4318"),
        ("{endpoint: marked}".to_owned(), "traces.endpoint: not a URL such as"),
        ("{endpoint: 'marked:4318'}".to_owned(), "traces.endpoint: not a URL such as"),
        ("{endpoint: 'grpc://marked'}".to_owned(), "it begins with https:// or http://"),
        ("{endpoint: 'http://u:marked@c'}".to_owned(), "set traces.headers.Authorization"),
        ("{endpoint: 'http://c/?k=marked'}".to_owned(), "would not be used; remove it"),
        (format!("{{{url}, sample: 1.5}}"), "traces.sample: '1.5' is not a share of requests"),
        (format!("{{{url}, sample: -1}}"), "traces.sample: '-1' is not a share"),
        (format!("{{{url}, sample: nan}}"), "traces.sample: 'nan' is not a share"),
        (format!("{{{url}, sample: 1%}}"), "write a number from 0 to 1, such as 0.01"),
        (format!("{{{url}, headers: marked}}"), "traces.headers: expected a map of headers"),
        (format!("{{{url}, headers: {{a: }}}}"), "traces.headers.a: is required"),
        (format!("{{{url}, headers: {{a b: marked}}}}"), "not the name of a header"),
        (format!("{{{url}, headers: {{Host: marked}}}}"), "is set by the server; remove it"),
        (format!("{{{url}, headers: {{a: 'ma\u{e9}rked'}}}}"), "not the value of a header"),
        (format!("{{{url}, headers: {{a: \"marked\\nb: c\"}}}}"), "not the value of a header"),
        (format!("{{{url}, headers: {{a: ' marked'}}}}"), "or blanks at an end"),
        (format!("{{{url}, headers: {{a: marked, A: marked}}}}"), "named twice, first in line 5"),
        (format!("{{{url}, headers: {{{more}}}}}"), "traces.headers: more than 32 headers"),
        (format!("{{{url}, headers: {{a: {long}}}}}"), "longer than 8192 bytes"),
    ] {
        let refused = refused_with(&format!("traces: {section}\n"));
        assert!(refused.starts_with("line 5: traces"), "{section}: {refused}");
        assert!(refused.contains(told), "{section}: {refused}");
        assert!(!refused.contains("marked"), "{section}: {refused}");
    }
}

#[test]
fn headers_are_in_no_text() {
    let loaded = read("{endpoint: 'http://localhost', headers: {a: marked}}");
    assert!(!format!("{:?} {:?}", loaded.config, Settings::of(&loaded.config)).contains("marked"));
}

#[test]
fn what_is_odd_is_warned_of() {
    let plain = "line 5: traces.endpoint: http://c:4318 is on another machine, and http:// sends \
                 spans and headers over the network unencrypted; write https://, or 127.0.0.1 if \
                 the collector is on this machine";
    assert_eq!(warnings(&read("{endpoint: 'http://c:4318'}")), [plain]);
    for quiet in ["http://127.0.0.1:4318", "http://[::1]:4318", "http://localhost", "https://c"] {
        assert_eq!(warnings(&read(&format!("{{endpoint: '{quiet}'}}"))), [""; 0], "{quiet}");
    }
    assert_eq!(
        warnings(&read("{endpoint: 'http://localhost:4317', ca: x, sampel: 1}")),
        [
            "line 5: traces.ca: has no effect: the endpoint does not begin with https://",
            "line 5: traces.endpoint: 4317 is the port of OTLP over gRPC; over HTTP, which is \
             spoken here, it is 4318",
            "line 5: traces.sampel: unknown field, ignored; is 'sample' meant?",
        ]
    );
}
