//! `kes metric`: a view of all servers on a terminal, a line of JSON for each reading otherwise.
//!
//! If the first readings of all servers fail, the command ends with the error. After that the view
//! stays: it shows since when a server is away or does not answer, and new readings once it is back.
//! JSON lines end at any reading that fails, so that a script notices; they ask one server after the
//! other, as other commands do.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval};

use super::connect::{Session, client, clients};
use super::explain::Subject;
use crate::args::MetricArgs;
use crate::error::usage;
use crate::output::Output;

use sample::Sample;

mod figures;
mod histogram;
mod live;
mod model;
mod panel;
mod sample;
mod screen;
mod sheet;
mod state;
mod text;
mod topics;
mod view;

/// The most servers of one view. Each one is asked all the time, and has its past in memory.
const MAX_SERVERS: usize = 32;

/// Reads the metrics at each tick, until Ctrl-C, `q`, or until the reader closes the pipe.
pub(super) async fn run(args: MetricArgs) -> Result<()> {
    if args.rate < Duration::from_millis(1) {
        return Err(usage("--rate is below 1ms", "kes metric"));
    }
    let mut output = Output::new();
    if output.is_terminal() {
        let servers = clients(&args.connect)?;
        if servers.len() > MAX_SERVERS {
            let text = format!("more than {MAX_SERVERS} servers cannot be watched together");
            return Err(usage(text, "kes metric"));
        }
        return live::run(servers, args.rate, &mut output).await;
    }
    let client = client(&args.connect)?;
    // One future for the whole loop, so that a signal that arrives during a request counts.
    tokio::select! {
        result = lines(&client, args.rate, &mut output) => result,
        signal = ctrl_c() => Ok(signal?),
    }
}

async fn lines(client: &Session, rate: Duration, output: &mut Output) -> Result<()> {
    let mut ticks = interval(rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let text = client.metrics().await.map_err(|error| client.explain(error, Subject::Server));
        output.json(&Sample::parse(&text.context("failed to get the metrics")?))?;
    }
}
