//! `kes metric`: a table that is refreshed on a terminal, a line of JSON for each reading
//! otherwise.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval};

use super::connect::{Session, client};
use super::explain::Subject;
use crate::args::MetricArgs;
use crate::error::usage;
use crate::output::Output;

use sample::Sample;

mod sample;
mod view;

/// Reads the metrics at each tick, until Ctrl-C or until the reader closes the pipe.
pub(super) async fn run(args: MetricArgs) -> Result<()> {
    if args.rate < Duration::from_millis(1) {
        return Err(usage("--rate is below 1ms", "kes metric"));
    }
    let client = client(&args.connect)?;
    // One future for the whole loop, so that a signal that arrives during a request counts.
    tokio::select! {
        result = watch(&client, args.rate) => result,
        signal = ctrl_c() => Ok(signal?),
    }
}

async fn watch(client: &Session, rate: Duration) -> Result<()> {
    let servers: Vec<String> = client.endpoints().iter().map(ToString::to_string).collect();
    let servers = servers.join(", ");
    let mut output = Output::new();
    let mut before: Option<Sample> = None;
    let mut ticks = interval(rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let text = client
            .metrics()
            .await
            .map_err(|error| client.explain(error, Subject::Server))
            .context("failed to get the metrics")?;
        let sample = Sample::parse(&text);
        if output.is_terminal() {
            output.refresh(&view::render(&servers, &sample, before.as_ref()))?;
            before = Some(sample);
        } else {
            output.json(&sample)?;
        }
    }
}
