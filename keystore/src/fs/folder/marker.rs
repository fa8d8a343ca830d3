//! The marker of a key folder: a small file with the folder's ID. It tells the folder from others
//! that are at its path later, such as an empty mount point.

use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode};

use super::sys;
use crate::config::FolderId;

/// The name of the file in a key folder that holds the ID of the folder. The name of a key has no
/// `.`.
pub const MARKER: &str = ".kes-folder";

/// The longest marker that is read: far more than the server writes, so that an operator may add
/// comments.
const MAX_LEN: usize = 4096;

/// Everybody may read it, so that a server still starts after one of another user wrote it. The ID is
/// no secret.
pub(super) const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);

/// The marker of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) id: FolderId,
    /// A copy of the file has another inode.
    pub(super) inode: u64,
}

impl Marker {
    /// Reads the marker of a folder; `None` if there is none.
    pub(super) fn read(folder: &OwnedFd) -> io::Result<Option<Self>> {
        let file = match sys::open_file(folder, MARKER) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot_read(&error)),
        };
        let stat = sys::stat_open(&file).map_err(|error| cannot_read(&error))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let (mut bytes, mut len) = ([0; MAX_LEN], 0);
        while is_file && len < bytes.len() {
            let room = bytes.get_mut(len..).unwrap_or_default();
            match sys::read(&file, room).map_err(|error| cannot_read(&error))? {
                0 => break,
                read => len += read,
            }
        }
        let text = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let id = text.and_then(parse).ok_or_else(|| {
            io::Error::other(format!(
                "its marker '{MARKER}' is damaged: it must be a file with a line of {} hexadecimal \
                 digits; restore it from a backup, or remove it, and the server writes a new one",
                FolderId::DIGITS
            ))
        })?;
        Ok(Some(Self { id, inode: stat.st_ino }))
    }
}

/// The text of a marker.
pub(super) fn text(id: FolderId) -> String {
    format!(
        "# The kes server knows this folder of keys by the ID below. Keep this file with the keys,\n\
         # in backups too.\n\
         {id}\n"
    )
}

/// The ID in the text of a marker: its only line that is neither blank nor a comment.
fn parse(text: &str) -> Option<FolderId> {
    let mut lines = text.lines().map(str::trim);
    let mut next = || lines.by_ref().find(|line| !line.is_empty() && !line.starts_with('#'));
    let id = FolderId::parse(next()?)?;
    next().is_none().then_some(id)
}

fn cannot_read(error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; the user of the server must be able to read it",
        _ => crate::files_hint(error),
    };
    io::Error::new(error.kind(), format!("cannot read its marker '{MARKER}': {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_one_line_among_comments() {
        let id = FolderId::random();
        for text in
            [text(id), format!("{id}"), format!("{id}\n"), format!("# a\n\n  {id}  \r\n# b\n")]
        {
            assert_eq!(parse(&text), Some(id), "{text}");
        }
        for text in [String::new(), "# a\n".to_owned(), format!("{id}\n{id}\n"), format!("id {id}")]
        {
            assert_eq!(parse(&text), None, "{text}");
        }
    }
}
