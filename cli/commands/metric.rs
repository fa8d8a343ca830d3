//! `kes metric`: a table that is refreshed on a terminal, a line of JSON for each reading
//! otherwise.
//!
//! If the first reading fails, the command ends with the error. After that the table stays: it
//! shows since when the server is away or does not answer, and new readings once it is back. JSON
//! lines end at any reading that fails, so that a script notices.

use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use kes_api::Timestamp;
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::connect::{Session, client};
use super::explain::Subject;
use crate::args::MetricArgs;
use crate::error::usage;
use crate::output::Output;

use sample::Sample;

mod sample;
mod view;

/// A reading takes milliseconds. After this time, or when the next one is due, the table says that
/// there is no answer yet.
const LATE: Duration = Duration::from_secs(2);

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
    let mut away: Option<Timestamp> = None;
    let mut ticks = interval(rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut reading = pin!(client.metrics());
        // It may take 30 s to fail, and another server may be asked within that time.
        let reading = loop {
            let Some(last) = &before else { break reading.await };
            tokio::select! {
                reading = &mut reading => break reading,
                () = sleep(rate.max(LATE)) => {
                    let since = *away.get_or_insert_with(Timestamp::now);
                    let state = format!("no answer since {} UTC", since.to_table());
                    output.refresh(&view::render_failure(&servers, &state, "", last))?;
                }
            }
        };
        let text = match (reading, &before) {
            (Ok(text), _) => text,
            (Err(error), Some(last)) => {
                let since = *away.get_or_insert_with(Timestamp::now);
                // One that refuses is there.
                let is_there = matches!(error, kes_client::Error::Status { .. });
                let state = if is_there { "no reading" } else { "away" };
                let state = format!("{state} since {} UTC", since.to_table());
                let error = format!("{:#}", client.explain(error, Subject::Server));
                output.refresh(&view::render_failure(&servers, &state, &error, last))?;
                continue;
            }
            (Err(error), None) => {
                let error = client.explain(error, Subject::Server);
                return Err(error.context("failed to get the metrics"));
            }
        };
        away = None;
        let sample = Sample::parse(&text);
        if output.is_terminal() {
            output.refresh(&view::render(&servers, &sample, before.as_ref()))?;
            before = Some(sample);
        } else {
            output.json(&sample)?;
        }
    }
}
