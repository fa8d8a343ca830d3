use std::time::Duration;

use serde_json::json;

use super::{Bao, START_LIMIT, Storage};
use crate::wait;

/// Three servers that hold the same data, one of them active. Any two go on without the third.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Bao>,
}

impl Cluster {
    /// Starts three nodes that speak plain HTTP, and waits until all of them serve.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn start() -> Self {
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
        wait::eventually(START_LIMIT, "all nodes are voters", || {
            let answer =
                cluster.nodes[0].root().request("GET", "sys/storage/raft/configuration", None);
            let answer = answer.json();
            let servers = answer["data"]["config"]["servers"].as_array();
            servers.into_iter().flatten().filter(|server| server["voter"] == true).count() == 3
        });
        cluster
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

    /// Kills a node with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].kill();
    }

    /// Starts a killed node again, unseals it, and waits until it serves.
    pub fn start_again(&mut self, number: usize) {
        self.nodes[number].start_again();
        self.unseal(&self.nodes[number]);
    }

    /// A node that joins needs the key until it has taken it; a standby then answers 429.
    fn unseal(&self, node: &Bao) {
        let key = json!({ "key": node.unseal_key });
        wait::eventually(START_LIMIT, "a node has joined", || {
            if matches!(node.health(), Some(200 | 429)) {
                return true;
            }
            node.root().request("PUT", "sys/unseal", Some(&key));
            std::thread::sleep(Duration::from_millis(50));
            false
        });
    }
}

fn node(number: usize, leader: Option<std::net::SocketAddr>) -> Storage {
    Storage::Node { id: format!("n{number}"), leader }
}
