//! What the system says of a process, and the core that it is on.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The place of the core for servers among those that this process may use.
pub(crate) const SERVERS: usize = 0;

/// The place of the core for the load.
pub(crate) const LOAD: usize = 1;

/// The cores that this process was started with.
fn cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    })
}

/// Whether servers and load have a core each. Where they do not, [`pin`] gives them the same one:
/// the CPU time of a request stands, rates and latencies do not.
pub(crate) fn has_two() -> bool {
    cores().len() > 1
}

fn one(place: usize) -> CpuSet {
    let cores = cores();
    let mut set = CpuSet::new();
    set.set(cores[place % cores.len()]);
    set
}

/// Keeps this thread, and what it starts from now on, on one core.
pub(crate) fn pin(place: usize) {
    sched_setaffinity(None, &one(place)).unwrap();
}

/// Whether a process was started on that core and nowhere else.
pub(crate) fn is_pinned(pid: u32, place: usize) -> bool {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    sched_getaffinity(Some(pid)).is_ok_and(|set| set == one(place))
}

/// CPU time of a process so far, in nanoseconds, over all of its threads. Of threads that ended
/// it counts what the calls before this one saw.
pub(crate) fn time_ns(pid: u32) -> u64 {
    static SEEN: Mutex<BTreeMap<u32, BTreeMap<u32, u64>>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap();
    let threads = seen.entry(pid).or_default();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let time = std::fs::read_to_string(task.path().join("schedstat"))
            .ok()
            .and_then(|stat| stat.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
        if let (Some(thread), Some(time)) = (thread, time) {
            threads.insert(thread, time);
        }
    }
    threads.values().sum()
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:")
}

/// The most resident memory that a process has had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

/// What the machine computes with.
pub(crate) fn model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    line.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
}
