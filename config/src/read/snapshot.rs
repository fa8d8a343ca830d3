use super::{path, secret};
use crate::bounds::{SNAPSHOT_AGE, SNAPSHOT_KEY};
use crate::value::{AlreadyReported, Text, Value};
use crate::{Snapshot, SnapshotKeySource};

/// Reads the section; `None` without it.
pub(super) fn read(value: &Value<'_>) -> Result<Option<Snapshot>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("cache.snapshot")?;
    let file = section.take("path").required_or("is required, such as /var/lib/kes/keys.snapshot");
    let (key_field, text_field) = (section.take("key"), section.take("key_text"));
    let key = key(value, &key_field, &text_field);
    let age_field = section.take("max_age");
    let max_age = age_field.duration_or(Snapshot::MAX_AGE);
    section.end();
    let (file, key, max_age) = (file?, key?, max_age?);
    if file.as_str().ends_with('/') {
        return Err(file.mistake(format!("{} is a folder; name a file in it", file.shown())));
    }
    if !SNAPSHOT_AGE.contains(&max_age) {
        return Err(age_field.mistake("is not from 1s to 720h"));
    }
    Ok(Some(Snapshot { path: path(&file), key, max_age }))
}

fn key(
    section: &Value<'_>,
    file: &Value<'_>,
    text: &Value<'_>,
) -> Result<SnapshotKeySource, AlreadyReported> {
    match (file.filled()?, text.filled()?) {
        (Some(_), Some(_)) => Err(text.mistake("only one of key and key_text may be set")),
        (Some(file), None) => Ok(SnapshotKeySource::File(path(&file))),
        (None, Some(text)) => literal(&text),
        (None, None) => Err(section.mistake(
            "a snapshot needs a key; set cache.snapshot.key to a file with at least 32 bytes, made by \
             `openssl rand -base64 48`",
        )),
    }
}

/// No message shows the text.
fn literal(text: &Text<'_>) -> Result<SnapshotKeySource, AlreadyReported> {
    let length = text.as_str().trim_end_matches(['\r', '\n']).len();
    if !SNAPSHOT_KEY.contains(&length) {
        return Err(text.mistake(format!(
            "it has {length} bytes, and a key has {} to {}; make one with `openssl rand -base64 48`",
            SNAPSHOT_KEY.start(),
            SNAPSHOT_KEY.end()
        )));
    }
    Ok(SnapshotKeySource::Literal(secret(text)))
}
