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
    /// Compresses what is not compressed yet, unless that is going on.
    /// `lock` is held meanwhile, so that no other process does it at the same time.
    pub(super) fn start(&mut self, path: &Path, lock: &Arc<File>) -> Option<String> {
        let problem = self.problem();
        if self.0.is_none() {
            let (path, lock) = (path.to_owned(), Arc::clone(lock));
            let work = move || {
                let result = compress_all(&path);
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
            Ok(Err(error)) => Some(format!("a closed segment cannot be compressed: {error}")),
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

fn compress_all(path: &Path) -> io::Result<()> {
    let is_plain = |path: &Path| path.extension().is_none_or(|end| end != "gz");
    let segments = all_closed(path)?;
    for (_, segment) in segments.iter().filter(|(_, path)| is_plain(path)) {
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
