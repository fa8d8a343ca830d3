use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use kes_api::KeyName;
use rustix::fs::CWD;

use super::Folder;
use super::bound::{Bound, Place};
use super::marker::{self, MARKER, Marker};
use super::sys;
use super::temporary::{Entries, Temporary};
use crate::State;
use crate::config::FolderId;

/// How many entries are searched for a key when the folder is opened. If none of them is, there may
/// be keys behind them, and the folder does not count as empty.
const SEARCHED: usize = 1000;

/// What a folder must be.
#[derive(Default)]
pub(in crate::fs) struct Demands {
    /// The ID that the configuration demands.
    pub(in crate::fs) id: Option<FolderId>,
    /// The folder that this process had opened at the path.
    pub(in crate::fs) known: Option<Known>,
    /// Whether it must exist, whatever it is.
    pub(in crate::fs) exists: bool,
    /// Another text for its path, in messages.
    pub(in crate::fs) shown: Option<String>,
    /// Whether a running server changes to it: it must exist then.
    pub(in crate::fs) is_reload: bool,
    /// Whether nothing is written into it.
    pub(in crate::fs) untouched: bool,
}

/// What tells a folder that was opened from others.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) struct Known {
    place: Place,
    id: Option<FolderId>,
}

/// A folder that was just opened.
pub(in crate::fs) struct Opened {
    pub(in crate::fs) folder: Arc<Folder>,
    pub(in crate::fs) known: Known,
    pub(in crate::fs) state: State,
    /// The entries to search for unfinished files.
    pub(in crate::fs) entries: Entries,
    /// Whether it did not exist before.
    pub(in crate::fs) is_new: bool,
    /// Whether it has no keys.
    pub(in crate::fs) is_empty: bool,
    /// What became of writing a marker, if it had none.
    pub(in crate::fs) marked: Option<io::Result<()>>,
}

impl Folder {
    /// Opens a folder; creates it if it is missing, and nothing demands one that exists. Gives it a
    /// marker if it has none and can be written.
    pub(in crate::fs) fn open(path: &Path, demands: &Demands) -> io::Result<Opened> {
        let start = Instant::now();
        let Demands { id, known, exists, is_reload, untouched, shown } = demands;
        let had_keys = id.is_some() || known.is_some();
        let is_new = if had_keys || *exists || *is_reload { false } else { make_folder(path)? };
        let path = Arc::from(path);
        let mut bound = Bound::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if had_keys => io::Error::new(
                error.kind(),
                format!("{error}; it held keys before: mount it or restore it"),
            ),
            io::ErrorKind::NotFound if *is_reload => io::Error::new(
                error.kind(),
                format!(
                    "{error}; a reload makes no folder: correct the path, or, if the server is to \
                     have a new key store, make the folder for its user and reload again"
                ),
            ),
            _ => error,
        })?;
        if let Some(id) = id {
            verify_id(*id, bound.marker)?;
        }
        if let Some(known) = known {
            known.verify(&bound)?;
        }
        let is_empty = !has_keys(&bound)?;
        let marked = if bound.marker.is_some() || *untouched {
            None
        } else {
            let written = write_marker(&bound);
            Some(written.map(|marker| bound.marker = marker))
        };
        let known = Known { place: bound.place(), id: bound.marker.map(|marker| marker.id) };
        let bound = Arc::new(bound);
        let entries = Entries::of(Arc::clone(&bound))?;
        let state = State::Reachable { latency: start.elapsed() };
        let shown = shown.clone().unwrap_or_else(|| path.display().to_string());
        let folder = Self { path, shown, bound: ArcSwap::new(bound), lock: OnceLock::new() };
        let folder = Arc::new(folder);
        Ok(Opened { folder, known, state, entries, is_new, is_empty, marked })
    }
}

impl Known {
    /// Fails if another folder is there than this one.
    fn verify(self, found: &Bound) -> io::Result<()> {
        let id = found.marker.map(|marker| marker.id);
        let is_this = match (self.id, id) {
            // Its marker was removed, or written meanwhile.
            (Some(_), None) | (None, _) => self.place == found.place(),
            (Some(ours), Some(theirs)) => ours == theirs,
        };
        if is_this {
            return Ok(());
        }
        Err(io::Error::other(
            "another folder is there than the one that this server has opened before; mount that \
             one again or put it back, or restart the server to use the other one",
        ))
    }
}

/// Fails if a folder has not the ID that the configuration demands.
fn verify_id(demanded: FolderId, marker: Option<Marker>) -> io::Result<()> {
    let found = match marker {
        Some(marker) if marker.id == demanded => return Ok(()),
        Some(marker) => format!("it has the ID {}", marker.id),
        None => format!("it has no marker '{MARKER}'"),
    };
    Err(io::Error::other(format!(
        "{found}, and keystore.fs.id demands the ID {demanded}; mount or restore the folder with \
         that ID, or, if this is the right one, write the ID into its file '{MARKER}'"
    )))
}

/// Gives a folder a marker. If another server does so at the same moment, that one stays. Returns
/// the marker that the folder has then.
fn write_marker(folder: &Bound) -> io::Result<Option<Marker>> {
    let text = marker::text(FolderId::random());
    let written = Temporary::write(folder, text.as_bytes(), marker::MODE)
        .and_then(|temporary| temporary.publish(MARKER))
        .and_then(|()| sys::sync_folder(&folder.handle));
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Marker::read(&folder.handle),
    }
}

/// Whether there are keys in a folder.
fn has_keys(folder: &Bound) -> io::Result<bool> {
    let (mut found, mut searched) = (false, 0);
    folder.entries(|name, _| {
        searched += 1;
        found = KeyName::parse(name).is_ok() || searched > SEARCHED;
        Ok(!found)
    })?;
    Ok(found)
}

/// Creates a folder and those above it, as far as they are missing, for this user alone. Returns
/// whether it was missing.
fn make_folder(path: &Path) -> io::Result<bool> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| matches!(path.try_exists(), Ok(false))).collect();
    if let Ok(target) = path.read_link()
        && !missing.is_empty()
    {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("it is a link to '{}', which does not exist", target.display()),
        ));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let is_new = !missing.is_empty();
    for made in missing {
        // The folder above a relative path of one part is the current one.
        match made.parent() {
            Some(above) if above.as_os_str().is_empty() => sync_path(Path::new("."))?,
            Some(above) => sync_path(above)?,
            None => {}
        }
    }
    Ok(is_new)
}

fn sync_path(folder: &Path) -> io::Result<()> {
    sys::sync_folder(sys::open_folder(CWD, folder)?)
}
