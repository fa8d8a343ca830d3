//! What the server asks of the system for its process: locked memory, no core dumps, open files.

use std::sync::OnceLock;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::error::Error;

/// Memory that the server may map in addition to its connections: stacks of threads, and what the
/// allocator keeps mapped. 1.2 GiB were measured with all threads for blocking calls.
const OWN_MEMORY: u64 = 2 << 30;

/// Memory that a connection may map: 11 KiB when idle, more with a request.
const CONNECTION_MEMORY: u64 = 64 << 10;

/// Keeps what the process holds from core dumps and from debuggers of the same user. A program that
/// handles keys or API keys calls it first of all.
pub fn forbid_dumps() {
    // No system refuses this; if one does, the rest still helps.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
}

/// Prepares the process for a server: as [`forbid_dumps`]; and raises the limit of open files to
/// what the system allows, and locks memory. Returns whether memory could be locked.
pub fn harden() -> bool {
    forbid_dumps();
    let files = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: files.maximum, maximum: files.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);

    lock_memory()
}

/// Locks memory if no later allocation can be refused because of it: without a limit, with one that
/// the server does not reach, or with CAP_IPC_LOCK, to which no limit applies.
///
/// Under a small limit the lock would be granted and later allocations over the limit refused,
/// which ends the process under load.
fn lock_memory() -> bool {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    let set = |current| {
        let limit = Rlimit { current, maximum: limit.maximum };
        rustix::process::setrlimit(Resource::Memlock, limit)
    };
    // ONFAULT: locks only pages that are used.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;

    let connections = u64::try_from(max_connections(0)).unwrap_or(u64::MAX);
    let needed = OWN_MEMORY.saturating_add(connections.saturating_mul(CONNECTION_MEMORY));
    if limit.maximum.is_none_or(|limit| limit >= needed) {
        return set(limit.maximum).is_ok() && mlockall(all).is_ok();
    }
    // With a limit of 0 the system checks for the capability itself, in the initial user namespace:
    // in another one, every process may seem to have it.
    let locked = set(Some(0)).is_ok() && mlockall(all).is_ok();
    let _ = set(limit.current);
    locked
}

/// Files that the server opens for itself: standard streams, those of the runtime, signals and the
/// listener (10 were counted), and those of a reload.
const OWN_FILES: u64 = 12;

/// How many files the parent process usually leaves open.
const FEW_INHERITED: u64 = 4;

/// Files for calls to the key store, at most: 64 calls at once (`kes-keystore`), the certificate
/// files of a reload, and idle connections to Vault. With few files, requests have as many as
/// there are connections.
const MAX_STORE_FILES: u64 = 112;

/// With fewer connections a server is of no use: a MinIO server holds up to three, and a scraper
/// one.
const MIN_CONNECTIONS: u64 = 4;

/// How many connections may be open at once: the limit of open files, less what the server
/// itself needs for its key store, logs and listeners, and `others`.
pub(crate) fn max_connections(others: usize) -> usize {
    let others = u64::try_from(others).unwrap_or(u64::MAX);
    let connections = connections_of(file_limit(), own_files().saturating_add(others));
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Whether the process may open as many files as the smallest server needs; call it before
/// anything else is opened.
///
/// # Errors
/// [`Error::Files`] if it may not.
pub fn check_files() -> Result<(), Error> {
    let (limit, own) = (file_limit(), own_files());
    if connections_of(limit, own) >= MIN_CONNECTIONS {
        return Ok(());
    }
    Err(Error::Files { limit, needed: own + 2 * MIN_CONNECTIONS })
}

fn file_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// What the server itself needs, including the files that the process was started with.
fn own_files() -> u64 {
    static INHERITED: OnceLock<u64> = OnceLock::new();
    OWN_FILES + FEW_INHERITED.max(*INHERITED.get_or_init(inherited_files))
}

/// Counts the open files of the process except its standard streams. The limit applies to their
/// numbers: a file with a higher number does not reduce what is left.
fn inherited_files() -> u64 {
    let limit = file_limit();
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let count = numbers.filter(|number| (3..limit).contains(number)).count();
    // One of them is the folder that is being read.
    u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(1)
}

/// Connections and the key store share the remaining files half and half, until the key store has
/// all that it can use.
fn connections_of(limit: u64, own: u64) -> u64 {
    let left = limit.saturating_sub(own);
    (left / 2).max(left.saturating_sub(MAX_STORE_FILES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_server_and_its_key_store() {
        let connections = [16, 20, 24, 32, 64, 240, 1024].map(|limit| connections_of(limit, 16));
        assert_eq!(connections, [0, 2, 4, 8, 24, 112, 896]);
        assert_eq!(connections_of(32, 28), 2, "with files that the process was started with");
    }
}
