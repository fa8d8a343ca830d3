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

    // Under a limit the lock would be granted and later allocations over the limit refused,
    // which ends the process under load. ONFAULT: only pages that are used.
    let unlimited = rustix::process::getrlimit(Resource::Memlock).current.is_none();
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    unlimited && mlockall(all).is_ok()
}

/// How many connections may be open at once: the limit of open files, less what the server
/// itself needs for its key store, logs and listeners.
pub(crate) fn max_connections() -> usize {
    const OWN_FILES: u64 = 128;
    let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(files.saturating_sub(OWN_FILES).max(16)).unwrap_or(usize::MAX)
}
