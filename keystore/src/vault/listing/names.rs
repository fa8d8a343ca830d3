//! Parses the names in the answer to a listing while it arrives: of an answer of any length no more
//! than one text is in memory.

use bytes::Bytes;
use json_event_parser::{JsonEvent, LowLevelJsonParser};

use crate::remote::{BadBody, BodySink};

/// Longest text in an answer, in bytes: a name, or a warning. No storage of Vault takes a longer
/// path than 32 KiB.
const MAX_TEXT: usize = 64 * 1024;

/// How many bytes of an answer are parsed at a time, which bounds the buffer.
const PIECE: usize = 16 * 1024;

/// Receives the names.
pub(super) trait NameSink: Send {
    /// An answer begins. What came before belongs to one that broke off, and is to be discarded.
    fn begin(&mut self);

    /// A name, in the order of the answer.
    fn name(&mut self, name: &str);

    /// A warning of Vault.
    fn warning(&mut self, _text: &str) {}
}

/// Parses `{"data": {"keys": ["name", …], …}, "warnings": ["text", …], …}`. Where Vault has
/// a warning and no names, it answers `"data": {}` in place of a 404.
pub(super) struct NameParser<T> {
    sink: T,
    parser: LowLevelJsonParser,
    /// What has arrived and is not a whole token yet.
    rest: Vec<u8>,
    /// Objects and arrays that are open.
    depth: usize,
    within: Within,
    /// Whether the array of names has been seen.
    found: bool,
    /// Whether `data` has been seen, with nothing in it.
    empty: bool,
}

/// The place in the answer, as far as it leads to names or warnings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Elsewhere,
    /// In the value of `"data"`.
    Data,
    /// Before the value of `"keys"` in `data`.
    Keys,
    /// In the array of names.
    Array,
    /// In the value of `"warnings"`.
    Warnings,
}

impl<T: NameSink> NameParser<T> {
    pub(super) fn new(sink: T) -> Self {
        Self {
            sink,
            parser: LowLevelJsonParser::new(),
            rest: Vec::new(),
            depth: 0,
            within: Within::Elsewhere,
            found: false,
            empty: false,
        }
    }

    pub(super) fn into_sink(self) -> T {
        self.sink
    }

    /// Parses what has arrived.
    fn parse(&mut self, is_all: bool) -> Result<(), BadBody> {
        let mut rest = std::mem::take(&mut self.rest);
        let mut done = 0;
        loop {
            let step = self.parser.parse_next(rest.get(done..).unwrap_or_default(), is_all);
            done += step.consumed_bytes;
            match step.event {
                None | Some(Ok(JsonEvent::Eof)) => break,
                Some(Ok(event)) => self.event(event)?,
                // A fault within the JSON was reported before, so this is its end.
                Some(Err(_)) if is_all => return Err(BadBody::Truncated),
                // The library's own text quotes the JSON.
                Some(Err(error)) => {
                    let start = error.location().start;
                    let number =
                        |from_zero| usize::try_from(from_zero).map_or(0, |at: usize| at + 1);
                    let (line, column) = (number(start.line), number(start.column));
                    return Err(BadBody::Json { line, column });
                }
            }
        }
        rest.drain(..done);
        self.rest = rest;
        Ok(())
    }

    fn event(&mut self, event: JsonEvent<'_>) -> Result<(), BadBody> {
        match (self.within, event) {
            (Within::Array, JsonEvent::String(name)) => self.sink.name(&name),
            (Within::Array, JsonEvent::EndArray) => {
                self.within = Within::Data;
                self.depth -= 1;
            }
            (Within::Keys, JsonEvent::StartArray) => {
                self.within = Within::Array;
                self.found = true;
                self.depth += 1;
            }
            (Within::Array | Within::Keys, _) => return Err(BadBody::NoNames),
            (_, JsonEvent::ObjectKey(key)) if self.depth == 1 => {
                self.within = match &*key {
                    "data" => Within::Data,
                    "warnings" => Within::Warnings,
                    _ => Within::Elsewhere,
                };
            }
            (Within::Data, JsonEvent::Null) if self.depth == 1 => self.empty = true,
            (Within::Data, JsonEvent::StartObject) if self.depth == 1 => {
                self.empty = true;
                self.depth = 2;
            }
            (Within::Data, JsonEvent::ObjectKey(key)) if self.depth == 2 => {
                self.empty = false;
                if key == "keys" {
                    self.within = Within::Keys;
                }
            }
            (Within::Warnings, JsonEvent::String(text)) => self.sink.warning(&text),
            (_, JsonEvent::StartObject | JsonEvent::StartArray) => self.depth += 1,
            (_, JsonEvent::EndObject | JsonEvent::EndArray) => self.depth -= 1,
            _ => {}
        }
        Ok(())
    }
}

impl<T: NameSink> BodySink for NameParser<T> {
    fn begin(&mut self, _: usize) {
        self.parser = LowLevelJsonParser::new();
        self.rest.clear();
        self.depth = 0;
        self.within = Within::Elsewhere;
        self.found = false;
        self.empty = false;
        self.sink.begin();
    }

    fn write(&mut self, piece: Bytes) -> Result<(), BadBody> {
        for piece in piece.chunks(PIECE) {
            self.rest.extend_from_slice(piece);
            self.parse(false)?;
            if self.rest.len() > MAX_TEXT {
                return Err(BadBody::LongText { max_len: MAX_TEXT });
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadBody> {
        self.parse(true)?;
        if self.found || self.empty { Ok(()) } else { Err(BadBody::NoNames) }
    }
}

/// All of them; for folders that are known to be small.
impl NameSink for Vec<String> {
    fn begin(&mut self) {
        self.clear();
    }

    fn name(&mut self, name: &str) {
        self.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The names in a body that arrives in pieces.
    fn names(body: &[u8], piece: usize) -> Result<Vec<String>, BadBody> {
        let mut names = NameParser::new(Vec::new());
        names.begin(0);
        for piece in body.chunks(piece) {
            names.write(Bytes::copy_from_slice(piece))?;
            assert!(names.rest.capacity() <= 2 * (MAX_TEXT + PIECE));
        }
        names.end()?;
        Ok(names.into_sink())
    }

    #[test]
    fn names_stand_in_one_place() {
        let body = json!({
            "keys": ["no"],
            "auth": { "data": { "keys": ["no"] }, "keys": ["no"] },
            "data": {
                "info": { "keys": ["no"], "data": [{ "keys": ["no"] }] },
                "keys": ["a", "b/", "\"\u{e9}\\", ""],
                "more": ["no"],
            },
            "list": [{ "data": { "keys": ["no"] } }],
            "warnings": null,
        });
        for piece in [1, 2, 3, 7, 1000] {
            let found = names(body.to_string().as_bytes(), piece);
            assert_eq!(found.unwrap(), ["a", "b/", "\"\u{e9}\\", ""], "{piece}");
        }
        let escaped = r#"{"data":{"keys":["a\u0026b","\ud83d\ude00","\/"]}}"#;
        assert_eq!(names(escaped.as_bytes(), 3).unwrap(), ["a&b", "\u{1f600}", "/"]);
    }

    #[test]
    fn no_names_are_told_in_several_ways() {
        for body in
            [r#"{"data":{"keys":[]}}"#, r#"{"data":{},"warnings":["w"]}"#, r#"{"data":null}"#]
        {
            assert_eq!(names(body.as_bytes(), 5).unwrap(), [""; 0], "{body}");
        }
    }

    #[test]
    fn another_shape_is_refused() {
        for body in [
            "{}",
            "[]",
            "1",
            r#"{"keys":["a"]}"#,
            r#"{"data":["keys"]}"#,
            r#"{"data":{"key":"a"}}"#,
            r#"{"data":"keys"}"#,
            r#"{"data":[{"keys":["a"]}]}"#,
            r#"{"data":{"data":{"keys":["a"]}}}"#,
            r#"{"data":{"keys":null}}"#,
            r#"{"data":{"keys":"a"}}"#,
            r#"{"data":{"keys":{"a":1}}}"#,
            r#"{"data":{"keys":["a",1]}}"#,
            r#"{"data":{"keys":[["a"]]}}"#,
        ] {
            assert_eq!(names(body.as_bytes(), 5), Err(BadBody::NoNames), "{body}");
        }
        for body in ["", " ", "{", r#"{"data":{"keys":["a"#, r#"{"data":{"keys":["a"]}"#, "tru"] {
            assert_eq!(names(body.as_bytes(), 5), Err(BadBody::Truncated), "{body}");
        }
        let error = names(b"{\"data\":{\"keys\":[\"a\",\n hunter2]}}", 100).unwrap_err();
        assert_eq!(error, BadBody::Json { line: 2, column: 2 });
        assert!(names(br#"{"data":{"keys":["a"]}} hunter2"#, 100).is_err());
    }

    #[test]
    fn a_text_without_end_is_not_kept() {
        let body = format!("{{\"data\":{{\"keys\":[\"{}", "a".repeat(20 * MAX_TEXT));
        let error = names(body.as_bytes(), body.len()).unwrap_err();
        assert_eq!(error, BadBody::LongText { max_len: MAX_TEXT });
    }

    #[test]
    fn a_repeat_begins_anew() {
        let mut names = NameParser::new(Vec::new());
        names.begin(0);
        names.write(Bytes::from_static(br#"{"data":{"keys":["a","b"#)).unwrap();
        names.begin(0);
        names.write(Bytes::from_static(br#"{"data":{"keys":["c"]}}"#)).unwrap();
        names.end().unwrap();
        assert_eq!(names.into_sink(), ["c"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = || prop_oneof!["data|keys", any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>(), piece in 1_usize..20) {
            let _ = names(&body, piece);
        }

        /// The names as another parser reads them.
        #[test]
        fn any_json_is_read_or_refused(value in any_json(), piece in 1_usize..20) {
            let expected: Option<Vec<String>> = match value.get("data") {
                Some(Value::Null) => Some(Vec::new()),
                Some(Value::Object(data)) if data.is_empty() => Some(Vec::new()),
                _ => serde_json::from_value(value["data"]["keys"].clone()).ok(),
            };
            prop_assert_eq!(names(value.to_string().as_bytes(), piece).ok(), expected);
        }

        #[test]
        fn any_names_are_found(all in prop::collection::vec(any::<String>(), 0..20),
            piece in 1_usize..20,
        ) {
            let body = json!({ "data": { "keys": all } }).to_string();
            prop_assert_eq!(names(body.as_bytes(), piece).unwrap(), all);
        }
    }
}
