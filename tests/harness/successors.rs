use std::time::Duration;

use kes_testkit::wait;
use rustix::process::{Pid, Signal, kill_process};

use super::Server;

/// The processes that have taken over from a server, one after the other. The last one ends with this
/// value.
#[derive(Debug)]
pub(crate) struct Successors {
    /// The first is the server's own.
    ids: Vec<u32>,
}

impl Successors {
    /// Those of a server that has not handed over yet.
    pub(crate) fn of(server: &Server) -> Self {
        Self { ids: vec![server.process_id()] }
    }

    /// Has the last one hand over, and returns the ID of the new one once it serves.
    pub(crate) async fn hand_over(&mut self, server: &Server) -> u32 {
        let before = server.stderr().len();
        kill_process(id(*self.ids.last().unwrap()), Signal::USR2).unwrap();
        self.taken_over(server, before).await
    }

    /// Waits until a new one serves, and returns its ID. The last one was sent SIGUSR2 when the error
    /// log had this length.
    pub(crate) async fn taken_over(&mut self, server: &Server, before: usize) -> u32 {
        let old = *self.ids.last().unwrap();
        let told = "handed over to process ";
        let begun = format!("took over from process {old}: ");
        let mut new = None;
        wait::eventually_async(Duration::from_secs(60), "a process takes over", async || {
            let stderr = server.stderr();
            assert!(!stderr[before..].contains("hand-over failed"), "{stderr}");
            new = stderr.rsplit_once(told).and_then(|(before, after)| {
                let count = before.matches(told).count() + 1;
                let id = after.split_once(':')?.0.parse::<u32>().ok()?;
                (count == self.ids.len()).then_some(id)
            });
            new.is_some() && stderr.contains(&begun)
        })
        .await;
        let new = new.unwrap();
        self.ids.push(new);
        new
    }
}

impl Drop for Successors {
    fn drop(&mut self) {
        // Those before it end by themselves.
        if let [_, .., last] = &*self.ids {
            let _ = kill_process(id(*last), Signal::KILL);
        }
    }
}

fn id(id: u32) -> Pid {
    Pid::from_raw(id.try_into().unwrap()).unwrap()
}
