use kes_keystore::config::Migration;
use kes_keystore::{Config, Side, Stage, Writes};

use super::keystore;
use crate::value::{AlreadyReported, Value, by_word};

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
    let read = one_of(&section.take("read"), &Side::ALL, Side::word);
    let write = one_of(&section.take("write"), &Writes::ALL, Writes::word);
    let compare = section.take("compare").boolean();
    let place = to_field.place();
    section.end();
    let stage = Stage { read: read?, write: write?, compare: compare? };
    Ok(Some(Migration { to: to?, place, stage }))
}

/// One of some; the first one if none is given.
fn one_of<T: Copy>(
    value: &Value<'_>,
    all: &[T],
    word: fn(T) -> &'static str,
) -> Result<T, AlreadyReported> {
    let text = value.filled()?;
    let written = text
        .as_ref()
        .map_or_else(|| all.first().copied(), |text| by_word(all, word, text.as_str()));
    written.ok_or_else(|| {
        let known: Vec<_> = all.iter().copied().map(word).collect();
        let shown = text.map(|text| text.shown()).unwrap_or_default();
        value.mistake(format!("{shown} is unknown; use one of {}", known.join(", ")))
    })
}
