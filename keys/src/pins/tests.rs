use kes_keystore::Value;
use kes_keystore::memory::MemoryStore;

use super::*;
use crate::testing::{name, record, seconds};

fn pin(key: &str, record: &Record) -> Pin {
    Pin { name: name(key), fingerprint: Fingerprint::new(record.key.fingerprint()) }
}

async fn stored(records: &[(&str, &Record)]) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, record) in records {
        store.create(&name(key), &record.encode()).await.unwrap();
    }
    store
}

#[tokio::test]
async fn a_check_names_what_is_missing_wrong_or_no_key() {
    let (right, wrong) = (record(), record());
    let store = stored(&[("right", &right), ("wrong", &wrong)]).await;
    store.create(&name("text"), &Value::new("text".to_owned())).await.unwrap();
    let pins = ["right", "wrong", "text", "missing"].map(|key| pin(key, &right));
    let Checked { faults, unread } = check(&store, &pins, seconds(60)).await;
    assert_eq!(unread, []);
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let (found, pinned) = (pin("k", &wrong).fingerprint, pin("k", &right).fingerprint);
    assert_eq!(told[0], format!("key 'wrong' has the fingerprint {found}, and {pinned} is pinned"));
    assert!(told[1].contains("key 'text' is damaged"), "{told:?}");
    assert_eq!(told[2], "key 'missing' does not exist");
    assert_eq!(faults.iter().map(PinFault::name).next(), Some(name("wrong")));
    assert_eq!(told.len(), 3);
    // It creates nothing.
    assert!(store.read(&name("missing")).await.is_err());
}
