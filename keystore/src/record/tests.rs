/// The messages as another implementation defines them.
mod messages;

use base64_simd::STANDARD as BASE64;
use kes_api::SecretBytes;
use proptest::prelude::*;
use serde::Deserialize;

use self::messages::{KeyVersion, Secret, Time};
use super::protobuf::Fields;
use super::{Cipher, Damage, InvalidRecord, Record, Timestamp};
use crate::Value;

#[derive(Deserialize)]
struct Vector {
    name: String,
    form: String,
    value: String,
    algorithm: String,
    key: SecretBytes,
    hmac_key: Option<SecretBytes>,
    created_at: Timestamp,
    created_by: String,
    hmac: Option<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    message: SecretBytes,
    tag: SecretBytes,
}

/// Those of the ciphers of this build.
fn vectors() -> Vec<Vector> {
    let text = include_str!("../../testdata/stored-keys.json");
    let mut vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    vectors.retain(|vector| !Cipher::is_unapproved(&vector.algorithm));
    vectors
}

#[test]
#[cfg(feature = "fips")]
fn a_key_for_chacha20_is_unapproved_in_each_form() {
    let text = include_str!("../../testdata/stored-keys.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).unwrap();
    let mut seen = 0;
    for vector in vectors.into_iter().filter(|vector| vector.algorithm == "ChaCha20") {
        assert_eq!(refusal(vector.value), InvalidRecord::UnapprovedCipher, "{}", vector.name);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

fn decode(text: impl Into<String>) -> Result<Record, InvalidRecord> {
    Record::decode(&Value::new(text.into()))
}

fn refusal(text: impl Into<String>) -> InvalidRecord {
    decode(text).err().expect("it is no stored key")
}

/// All fields of a record, in a form that can be compared.
fn plain(record: &Record) -> (Cipher, [u8; 32], Option<[u8; 32]>, Timestamp, &str) {
    let Record { key, created_at, created_by } = record;
    let hmac = key.hmac_secret().map(|secret| *secret.expose());
    (key.cipher(), *key.secret().expose(), hmac, *created_at, created_by)
}

/// Go's decoder takes both, so that the reference reads such keys.
#[test]
fn base64_with_unused_bits_or_line_breaks_is_read() {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut changed = 0;
    for vector in vectors() {
        let Some(end) = vector.value.find('=').filter(|_| vector.form == "protobuf") else {
            continue;
        };
        let padding = vector.value.len() - end;
        let last = digits.iter().position(|digit| *digit == vector.value.as_bytes()[end - 1]);
        let mut value = vector.value.clone().into_bytes();
        value[end - 1] = digits[last.unwrap() | ((1 << (2 * padding)) - 1)];
        assert_ne!(value, vector.value.as_bytes(), "the unused bits were set already");
        value.splice(10..10, *b"\r\n");
        let record = decode(String::from_utf8(value).unwrap()).unwrap();
        assert_eq!(plain(&record), plain(&decode(vector.value).unwrap()), "{}", vector.name);
        changed += 1;
    }
    assert!(changed > 0);
    let json = |bytes: &str| decode(format!(r#"{{"bytes":"{bytes}"}}"#)).unwrap();
    let zeros = |last: &str| format!("{}{last}=", "A".repeat(42));
    assert_eq!(plain(&json(&zeros("A"))), plain(&json(&zeros("D"))));
    for bad in ["====", "A===", "=", "AA=A"] {
        assert_eq!(refusal(bad), InvalidRecord::NeitherForm, "{bad}");
    }
}

#[test]
fn what_the_reference_wrote_is_read() {
    let vectors = vectors();
    assert_eq!(vectors.len(), if cfg!(feature = "fips") { 4 } else { 7 });
    for vector in vectors {
        let record = decode(vector.value).unwrap();
        assert_eq!(record.key.cipher().name(), vector.algorithm, "{}", vector.name);
        assert_eq!(record.key.secret().expose().as_slice(), vector.key.expose());
        let hmac = record.key.hmac_secret().map(|secret| secret.expose().as_slice());
        assert_eq!(hmac, vector.hmac_key.as_ref().map(SecretBytes::expose));
        assert_eq!(record.created_at, vector.created_at);
        assert_eq!(record.created_by, vector.created_by);
        if let Some(Tag { message, tag }) = vector.hmac {
            assert_eq!(record.key.hmac(message.expose()).unwrap().as_slice(), tag.expose());
        }
    }
}

#[test]
fn what_is_written_is_what_the_reference_wrote() {
    for vector in vectors().into_iter().filter(|vector| vector.form == "protobuf") {
        let record = decode(vector.value.as_str()).unwrap();
        assert_eq!(record.encode().expose(), vector.value, "{}", vector.name);
    }
}

#[test]
fn an_old_key_is_written_anew_with_nothing_lost() {
    for vector in vectors() {
        let old = decode(vector.value).unwrap();
        let new = Record::decode(&old.encode()).unwrap();
        assert_eq!(plain(&new), plain(&old), "{}", vector.name);
    }
}

#[test]
fn white_space_around_and_line_breaks_within_are_skipped() {
    for vector in vectors() {
        let record = decode(format!(" \n{}\r\n", vector.value)).unwrap();
        assert_eq!(record.key.secret().expose().as_slice(), vector.key.expose());
        if vector.form == "protobuf" {
            let (head, tail) = vector.value.split_at(77);
            let record = decode(format!("{head}\r\n{tail}\n")).unwrap();
            assert_eq!(record.key.secret().expose().as_slice(), vector.key.expose());
        }
    }
}

#[test]
fn what_is_no_stored_key_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("not base64!", "it is neither base64 nor JSON"),
        ("AAA", "it is neither base64 nor JSON"),
        ("vault:v1:AAAA", "it is neither base64 nor JSON"),
        ("AAAA", "its protobuf message is damaged: a field's number is not valid"),
        ("CiQK", "its protobuf message is damaged: it ends too early"),
        ("CAE=", "its protobuf message is damaged: field 1 has a wrong type"),
        ("IgH/", "its protobuf message is damaged: a text is not UTF-8"),
        ("MzM=", "its protobuf message is damaged: a field's type is not valid"),
        ("KP///////////38=", "its protobuf message is damaged: a number is too big"),
        ("GgA=", "its encryption key has 0 bytes instead of 32"),
        ("CgUKA0FBQQ==", "its cipher is not known"),
        ("CgcKA0FBQRAB", "its encryption key has 3 bytes instead of 32"),
        ("{", "its JSON is damaged at line 1, column 1"),
        ("{}{}", "its JSON is damaged at line 1, column 3"),
        ("{}", "its encryption key has 0 bytes instead of 32"),
        (r#"{"bytes":"AAAA"}"#, "its encryption key has 3 bytes instead of 32"),
        (r#"{"bytes":"A*AA"}"#, "its encryption key is not base64"),
        (r#"{"bytes":[0]}"#, "its JSON is damaged at line 1, column 9"),
    ] {
        assert_eq!(refusal(text).to_string(), reason, "{text}");
    }
    assert_eq!(refusal("A".repeat(Value::MAX_LEN + 4)), InvalidRecord::TooLong);
    assert_eq!(refusal(format!("{{{}", "[".repeat(10_000))).to_string().find("JSON"), Some(4));
}

#[test]
fn values_of_fields_are_checked() {
    let good = KeyVersion {
        key: Some(Secret { secret: vec![1; 32], kind: 1 }),
        hmac_key: Some(Secret { secret: vec![2; 32], kind: 1 }),
        created_at: Some(Time { seconds: 1, nanos: 0 }),
        created_by: String::new(),
    };
    assert!(decode(good.text()).is_ok());
    let changed = |change: fn(&mut KeyVersion)| {
        let mut message = good.clone();
        change(&mut message);
        refusal(message.text())
    };
    let key_length = |len| InvalidRecord::KeyLength { len };
    assert_eq!(changed(|message| message.key = None), key_length(0));
    for kind in [0, 3, u32::MAX] {
        let mut message = good.clone();
        message.key.as_mut().unwrap().kind = kind;
        assert_eq!(refusal(message.text()), InvalidRecord::UnknownCipher);
        message = good.clone();
        message.hmac_key.as_mut().unwrap().kind = kind + u32::from(kind < 3) * 2;
        assert_eq!(refusal(message.text()), InvalidRecord::UnknownHash);
    }
    for len in [31, 33] {
        let mut message = good.clone();
        message.key.as_mut().unwrap().secret = vec![1; len];
        assert_eq!(refusal(message.text()), key_length(len));
        message = good.clone();
        message.hmac_key.as_mut().unwrap().secret = vec![1; len];
        assert_eq!(refusal(message.text()), InvalidRecord::HmacKeyLength { len });
    }
    for (seconds, nanos) in [
        (0, -1),
        (0, i32::MIN),
        (0, 1_000_000_000),
        (253_402_300_800, 0),
        (-62_135_596_801, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
    ] {
        let mut message = good.clone();
        message.created_at = Some(Time { seconds, nanos });
        assert_eq!(refusal(message.text()), InvalidRecord::CreatedAt, "{seconds} s {nanos} ns");
    }
}

#[test]
fn json_is_read_as_the_reference_reads_it() {
    let key = BASE64.encode_to_string([7; 32]);
    let missing = Timestamp::parse("0001-01-01T00:00:00Z").unwrap();
    for (text, cipher, created_at, created_by) in [
        (r#"{"bytes":"KEY"}"#, Cipher::Aes256, missing, ""),
        #[cfg(not(feature = "fips"))]
        (
            r#"{"Bytes":"KEY","ALGORITHM":"ChaCha20","Created_At":"2022-05-01T12:00:00+02:00","CREATED_BY":"me"}"#,
            Cipher::ChaCha20,
            Timestamp::parse("2022-05-01T10:00:00Z").unwrap(),
            "me",
        ),
        (
            r#"{"bytes":"KEY","algorithm":null,"created_at":null,"created_by":null}"#,
            Cipher::Aes256,
            missing,
            "",
        ),
        (
            r#"{"bytes":"","bytes":"KEY","bytes":null,"created_by":"a","created_by":"b"}"#,
            Cipher::Aes256,
            missing,
            "b",
        ),
        (
            r#"{"more":{"bytes":[1,{}]},"bytes":"KEY","created_by":"Zo\u00eb"} "#,
            Cipher::Aes256,
            missing,
            "Zoë",
        ),
    ] {
        let record = decode(text.replace("KEY", &key)).unwrap();
        assert_eq!(plain(&record), (cipher, [7; 32], None, created_at, created_by), "{text}");
    }
    let field = |text: &str| refusal(format!(r#"{{"bytes":"{key}",{text}}}"#));
    assert_eq!(field(r#""algorithm":"aes256""#), InvalidRecord::UnknownCipher);
    assert_eq!(field(r#""created_at":"yesterday""#), InvalidRecord::CreatedAt);
}

#[test]
fn a_message_that_is_cut_is_damaged_unless_whole_fields_are_left() {
    for vector in vectors().into_iter().filter(|vector| vector.form == "protobuf") {
        let message = BASE64.decode_to_vec(&vector.value).unwrap();
        // Where the fields 1, 2, 3 and 4 end.
        let ends = [38, 76, 89, 155];
        assert_eq!(message.len(), ends[3]);
        for len in 0..=message.len() {
            let cut = decode(BASE64.encode_to_string(&message[..len]));
            match cut {
                Ok(record) => {
                    assert!(ends.contains(&len), "cut at {len}");
                    assert_eq!(record.key.secret().expose().as_slice(), vector.key.expose());
                }
                Err(reason) if len == 0 => assert_eq!(reason, InvalidRecord::Empty),
                Err(reason) => assert_eq!(reason, InvalidRecord::Protobuf(Damage::Truncated)),
            }
        }
    }
}

#[test]
fn a_text_that_is_cut_or_changed_never_panics() {
    for vector in vectors() {
        for len in 0..vector.value.len() {
            let _ = decode(vector.value.get(..len).unwrap_or_default());
            let mut text = vector.value.clone();
            text.replace_range(len..=len, "/");
            let _ = decode(text);
        }
    }
}

#[test]
fn a_refusal_has_no_byte_of_the_value() {
    for text in [
        r#"{"bytes":"c2VjcmV0c2VjcmV0"}"#,
        r#"{"bytes":true,"algorithm":"c2VjcmV0c2VjcmV0"}"#,
        r#"{"c2VjcmV0c2VjcmV0":"c2VjcmV0c2VjcmV0"}"#,
        r#"{"algorithm":"c2VjcmV0c2VjcmV0"#,
        "c2VjcmV0c2VjcmV0",
        "c2VjcmV0c2VjcmV0=",
    ] {
        let reason = refusal(text);
        let told = format!("{reason} {reason:?}");
        assert!(!told.contains("c2Vj") && !told.contains("secret"), "{told}");
    }
}

impl KeyVersion {
    fn text(&self) -> String {
        BASE64.encode_to_string(prost::Message::encode_to_vec(self))
    }
}

/// Asserts that both decoders have the same result for a message.
fn agree(message: &[u8]) -> Result<(), TestCaseError> {
    let ours = Fields::decode(message);
    let theirs = <KeyVersion as prost::Message>::decode(message);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            let key = theirs.key.unwrap_or_default();
            prop_assert_eq!((ours.key, ours.cipher), (key.secret.as_slice(), key.kind));
            let hmac = ours.hmac.map(|hmac| (hmac.key.to_vec(), hmac.hash));
            prop_assert_eq!(hmac, theirs.hmac_key.map(|hmac| (hmac.secret, hmac.kind)));
            let time = theirs.created_at.unwrap_or_default();
            prop_assert_eq!((ours.seconds, ours.nanos), (time.seconds, time.nanos));
            prop_assert_eq!(ours.created_by, theirs.created_by);
        }
        // Groups, which the other decoder skips.
        (Err(Damage::WireType), _) | (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => prop_assert!(false, "accepted what is refused for: {error}"),
        (Err(error), Ok(_)) => prop_assert!(false, "refused what is accepted: {error}"),
    }
    Ok(())
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

/// A field of any type but a group: known or unknown, of the right type or another.
fn field(content: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![9 => 1_u64..7, 1 => 1_u64..1 << 29];
    let content = prop_oneof![
        6 => content.prop_map(|content| {
            let mut out = vec![2];
            varint(u64::try_from(content.len()).unwrap(), &mut out);
            out.extend(content);
            out
        }),
        3 => prop_oneof![any::<u64>(), 0_u64..4].prop_map(|value| {
            let mut out = vec![0];
            varint(value, &mut out);
            out
        }),
        1 => any::<[u8; 8]>().prop_map(|bytes| [&[1], bytes.as_slice()].concat()),
        1 => any::<[u8; 4]>().prop_map(|bytes| [&[5], bytes.as_slice()].concat()),
    ];
    (number, content).prop_map(|(number, content)| {
        let mut out = Vec::new();
        varint(number << 3 | u64::from(content[0]), &mut out);
        out.extend(&content[1..]);
        out
    })
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    let inner = prop::collection::vec(field(leaf), 0..4).prop_map(|fields| fields.concat());
    prop::collection::vec(field(inner), 0..6).prop_map(|fields| fields.concat())
}

prop_compose! {
    fn time()(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_i32..1_000_000_000) -> Time {
        Time { seconds, nanos }
    }
}

prop_compose! {
    /// Some of the fields, some of them with an invalid value.
    fn partial()(
        key: Option<(Option<Vec<u8>>, Option<u32>)>,
        hmac_key: Option<(Option<Vec<u8>>, Option<u32>)>,
        created_at: Option<(Option<i64>, Option<i32>)>,
        created_by: Option<String>,
    ) -> KeyVersion {
        let secret = |(secret, kind): (Option<Vec<u8>>, Option<u32>)| Secret {
            secret: secret.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
        };
        KeyVersion {
            key: key.map(secret),
            hmac_key: hmac_key.map(secret),
            created_at: created_at.map(|(seconds, nanos)| Time {
                seconds: seconds.unwrap_or_default(),
                nanos: nanos.unwrap_or_default(),
            }),
            created_by: created_by.unwrap_or_default(),
        }
    }
}

prop_compose! {
    /// What a server may have written.
    fn stored()(
        key: [u8; 32],
        // AES-256, and ChaCha20 where the build has it.
        kind in 1_u32..if cfg!(feature = "fips") { 2 } else { 3 },
        hmac: Option<[u8; 32]>,
        created_at in prop_oneof![time(), Just(Time { seconds: 0, nanos: 0 })],
        created_by: String,
    ) -> KeyVersion {
        KeyVersion {
            key: Some(Secret { secret: key.to_vec(), kind }),
            hmac_key: hmac.map(|key| Secret { secret: key.to_vec(), kind: 1 }),
            created_at: Some(created_at),
            created_by,
        }
    }
}

proptest! {
    #[test]
    fn a_stored_key_is_read_and_written_as_by_another_implementation(stored in stored()) {
        let text = stored.text();
        prop_assume!(text.len() <= Value::MAX_LEN);
        let record = decode(text.as_str()).unwrap();
        let encoded = record.encode();
        prop_assert_eq!(encoded.expose(), &text);
        let key = stored.key.unwrap();
        prop_assert_eq!(record.key.secret().expose().as_slice(), key.secret);
        let hmac = record.key.hmac_secret().map(|secret| secret.expose().to_vec());
        prop_assert_eq!(hmac, stored.hmac_key.map(|key| key.secret));
        prop_assert_eq!(record.created_by, stored.created_by);
    }

    #[test]
    fn a_field_given_again_counts_as_by_another_implementation(
        parts in prop::collection::vec(partial(), 1..4),
    ) {
        let parts: Vec<_> = parts.iter().map(prost::Message::encode_to_vec).collect();
        prop_assert!(Fields::decode(&parts.concat()).is_ok());
        agree(&parts.concat())?;
    }

    #[test]
    fn any_fields_in_any_order_are_read_as_by_another_implementation(message in message()) {
        agree(&message)?;
    }

    #[test]
    fn a_damaged_message_is_read_as_by_another_implementation(
        stored in stored(),
        at: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let mut message = prost::Message::encode_to_vec(&stored);
        let at = at.index(message.len());
        if cut { message.truncate(at) } else { message[at] = byte }
        agree(&message)?;
    }

    #[test]
    fn unknown_fields_change_nothing(stored in stored(), before in message(), after in message()) {
        // As the content of unknown fields.
        let wrap = |message: Vec<u8>| {
            let mut out = vec![5 << 3 | 2];
            varint(u64::try_from(message.len()).unwrap(), &mut out);
            out.extend(message);
            out
        };
        let known = prost::Message::encode_to_vec(&stored);
        let all = [wrap(before), known, wrap(after)].concat();
        let record = decode(BASE64.encode_to_string(all)).unwrap();
        let alone = decode(stored.text()).unwrap();
        prop_assert_eq!(plain(&record), plain(&alone));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        agree(&bytes)?;
        let _ = decode(BASE64.encode_to_string(&bytes));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = decode(format!("{{{text}"));
        let _ = decode(text);
    }
}
