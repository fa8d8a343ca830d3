use std::io::Write;

use aws_lc_rs::digest::{Context, SHA256};
use kes_api::{Fingerprint, KeyName};
use kes_keystore::Value;

use super::line::{self, hex};
use super::{Error, Header, Summary};
use crate::age::{self, Sealer, Sealing};

/// Writes a backup, key by key.
pub struct Writer<W> {
    sealer: Sealer<W>,
    hash: Context,
    keys: u64,
    last: Option<KeyName>,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// [`Error::Age`] if it cannot be sealed so, or not be written.
    pub fn new(to: W, sealing: &Sealing<'_>, header: &Header) -> Result<Self, Error> {
        let sealer = Sealer::new(to, sealing)?;
        let mut writer = Self { sealer, hash: Context::new(&SHA256), keys: 0, last: None };
        writer.line(serde_json::to_string(header).map_err(unwritable)?.as_bytes())?;
        Ok(writer)
    }

    /// Adds a key. Keys come in the order of their names.
    ///
    /// # Errors
    /// [`Error::Order`] for a name that does not follow the one before; [`Error::Age`] if it cannot be written.
    pub fn add(
        &mut self,
        name: &KeyName,
        fingerprint: Fingerprint,
        value: &Value,
    ) -> Result<(), Error> {
        if self.last.is_some_and(|last| last >= *name) {
            return Err(Error::Order(*name));
        }
        let line = line::write(name, fingerprint, value).map_err(unwritable)?;
        self.line(line.expose())?;
        self.keys += 1;
        self.last = Some(*name);
        Ok(())
    }

    /// Ends the backup; what it was written to, and what is in it. Without this it cannot be opened.
    ///
    /// # Errors
    /// [`Error::Age`] if it cannot be written.
    pub fn finish(mut self) -> Result<(W, Summary), Error> {
        let sha256 = hex(self.hash.clone().finish().as_ref());
        let summary = Summary { keys: self.keys, sha256 };
        self.line(serde_json::to_string(&summary).map_err(unwritable)?.as_bytes())?;
        Ok((self.sealer.finish()?, summary))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        for piece in [line, b"\n"] {
            self.hash.update(piece);
            self.sealer.write_all(piece)?;
        }
        Ok(())
    }
}

/// What cannot be JSON: nothing of this. Its message has no part of it.
fn unwritable(error: serde_json::Error) -> Error {
    Error::Age(age::Error::Io(error.into()))
}
