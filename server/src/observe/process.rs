//! What the system tells of this process.

use std::num::NonZero;

pub(crate) use kes_keystore::files_hint;

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
