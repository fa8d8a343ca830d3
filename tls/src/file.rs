//! Bounded reads of files that may hold a private key.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Fault;

/// The largest file that is read, in bytes. All CAs of a system make a quarter of it; the limit
/// keeps a wrong path, such as that of a log or a device, from filling the memory.
pub const MAX_FILE_LEN: usize = 1024 * 1024;

/// The whole file, in a buffer that is wiped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // Reserved whole at first, one byte over the limit to see that a file goes beyond: a buffer
    // that grows leaves an unwiped copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN + 1));
    let limit = u64::try_from(MAX_FILE_LEN + 1).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| Fault::Read { error })?;
    if bytes.len() > MAX_FILE_LEN { Err(Fault::TooLarge) } else { Ok(bytes) }
}
