//! Bounded reads of files that may hold a private key.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::MAX_FILE_LEN;
use crate::error::Fault;

/// The whole file, in a buffer that is wiped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    read_to_limit(path)
        .map_err(|error| Fault::Read { error })
        .and_then(|bytes| if bytes.len() > MAX_FILE_LEN { Err(Fault::TooLarge) } else { Ok(bytes) })
}

/// Reads at most one byte more than the limit, to detect a file that is too large.
fn read_to_limit(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    const LIMIT: u64 = MAX_FILE_LEN as u64 + 1;

    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = if metadata.is_file() { LIMIT.min(metadata.len() + 1) } else { LIMIT };
    // Allocated at full size: a buffer that grows leaves an unwiped copy behind. The length of a
    // pipe is not known.
    let capacity = usize::try_from(len).unwrap_or(MAX_FILE_LEN);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}
