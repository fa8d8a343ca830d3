//! Another server beside the bare one and ours: one that runs already, given by address and
//! process ID.
//!
//! It has to be known to the clients and they to it. `-- other <folder>` makes a folder with all
//! that it needs; where `KES_BENCH_FILES` names that folder, all servers of a run use its
//! certificates.

use std::fs;
use std::path::{Path, PathBuf};

use crate::setup::{Setup, key_name};

/// Names the folder.
const FILES: &str = "KES_BENCH_FILES";

/// Where the other server listens: `127.0.0.1:<port>`.
const ADDRESS: &str = "KES_BENCH_ADDRESS";

/// The other server's process ID.
const PID: &str = "KES_BENCH_PID";

/// The folder whose certificates are to be used.
pub(crate) fn files() -> Option<PathBuf> {
    std::env::var_os(FILES).map(PathBuf::from)
}

/// Where the other server listens, and its process.
pub(crate) fn server() -> Option<(String, u32)> {
    let address = std::env::var(ADDRESS).ok()?;
    let pid = std::env::var(PID).unwrap_or_else(|_| panic!("{ADDRESS} needs {PID}"));
    assert!(files().is_some(), "{ADDRESS} needs {FILES}");
    Some((address, pid.parse().unwrap_or_else(|_| panic!("{PID} is a process ID"))))
}

/// Makes the folder, and says what to do with it.
pub(crate) fn prepare(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let (_, identity) = Setup::default().write(folder);
    let folder = folder.canonicalize().unwrap();
    println!(
        "Start the other server in {folder} on one core (taskset -c 0), with config.yml or the like:
it shows server.crt, allows everything to the identity
{identity}
and has the key {key}, whose stored form is in keys/. Then

    {FILES}={folder} {ADDRESS}=127.0.0.1:<port> {PID}=<process ID> cargo bench --bench serve",
        folder = folder.display(),
        key = key_name(0),
    );
}
