//! What the system knows of this process, and what the process asks of the system.

use std::num::NonZero;
use std::sync::OnceLock;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Figures of this process for status and metrics.
pub(crate) struct Process {
    /// Processors of the machine.
    pub(crate) cpus: usize,
    /// Processors that the runtime uses.
    pub(crate) cpus_used: usize,
    /// Threads.
    pub(crate) threads: u64,
    /// Bytes of anonymous memory in use.
    pub(crate) heap: u64,
    /// Bytes of the main thread's stack.
    pub(crate) stack: u64,
    /// Bytes of memory in use, mapped files included.
    pub(crate) resident: u64,
}

impl Process {
    /// As of now, from `/proc`. Where that is not mounted the memory figures are those of one
    /// page: they are never 0 (contract `api.md`, Bodies).
    pub(crate) fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let kib = |name| field(name).unwrap_or_default().max(4) * 1024;
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpus = cpus.lines().filter(|line| line.starts_with("processor")).count();
        let cpus_used = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cpus: cpus.max(cpus_used),
            cpus_used,
            threads: field("Threads:").unwrap_or(1),
            heap: kib("RssAnon:"),
            stack: kib("VmStk:"),
            resident: kib("VmRSS:"),
        }
    }
}

/// Memory that the server may come to map beside its connections: threads with their stacks, and
/// what the allocator keeps mapped. Some 1.2 GiB were seen with all threads for blocking calls.
const OWN_MEMORY: u64 = 2 << 30;

/// Memory that a connection may come to map: 11 KiB when idle, more with a request.
const CONNECTION_MEMORY: u64 = 64 << 10;

/// Keeps key material out of core dumps and away from debuggers of the same user, and raises the
/// limit of open files to what the system allows. Whether memory could be locked.
pub fn harden() -> bool {
    // Refused nowhere; where it is, the rest still holds.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);

    let files = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: files.maximum, maximum: files.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);

    lock_memory()
}

/// Locks memory where no later allocation can be refused for it: without a limit or with one that
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
    // ONFAULT: only pages that are used.
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;

    let connections = u64::try_from(max_connections()).unwrap_or(u64::MAX);
    let needed = OWN_MEMORY.saturating_add(connections.saturating_mul(CONNECTION_MEMORY));
    if limit.maximum.is_none_or(|limit| limit >= needed) {
        return set(limit.maximum).is_ok() && mlockall(all).is_ok();
    }
    // With a limit of 0 the system asks for the capability, and for one that counts on the
    // machine: in a user namespace every process may seem to have it.
    let locked = set(Some(0)).is_ok() && mlockall(all).is_ok();
    let _ = set(limit.current);
    locked
}

/// The user that the process runs as, for messages: whoever reads "permission denied" has to know.
pub(crate) fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    });
    match name {
        Some(name) => format!("user '{name}' (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// Files that the server opens for itself: standard streams, the runtime's, signals and the
/// listener (10 were counted), and those of a reload.
const OWN_FILES: u64 = 12;

/// Files that whoever starts the process may leave open in it, usually.
const FEW_INHERITED: u64 = 4;

/// Files for calls to the key store, at most: 64 calls at once (`kes-keystore`), the certificate
/// files of a reload, and idle connections to Vault. With few files, requests have as many as
/// there are connections.
const MAX_STORE_FILES: u64 = 112;

/// Fewer connections serve nobody: a MinIO server holds up to three, and a scraper one.
const MIN_CONNECTIONS: u64 = 4;

/// How many connections may be open at once: the limit of open files, less what the server
/// itself needs for its key store, logs and listeners.
pub(crate) fn max_connections() -> usize {
    let connections = connections_of(file_limit(), own_files());
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Whether the process may open as many files as the smallest server needs; call it before
/// anything else is opened.
///
/// # Errors
/// [`Error::Files`](crate::Error::Files) if it may not.
pub fn check_files() -> Result<(), crate::Error> {
    let (limit, own) = (file_limit(), own_files());
    if connections_of(limit, own) >= MIN_CONNECTIONS {
        return Ok(());
    }
    Err(crate::Error::Files { limit, needed: own + 2 * MIN_CONNECTIONS })
}

fn file_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// What the server itself needs, with the files that the process was started with.
fn own_files() -> u64 {
    static INHERITED: OnceLock<u64> = OnceLock::new();
    OWN_FILES + FEW_INHERITED.max(*INHERITED.get_or_init(inherited_files))
}

/// Counts the open files of the process beside its standard streams. The limit is one of their
/// numbers: those above it take nothing away.
fn inherited_files() -> u64 {
    let limit = file_limit();
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let count = numbers.filter(|number| (3..limit).contains(number)).count();
    // One of them is the listing itself.
    u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(1)
}

/// What is left for connections and the key store is shared half and half, until the key store has
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
