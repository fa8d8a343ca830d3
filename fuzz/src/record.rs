#[path = "../../keystore/src/record/tests/messages.rs"]
mod messages;

use base64ct::{Base64, Encoding};
use kes_crypto::Cipher;
use kes_keystore::record::{Damage, InvalidRecord};
use kes_keystore::{Record, Value};
use prost::Message as _;

use self::messages::{KeyVersion, Secret, Time};

// Ciphers in the message of a secret.
const AES: u32 = 1;
const CHACHA: u32 = 2;

/// The stored key as text: what is accepted is written in the form of today and read back.
pub(crate) fn record(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(record) = Record::decode(&Value::new(text.to_owned())) {
        check_written(&record);
    }
}

/// The protobuf message of a stored key, as prost reads it.
pub(crate) fn protobuf(data: &[u8]) {
    let text = Base64::encode_string(data);
    // Both are decided before the message is read.
    if data.is_empty() || text.len() > Value::MAX_LEN {
        return;
    }
    let ours = Record::decode(&Value::new(text));
    if matches!(ours, Err(InvalidRecord::Protobuf(Damage::WireType))) {
        // A group, which prost skips.
        return;
    }
    let theirs = KeyVersion::decode(data).ok().filter(KeyVersion::is_valid);
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) => {
            assert_eq!(KeyVersion::of(&ours), theirs.complete());
            check_written(&ours);
        }
        (Err(_), None) => {}
        (Ok(_), None) => panic!("accepted, and refused by the other implementation"),
        (Err(error), Some(_)) => panic!("refused, and accepted by the other: {error}"),
    }
}

/// A record is written as prost writes it, and read back to the same.
fn check_written(record: &Record) {
    let written = record.encode();
    let message = KeyVersion::of(record);
    assert_eq!(written.expose(), Base64::encode_string(&message.encode_to_vec()));
    // Some bytes of an old form are fewer than those of the new one.
    if written.expose().len() <= Value::MAX_LEN {
        let again = Record::decode(&written).expect("it was written");
        assert_eq!(KeyVersion::of(&again), message);
    }
}

impl KeyVersion {
    /// 0001-01-01 to 9999-12-31, in seconds of Unix time.
    const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

    fn of(record: &Record) -> Self {
        let secret = |secret: &kes_crypto::Secret, kind| {
            Some(Secret { secret: secret.expose().to_vec(), kind })
        };
        let kind = if record.key.cipher() == Cipher::Aes256 { AES } else { CHACHA };
        Self {
            key: secret(record.key.secret(), kind),
            hmac_key: record.key.hmac_secret().and_then(|hmac| secret(hmac, 1)),
            created_at: Some(Time {
                seconds: record.created_at.unix_seconds(),
                nanos: i32::try_from(record.created_at.subsecond_nanos()).expect("below 10^9"),
            }),
            created_by: record.created_by.clone(),
        }
    }

    /// Whether the values are those of a stored key.
    fn is_valid(&self) -> bool {
        let time = self.created_at.unwrap_or_default();
        let of_kind = |secret: &Secret, kinds: &[u32]| {
            secret.secret.len() == 32 && kinds.contains(&secret.kind)
        };
        // A FIPS build lacks the other cipher.
        let kinds = [AES, CHACHA].get(..Cipher::ALL.len()).unwrap_or_default();
        self.key.as_ref().is_some_and(|key| of_kind(key, kinds))
            && self.hmac_key.as_ref().is_none_or(|key| of_kind(key, &[AES]))
            && Self::SECONDS.contains(&time.seconds)
            && (0..1_000_000_000).contains(&time.nanos)
    }

    /// The same with a time of creation, which is always written.
    fn complete(self) -> Self {
        Self { created_at: Some(self.created_at.unwrap_or_default()), ..self }
    }
}
