use kes_backup::manifest::{Reader, Writer};
use kes_backup::{Header, age, fuzzing};

/// What a backup is made of: the header of the age file, a line of its content, its manifest, and files of
/// recipients. What is accepted is written and read back to the same, and no message has a part of an input
/// that may be secret.
pub(crate) fn backup(data: &[u8]) {
    header(data);
    line(data);
    manifest(data);
    keys(data);
}

fn header(data: &[u8]) {
    if let Some(message) = fuzzing::refused_header(data) {
        assert!(message.len() < 200, "{message}");
    }
}

fn line(data: &[u8]) {
    let Some((name, fingerprint, value)) = fuzzing::key(data) else { return };
    let written = fuzzing::line(&name, fingerprint, &value);
    assert!(!written.contains(&b'\n'));
    let (again, of, read) = fuzzing::key(&written).expect("it was written");
    assert_eq!((again, of), (name, fingerprint));
    assert_eq!(read.expose(), value.expose());
}

fn manifest(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let header = Header::new(reader.store().to_owned());
    let mut writer = Writer::new(Vec::new(), &header).expect("memory takes it");
    let mut keys = Vec::new();
    while let Ok(Some((name, fingerprint))) = reader.next_key() {
        writer.add(&name, fingerprint).expect("memory takes it");
        keys.push((name, fingerprint));
    }
    let Ok(sealed) = reader.finish() else { return };
    let written = writer.finish(&sealed).expect("memory takes it");
    let mut again = Reader::new(written.as_slice()).expect("it was written");
    assert_eq!(again.store(), header.store);
    for key in keys {
        assert_eq!(again.next_key().expect("it was written"), Some(key));
    }
    assert_eq!(again.finish().expect("it was written"), sealed);
}

fn keys(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(recipients) = age::recipients(text) {
        let written: String = recipients.iter().map(|recipient| format!("{recipient}\n")).collect();
        assert_eq!(age::recipients(&written), Ok(recipients));
    }
    if let Ok(identities) = age::identities(text) {
        for identity in identities {
            let written = identity.expose();
            let again = age::Identity::parse(&written).expect("it was written");
            assert_eq!(*again.expose(), *written);
        }
    }
}
