//! How soon a server is there, and what it has in memory.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kes_testkit::Process;

use super::{PATIENCE, with_key};
use crate::harness::{self, Config, Protocol, Server, Who, figure, is_whole, percentile};

/// Starts after which memory is looked at as well.
const AT_REST: usize = 3;

/// A field of `/proc/<pid>/status` in KiB.
fn kib(process: &Process, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn a_server_is_there_soon_and_small() {
    let mut beside = Server::start();
    // A key folder is for one server.
    beside.process().kill();
    let mut times = Vec::new();
    let mut resident = Vec::new();
    let count = if is_whole() { 50 } else { 20 };
    for number in 0..count {
        let mut command = beside.command(Who::Nobody, &["server", "--config", "config.yml"]);
        command.envs(beside.environment().iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let start = Instant::now();
        let mut process = Process::start(command);
        let printed = BufReader::new(process.take_stdout().unwrap());
        let mut lines = printed.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("https://")), "it listens");
        times.push(start.elapsed());
        // The rest of the message, so that nothing is under way.
        assert!(lines.any(|line| line.starts_with("Memory")), "it tells of memory");
        if number >= count - AT_REST {
            // What the start needed and nobody needs any more is given back after a second.
            std::thread::sleep(Duration::from_secs(2));
            resident.push(kib(&process, "VmRSS"));
        }
    }
    figure("starts", times.len());
    figure("ms until it listens, median", percentile(&mut times, 50).as_secs_f64() * 1e3);
    figure("ms until it listens, longest", percentile(&mut times, 100).as_secs_f64() * 1e3);
    figure("MiB resident at rest", percentile(&mut resident, 50) as f64 / 1024.0);
    assert!(times[0] < PATIENCE);
}

/// What is locked, and what a small limit of locked memory does to many connections.
#[test]
fn many_connections_are_served_whatever_memory_may_be_locked() {
    let count = if is_whole() { 2_000 } else { 200 };
    let lasts = Duration::from_secs(if is_whole() { 60 } else { 3 });
    let may_not_lock = ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"];
    let small = ["prlimit", "--memlock=8388608:8388608"];
    let is_root = rustix::process::getuid().is_root();
    let bound = if is_root { Config::usual().under(&may_not_lock) } else { Config::usual() };
    for (name, config) in [("8 MiB", bound.under(&small)), ("usual", Config::usual())] {
        let mut server = Server::with(&config);
        harness::run(async {
            let mut honest = with_key(&server, Protocol::H2).await;
            let mut open = Vec::new();
            while open.len() < count {
                let some = (0..50).map(|_| server.client(Who::Minio, Protocol::H2));
                open.extend(join_all(some).await);
            }
            let start = Instant::now();
            while start.elapsed() < lasts {
                let reply = honest.send("PUT", "/v1/key/generate/k", "").await;
                assert_eq!(reply.status, 200, "{name}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for client in &mut open {
                let reply = client.send("PUT", "/v1/key/generate/k", "").await;
                assert_eq!(reply.status, 200, "{name}");
            }
        });
        assert!(server.process().is_running(), "{name}");
        figure(&format!("connections served, limit {name}"), count);
        for field in ["VmLck", "VmRSS", "VmSwap"] {
            figure(&format!("{field} in KiB, limit {name}"), kib(server.process(), field));
        }
    }
}
