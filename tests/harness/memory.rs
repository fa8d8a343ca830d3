use std::fs::{File, read_link, read_to_string};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kes_testkit::{Process, wait};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Makes a named pipe. Who opens it to read waits until somebody opens it to write.
pub(crate) fn make_pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

/// The memory of a server.
///
/// Nobody but root may look into the server, whoever started it: that is asserted elsewhere. But
/// the system asks whether somebody may when the memory is opened, not when it is read; and until
/// the server has taken the right away, its owner has it. So the memory is opened before the
/// server's first instruction, and needs no root.
#[derive(Debug)]
pub(crate) struct Memory {
    maps: File,
    pages: File,
    bytes: File,
}

/// Holds a program before its first instruction: a pipe in the place of a library that it is told
/// to load (`LD_PRELOAD`). The dynamic linker waits until somebody writes to it, finds nothing in
/// it, complains on standard error, and goes on.
#[derive(Debug)]
pub(crate) struct Gate {
    pipe: PathBuf,
    folder: tempfile::TempDir,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("gate");
        make_pipe(&pipe);
        Self { pipe, folder }
    }

    /// The environment of a program that is to be held.
    pub(crate) fn env(&self) -> (&'static str, &str) {
        ("LD_PRELOAD", self.pipe.to_str().unwrap())
    }

    /// Waits until a process is held as this program, opens its memory, and lets it go. What the
    /// process was before, such as `setpriv` that starts the program, is let go as well.
    ///
    /// # Panics
    /// If the program is not linked dynamically, or the system lets nobody but root look.
    pub(crate) fn memory_of(self, process: &Process, program: &Path) -> Memory {
        let program = std::fs::metadata(program).unwrap();
        let id = process.id();
        let mut memory = None;
        wait::eventually(Duration::from_secs(60), "the program waits for its library", || {
            // The process cannot become another before it is let go.
            let is_ours = read_link(format!("/proc/{id}/exe"))
                .and_then(std::fs::metadata)
                .is_ok_and(|exe| (exe.dev(), exe.ino()) == (program.dev(), program.ino()));
            if is_ours {
                memory = Some(Memory::of(id));
            }
            match rustix::fs::open(&self.pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                Ok(_) => is_ours,
                // Nobody waits for it yet.
                Err(Errno::NXIO) => false,
                Err(error) => panic!("{}: {error}", self.folder.path().display()),
            }
        });
        memory.unwrap()
    }
}

impl Memory {
    fn of(id: u32) -> Self {
        let open = |name: &str| {
            File::open(format!("/proc/{id}/{name}")).unwrap_or_else(|error| {
                let yama = read_to_string("/proc/sys/kernel/yama/ptrace_scope");
                panic!(
                    "this test looks into a process that it has started, and the system does not \
                     let it: /proc/{id}/{name}: {error} (kernel.yama.ptrace_scope is {}, and has \
                     to be 0 or 1 for whoever is not root)",
                    yama.as_deref().unwrap_or("not there").trim()
                )
            })
        };
        Self { maps: open("maps"), pages: open("pagemap"), bytes: open("mem") }
    }

    /// Which of some texts stand anywhere in what the process has written to.
    ///
    /// # Panics
    /// If nothing can be read.
    pub(crate) fn holds(&self, texts: &[&[u8]]) -> Vec<bool> {
        self.count(texts).into_iter().map(|count| count > 0).collect()
    }

    /// How often each of some texts stands there.
    ///
    /// # Panics
    /// If nothing can be read.
    pub(crate) fn count(&self, texts: &[&[u8]]) -> Vec<usize> {
        let finders: Vec<_> = texts.iter().map(memchr::memmem::Finder::new).collect();
        let mut found = vec![0; texts.len()];
        let mut read = 0;
        for (start, pages) in self.writable().into_iter().flat_map(|range| self.present(range)) {
            let mut bytes = vec![0; pages * rustix::param::page_size()];
            // What was given back since the list was made cannot be read.
            if self.bytes.read_exact_at(&mut bytes, start).is_ok() {
                read += bytes.len();
                for (found, finder) in found.iter_mut().zip(&finders) {
                    *found += finder.find_iter(&bytes).count();
                }
            }
        }
        assert!(read >= 1 << 20, "only {read} bytes of the server's memory can be read");
        found
    }

    /// What the process may write to, from where to where.
    fn writable(&self) -> Vec<(u64, u64)> {
        let mut maps = String::new();
        let mut file = &self.maps;
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_string(&mut maps).unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        maps.lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, rights)| rights.starts_with("rw"))
            .filter_map(|(range, _)| range.split_once('-'))
            .map(|(start, end)| (number(start), number(end)))
            .collect()
    }

    /// Where in a range pages are that were ever touched, and how many in a row; most never were.
    fn present(&self, (start, end): (u64, u64)) -> Vec<(u64, usize)> {
        /// In memory, or swapped out (Linux: `admin-guide/mm/pagemap.rst`).
        const PRESENT: u64 = 0b11 << 62;
        let size = rustix::param::page_size() as u64;
        let mut entries = vec![0; usize::try_from((end - start) / size).unwrap() * 8];
        self.pages.read_exact_at(&mut entries, start / size * 8).unwrap();
        let entries = entries
            .chunks_exact(8)
            .map(|entry| u64::from_ne_bytes(entry.try_into().expect("eight bytes")) & PRESENT != 0);
        let mut runs: Vec<(u64, usize)> = Vec::new();
        for (at, _) in
            (start..end).step_by(rustix::param::page_size()).zip(entries).filter(|(_, is)| *is)
        {
            match runs.last_mut() {
                Some((from, pages)) if *from + *pages as u64 * size == at => *pages += 1,
                _ => runs.push((at, 1)),
            }
        }
        runs
    }
}
