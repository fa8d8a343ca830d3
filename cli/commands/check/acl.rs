//! POSIX access control lists, which give rights to users and groups beside those of a file's mode.

use std::path::Path;

/// The attribute that Linux keeps a list in.
const ATTRIBUTE: &str = "system.posix_acl_access";

/// The most bytes of a list that are read; the largest that a file system keeps is one block.
const MAX_LEN: usize = 64 * 1024;

/// Whom an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    User(u32),
    Group(u32),
}

/// The list of a file. Rights are the three bits of a mode, as far as the mask leaves them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    /// The rights of the group that the file belongs to.
    pub(super) group: u32,
    pub(super) named: Vec<(Who, u32)>,
}

/// The list of a file or folder; `None` if there is none, or the file system knows none.
pub(super) fn read(path: &Path) -> Option<List> {
    let mut bytes = vec![0; MAX_LEN];
    let len = rustix::fs::getxattr(path, ATTRIBUTE, bytes.as_mut_slice()).ok()?;
    parse(&bytes[..len])
}

/// A version, and entries of kind, rights and ID, all little-endian.
fn parse(bytes: &[u8]) -> Option<List> {
    const VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const USER: u16 = 0x02;
    const OWNING_GROUP: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    let entries = bytes.strip_prefix(&VERSION)?.chunks_exact(8).map(|entry| {
        let [kind, rights] = [0, 2].map(|at| u16::from_le_bytes([entry[at], entry[at + 1]]));
        (kind, u32::from(rights), u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))
    });
    let rights_of = |wanted: u16| entries.clone().find(|(kind, ..)| *kind == wanted);
    let mask = rights_of(MASK).map_or(0o7, |(_, rights, _)| rights);
    let named = entries.clone().filter_map(|(kind, rights, id)| match kind {
        USER => Some((Who::User(id), rights & mask)),
        GROUP => Some((Who::Group(id), rights & mask)),
        _ => None,
    });
    let group = rights_of(OWNING_GROUP).map_or(0, |(_, rights, _)| rights & mask);
    Some(List { group, named: named.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_masked() {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (kind, rights, id) in [
            (0x01_u16, 0o6_u16, u32::MAX),
            (0x02, 0o6, 1001),
            (0x04, 0o7, u32::MAX),
            (0x08, 0o2, 50),
            (0x10, 0o4, u32::MAX),
            (0x20, 0o0, u32::MAX),
        ] {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        let named = vec![(Who::User(1001), 0o4), (Who::Group(50), 0)];
        assert_eq!(parse(&bytes), Some(List { group: 0o4, named }));
        for bad in [&b""[..], b"\x01\0\0\0", b"\x02\0\0"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(read(Path::new("/nope")), None);
    }
}
