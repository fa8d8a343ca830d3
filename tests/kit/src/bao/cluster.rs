use std::time::{Duration, Instant};

use serde_json::json;

use super::{Bao, START_LIMIT, Storage};
use crate::wait;

/// A node votes some seconds after it has joined. What takes longer than this never comes.
const VOTERS_LIMIT: Duration = Duration::from_secs(60);

/// Three servers that hold the same data, one of them active. Any two go on without the third.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Bao>,
}

impl Cluster {
    /// Starts three nodes that speak plain HTTP, and waits until all of them serve.
    ///
    /// On a machine that is busy a node may lose its leadership while the others join, and the
    /// joining then hangs now and again: such a cluster is given up for a new one.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start() -> Self {
        (0..4).find_map(|_| Self::form()).expect("three nodes of OpenBao form a cluster")
    }

    fn form() -> Option<Self> {
        let mut first = Bao::start_sealed(&node(1, None), None);
        first.initialise();
        first.unseal();
        // A node counts as voter once it has been stable for this long.
        let autopilot = json!({ "server_stabilization_time": "1s" });
        first.root().must("POST", "sys/storage/raft/autopilot/configuration", Some(&autopilot));
        let leader = Some(first.admin_address());
        let mut nodes = vec![first];
        for number in 2..=3 {
            let mut next = Bao::start_sealed(&node(number, leader), None);
            next.root_token.clone_from(&nodes[0].root_token);
            next.unseal_key.clone_from(&nodes[0].unseal_key);
            nodes.push(next);
        }
        let cluster = Self { nodes };
        for node in &cluster.nodes[1..] {
            cluster.unseal(node);
        }
        // A cluster that loses a node before it has counted the others as voters is lost.
        let start = Instant::now();
        while start.elapsed() < VOTERS_LIMIT {
            if cluster.nodes.iter().any(|node| voters(node) == 3) {
                return Some(cluster);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// All nodes, whether they run or not.
    pub fn nodes(&self) -> &[Bao] {
        &self.nodes
    }

    /// The number of the active node, from 0; `None` while there is none.
    pub fn active(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.health() == Some(200))
    }

    /// The active node; waits for it.
    ///
    /// # Panics
    /// If none becomes active.
    pub fn wait_for_active(&self) -> usize {
        wait::eventually(START_LIMIT, "a node is active", || self.active().is_some());
        self.active().expect("it was there just now")
    }

    /// Which node is active and since when, as text: another one after each election. `None`
    /// while no node is active.
    pub fn leadership(&self) -> Option<String> {
        let active = self.active()?;
        let leader = self.nodes[active].root().request("GET", "sys/leader", None).json();
        let since = leader["active_time"].as_str().filter(|_| leader["is_self"] == true)?;
        Some(format!("{active} since {since}"))
    }

    /// The same; waits for an active node.
    ///
    /// # Panics
    /// If none becomes active.
    pub fn wait_for_leadership(&self) -> String {
        let mut leadership = None;
        wait::eventually(START_LIMIT, "a node is active", || {
            leadership = self.leadership();
            leadership.is_some()
        });
        leadership.expect("it was there just now")
    }

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Starts a killed node again, unseals it, and waits until it serves.
    pub fn start_again(&mut self, number: usize) {
        self.nodes[number].start_again();
        self.unseal(&self.nodes[number]);
    }

    /// A node that joins needs the key until it has taken it; a standby then answers 429, and
    /// serves when it has heard who the active node is.
    fn unseal(&self, node: &Bao) {
        let key = json!({ "key": node.unseal_key });
        wait::eventually(START_LIMIT, "a node has joined", || {
            if matches!(node.health(), Some(200 | 429)) {
                let leader = node.root().request("GET", "sys/leader", None).json();
                return leader["leader_address"]
                    .as_str()
                    .is_some_and(|address| !address.is_empty());
            }
            node.root().request("PUT", "sys/unseal", Some(&key));
            std::thread::sleep(Duration::from_millis(50));
            false
        });
    }
}

/// How many voters a node knows of; none if it does not say, as a standby without a leader.
fn voters(node: &Bao) -> usize {
    let answer = node.root().request("GET", "sys/storage/raft/configuration", None);
    if answer.status != 200 {
        return 0;
    }
    let answer = answer.json();
    let servers = answer["data"]["config"]["servers"].as_array();
    servers.into_iter().flatten().filter(|server| server["voter"] == true).count()
}

fn node(number: usize, leader: Option<std::net::SocketAddr>) -> Storage {
    Storage::Node { id: format!("n{number}"), leader }
}
