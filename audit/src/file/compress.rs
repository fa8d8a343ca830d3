use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use super::access;
use crate::segment::{all_closed, beside};

/// Compresses closed segments, in a thread of its own.
#[derive(Default)]
pub(super) struct Compression(Option<JoinHandle<io::Result<()>>>);

impl Compression {
    /// Compresses what is closed now and not compressed yet, unless that is going on.
    /// `lock` is held meanwhile, so that no other process does it at the same time.
    ///
    /// `written` is the file that lines go to. Whoever moves it gives it the name of a closed segment,
    /// and it gets its last lines after that; so it is left out, and so is what appears later.
    pub(super) fn start(
        &mut self,
        path: &Path,
        lock: &Arc<File>,
        written: &File,
    ) -> Option<String> {
        let problem = self.problem();
        if self.0.is_none() {
            let segments = match closed_now(path, written) {
                Ok(segments) => segments,
                Err(error) => return Some(failed(&error)),
            };
            let (path, lock) = (path.to_owned(), Arc::clone(lock));
            let work = move || {
                let result = compress_all(&path, &segments);
                drop(lock);
                result
            };
            // A segment that is not compressed now will be with the next one.
            self.0 = thread::Builder::new().name("audit-gzip".to_owned()).spawn(work).ok();
        }
        problem
    }

    /// Why the last run failed.
    pub(super) fn problem(&mut self) -> Option<String> {
        if !self.0.as_ref()?.is_finished() {
            return None;
        }
        match self.0.take()?.join() {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(failed(&error)),
            Err(_panic) => Some("a bug of the server: the compression panicked".to_owned()),
        }
    }

    #[cfg(test)]
    pub(super) fn wait(&mut self) {
        if let Some(work) = self.0.take() {
            let _ = work.join();
        }
    }
}

fn failed(error: &io::Error) -> String {
    format!("a closed segment cannot be compressed: {error}")
}

/// The closed segments that are not compressed, without the file that is written.
fn closed_now(path: &Path, written: &File) -> io::Result<Vec<PathBuf>> {
    let written = written.metadata()?;
    let is_closed = |path: &PathBuf| {
        // What is gone meanwhile was too old to be kept.
        let found = path.symlink_metadata();
        found.is_ok_and(|found| !access::is_same(&found, &written))
    };
    let segments = all_closed(path)?.into_iter().map(|(_, path)| path);
    let plain = segments.filter(|path| path.extension().is_none_or(|end| end != "gz"));
    Ok(plain.filter(is_closed).collect())
}

fn compress_all(path: &Path, segments: &[PathBuf]) -> io::Result<()> {
    for segment in segments {
        match compress(segment, &beside(path, "gz")) {
            // It was too old to be kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// The compressed file takes the place of the other once the disk has it.
fn compress(segment: &Path, new: &Path) -> io::Result<()> {
    let mut source = BufReader::with_capacity(256 * 1024, File::open(segment)?);
    let target = access::create(new, Some(&source.get_ref().metadata()?))?;
    // The fastest: hashes take a part of each line that no level makes smaller.
    let mut encoder = GzEncoder::new(target, Level::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    let mut name = segment.as_os_str().to_owned();
    name.push(".gz");
    std::fs::rename(new, PathBuf::from(name))?;
    std::fs::remove_file(segment)?;
    access::sync_folder(segment)
}
