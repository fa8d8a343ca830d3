use std::io;
use std::time::{Duration, Instant};

use kes_api::KeyName;

use super::{Folder, is_file, sys};
use crate::Value;

/// How many keys are looked at, and for how long: the answer does not become another one by more.
const MAX_KEYS: usize = 10_000;
const MAX_TIME: Duration = Duration::from_secs(3);

/// How many keys are named.
const NAMED: usize = 3;

/// Keys that a server could not use, whatever it holds in them.
pub(in crate::fs) struct Survey {
    /// How many keys were looked at.
    pub(in crate::fs) seen: usize,
    /// How many of them are of no use.
    pub(in crate::fs) useless: usize,
    /// The first of those, and why.
    pub(in crate::fs) named: Vec<String>,
}

impl Folder {
    /// Looks for keys that cannot be opened, such as those of another user, and for files that are
    /// surely no stored keys. No key is read.
    pub(in crate::fs) fn survey(&self) -> io::Result<Survey> {
        let bound = self.bound.load();
        let (start, mut survey) =
            (Instant::now(), Survey { seen: 0, useless: 0, named: Vec::new() });
        bound.entries(|name, kind| {
            if KeyName::parse(name).is_err() || !is_file(&bound, name, kind)? {
                return Ok(true);
            }
            survey.seen += 1;
            let fault = sys::open_file(&bound.handle, name)
                .and_then(|file| sys::stat_open(&file))
                .map_or_else(
                    |error| Some(error.to_string()),
                    |found| match usize::try_from(found.st_size) {
                        Ok(0) => Some("it is empty".to_owned()),
                        Ok(size) if size <= Value::MAX_LEN => None,
                        _ => Some("it is too big for a stored key".to_owned()),
                    },
                );
            if let Some(fault) = fault {
                survey.useless += 1;
                if survey.named.len() < NAMED {
                    survey.named.push(format!("'{name}': {fault}"));
                }
            }
            Ok(survey.seen < MAX_KEYS && start.elapsed() < MAX_TIME)
        })?;
        Ok(survey)
    }
}
