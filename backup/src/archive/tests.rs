use kes_api::{Fingerprint, KeyName, ListPattern};
use kes_crypto::{Cipher, Key, Secret};
use kes_keystore::{KeyStore as _, Limit, Record, Value};
use proptest::prelude::*;

use super::{Archive, Error, Fault, Header, Writer};
use crate::age::{Identity, Opened, Opening, Sealer, Sealing};

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

/// A stored key, which differs for each seed, and its fingerprint.
fn stored(seed: u8) -> (Value, Fingerprint) {
    let secret = || Secret::from_slice(&[seed; 32]).unwrap();
    let key = Key::from_parts(Cipher::Aes256, secret(), Some(secret()));
    let fingerprint = Fingerprint::new(key.fingerprint());
    let created_at = kes_api::Timestamp::from_unix(1_700_000_000, 0).unwrap();
    (Record { key, created_at, created_by: String::new() }.encode(), fingerprint)
}

struct Site {
    identity: Identity,
}

impl Site {
    fn new() -> Self {
        Self { identity: Identity::generate() }
    }

    fn opening(&self) -> Opening {
        Opening::Identities(vec![Identity::parse(&self.identity.expose()).unwrap()])
    }

    fn backup(&self, keys: &[(String, u8)]) -> Vec<u8> {
        let to = [self.identity.recipient().unwrap()];
        let header = Header::new("memory".to_owned());
        let mut writer = Writer::new(Vec::new(), &Sealing::Recipients(&to), &header).unwrap();
        for (text, seed) in keys {
            let (value, fingerprint) = stored(*seed);
            writer.add(&name(text), fingerprint, &value).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn open(&self, file: Vec<u8>) -> Result<Archive<Vec<u8>>, Error> {
        Archive::open(file, &self.opening())
    }

    /// Seals any content.
    fn seal(&self, content: &[u8]) -> Vec<u8> {
        let to = [self.identity.recipient().unwrap()];
        let mut sealer = Sealer::new(Vec::new(), &Sealing::Recipients(&to)).unwrap();
        sealer.write_all(content).unwrap();
        sealer.finish().unwrap()
    }

    /// The content of a file.
    fn content(&self, file: Vec<u8>) -> Vec<u8> {
        let opened = Opened::new(file, &self.opening()).unwrap();
        (0..opened.chunks()).flat_map(|at| opened.chunk(at).unwrap().unwrap().to_vec()).collect()
    }
}

fn keys(count: u32) -> Vec<(String, u8)> {
    (0..count).map(|at| (format!("key-{at:05}"), u8::try_from(at % 251).unwrap())).collect()
}

#[tokio::test]
async fn a_backup_is_a_store_with_its_keys() {
    let site = Site::new();
    // Of some chunks, and of none.
    for count in [0, 1, 2, 300, 2_000] {
        let keys = keys(count);
        let archive = site.open(site.backup(&keys)).unwrap();
        assert_eq!(archive.summary().keys, u64::from(count));
        assert_eq!(archive.header().store, "memory");
        for (text, seed) in &keys {
            let value = archive.read(&name(text)).await.ok().unwrap();
            assert_eq!(value.expose(), stored(*seed).0.expose(), "{text}");
        }
        for missing in
            ["a", "key-00000-", "key-99999", "z"].into_iter().filter(|n| KeyName::parse(n).is_ok())
        {
            assert!(archive.read(&name(missing)).await.is_err(), "{missing}");
        }
        assert!(archive.delete(&name("key-00000")).await.is_err());
        assert!(archive.create(&name("new"), &stored(1).0).await.is_err());
    }
}

#[tokio::test]
async fn a_listing_goes_page_by_page_and_by_prefix() {
    let site = Site::new();
    let mut all = keys(1_500);
    all.push(("other".to_owned(), 1));
    all.insert(0, ("a".to_owned(), 1));
    let archive = site.open(site.backup(&all)).unwrap();
    for (prefix, expected) in
        [("", 1_502), ("key-", 1_500), ("key-000", 100), ("o", 1), ("x", 0), ("b", 0)]
    {
        let (mut names, mut text) = (Vec::new(), prefix.to_owned());
        loop {
            let pattern = ListPattern::parse(&text).unwrap();
            let page = archive.list(&pattern, Limit::names(700)).await.unwrap();
            names.extend(page.names.iter().map(str::to_owned));
            let Some(next) = page.next else { break };
            text = pattern.continue_at(next.as_str());
        }
        let found: Vec<_> = all
            .iter()
            .map(|(text, _)| text.clone())
            .filter(|text| text.starts_with(prefix))
            .collect();
        assert_eq!(names, found, "{prefix}");
        assert_eq!(names.len(), expected, "{prefix}");
    }
}

#[test]
fn a_key_out_of_order_is_not_written() {
    let site = Site::new();
    let to = [site.identity.recipient().unwrap()];
    let header = Header::new("memory".to_owned());
    let mut writer = Writer::new(Vec::new(), &Sealing::Recipients(&to), &header).unwrap();
    let (value, fingerprint) = stored(1);
    writer.add(&name("b"), fingerprint, &value).unwrap();
    for text in ["b", "a"] {
        let error = writer.add(&name(text), fingerprint, &value);
        assert!(matches!(error, Err(Error::Order(_))), "{text}");
    }
}

/// Whoever holds the recipient can seal anything: what is in a file is checked, however well it is sealed.
#[test]
fn no_byte_of_the_content_can_be_changed_and_none_be_missing() {
    let site = Site::new();
    let content = site.content(site.backup(&keys(2)));
    assert!(site.open(site.seal(&content)).is_ok());
    for at in 0..content.len() {
        assert!(site.open(site.seal(&content[..at])).is_err(), "cut at {at}");
        let mut changed = content.clone();
        changed[at] ^= 0x01;
        assert!(site.open(site.seal(&changed)).is_err(), "byte {at}");
    }
    let twice = [content.as_slice(), content.as_slice()].concat();
    assert!(matches!(
        site.open(site.seal(&twice)),
        Err(Error::Line { line: 5, fault: Fault::AfterEnd })
    ));
}

#[test]
fn what_is_wrong_with_a_line_is_told_without_its_value() {
    let site = Site::new();
    let content = String::from_utf8(site.content(site.backup(&keys(2)))).unwrap();
    let lines: Vec<&str> = content.lines().collect();
    let [head, one, two, end] = lines[..] else { panic!("{} lines", lines.len()) };
    let opened = |lines: &[&str]| {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        site.open(site.seal(text.as_bytes())).err().unwrap()
    };
    let of_other = one.replace("key-00000", "key-00002");
    let (value, other) = (stored(0).0, stored(9).1);
    let wrong = super::line::write(&name("key-00000"), other, &value).unwrap();
    let wrong = std::str::from_utf8(wrong.expose()).unwrap();
    for (lines, text) in [
        (vec![], "it can be opened, and is no backup of kes"),
        (vec!["{}"], "it can be opened, and is no backup of kes"),
        (
            vec![head, one, two],
            "it is not complete: it ends after line 3, without the number of its keys",
        ),
        (
            vec![head, two, one, end],
            "line 3 is damaged: its name does not follow that of the line before",
        ),
        (
            vec![head, one, one, end],
            "line 3 is damaged: its name does not follow that of the line before",
        ),
        (vec![head, one, end], "it has 1 keys, and its last line tells of 2"),
        (vec![head, one, &of_other, end], "its lines do not have the hash of its last line"),
        (
            vec![head, wrong, two, end],
            "line 2 is damaged: its fingerprint is not that of its value",
        ),
        (vec![head, "x"], "line 2 is damaged: it is not the JSON of a key"),
        (
            vec![head, "{\"name\":\"-\",\"fingerprint\":\"\",\"value\":\"hunter2\"}"],
            "line 2 is damaged: its name is not that of a key",
        ),
    ] {
        assert_eq!(opened(&lines).to_string(), text);
    }
    let later = head.replace("\"version\":1", "\"version\":7");
    assert!(matches!(opened(&[&later, one, two, end]), Error::Version(7)));
    let long = "x".repeat(super::line::MAX_LEN + 1);
    assert!(matches!(opened(&[head, &long]), Error::Line { fault: Fault::TooLong, .. }));
}

proptest! {
    #[test]
    fn any_value_is_read_back(text in any::<String>()) {
        let value = Value::new(text);
        let line = super::line::write(&name("a"), Fingerprint::new([7; 16]), &value).unwrap();
        let Ok(super::line::Line::Key { value: read, .. }) = super::line::parse(line.expose()) else {
            panic!("it was written")
        };
        prop_assert_eq!(read.expose(), value.expose());
        prop_assert!(!line.expose().contains(&b'\n'));
    }
}
