//! What the system says of a process.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Keeps this thread, and what it starts from now on, on one core. On a machine with one core
/// that is the only one.
pub(crate) fn pin(core: usize) {
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let count = cores.lines().filter(|line| line.starts_with("processor")).count();
    let mut set = CpuSet::new();
    set.set(core % count.max(1));
    sched_setaffinity(None, &set).unwrap();
}

/// CPU time of a process so far, in nanoseconds, over all of its threads.
pub(crate) fn time_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
