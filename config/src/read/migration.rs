use kes_keystore::config::Migration;
use kes_keystore::{Config, Side, Stage, Writes};

use super::keystore;
use crate::value::{AlreadyReported, Value};

/// Reads the section; `None` without it. The new key store must not be the old one, which is known if it
/// could be read.
pub(super) fn read(
    value: &Value<'_>,
    old: Option<&Config>,
) -> Result<Option<Migration>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("migration")?;
    let to_field = section.take("to");
    let to = keystore::read(&to_field).and_then(|to| match old {
        Some(old) if old.location() == to.location() => Err(to_field.mistake(
            "is the key store that 'keystore' names; name the one that the keys are to move to",
        )),
        _ => Ok(to),
    });
    let read = word(&section.take("read"), &[("old", Side::Old), ("new", Side::New)]);
    let writes = [("old", Writes::Old), ("both", Writes::Both), ("new", Writes::New)];
    let write = word(&section.take("write"), &writes);
    let compare = section.take("compare").boolean();
    let place = to_field.place();
    section.end();
    let stage = Stage { read: read?, write: write?, compare: compare? };
    Ok(Some(Migration { to: to?, place, stage }))
}

/// One of some words; the first one if none is given.
fn word<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, AlreadyReported> {
    let text = value.filled()?;
    let written = text.as_ref().map_or_else(
        || words.first(),
        |text| words.iter().find(|(word, _)| *word == text.as_str()),
    );
    written.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let shown = text.map(|text| text.shown().to_string()).unwrap_or_default();
        value.mistake(format!("{shown} is unknown; use one of {}", known.join(", ")))
    })
}
