//! What the system knows of this process, and what the process asks of the system.

use std::num::NonZero;

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
    /// page: they are never 0 (contract `api.md`, status).
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

/// How many connections may be open at once: the limit of open files, less what the server
/// itself needs for its key store, logs and listeners.
pub(crate) fn max_connections() -> usize {
    const OWN_FILES: u64 = 128;
    let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(files.saturating_sub(OWN_FILES).max(16)).unwrap_or(usize::MAX)
}
