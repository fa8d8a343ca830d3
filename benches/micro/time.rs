//! Wall time, as short as it gets: what else runs on the machine only ever adds to it.

use std::time::{Duration, Instant};

use crate::works::Work;

/// Each measures all works once, so that a busy moment does not hit all rounds of one.
const ROUNDS: usize = 5;

/// How long the repetitions take that one reading of the clock stands for; the clock itself takes
/// some 50 ns. Short, so that some of them are not interrupted.
const SAMPLE: Duration = Duration::from_micros(200);

/// In a round; the shortest counts.
const SAMPLES: usize = 50;

pub(crate) fn print(works: Vec<Work>, check: bool) {
    let (rounds, samples) = if check { (1, 1) } else { (ROUNDS, SAMPLES) };
    let width = works.iter().map(|work| work.name.len()).max().unwrap_or_default();
    let mut works: Vec<_> =
        works.into_iter().map(|work| (work.name, work.go_ns, (work.prepare)(), vec![])).collect();
    for _ in 0..rounds {
        for (_, _, once, times) in &mut works {
            times.push(shortest(once, samples));
        }
    }

    println!("\nbest and median of {rounds} rounds\n");
    println!("| {:width$} |      best |    median | Go (other machine) |", "");
    println!("| {:-<width$} | --------: | --------: | -----------------: |", "");
    for (name, go_ns, _, mut times) in works {
        times.sort_by(f64::total_cmp);
        let go = go_ns.map(pretty).unwrap_or_default();
        let (best, median) = (pretty(times[0]), pretty(times[times.len() / 2]));
        println!("| {name:width$} | {best:>9} | {median:>9} | {go:>18} |");
    }
    println!(
        "\nGo sealed with a nonce that was given and into a buffer that was there. Here the random \
         bytes,\nwhich have a row of their own, and a new buffer are included.\n"
    );
}

/// Nanoseconds.
fn shortest(once: &mut dyn FnMut(), samples: usize) -> f64 {
    let mut sample = |repetitions: u32| {
        let start = Instant::now();
        for _ in 0..repetitions {
            once();
        }
        start.elapsed()
    };
    let mut repetitions = 1;
    while sample(repetitions) < SAMPLE {
        repetitions *= 2;
    }
    let shortest = (0..samples).map(|_| sample(repetitions)).min().unwrap();
    shortest.as_secs_f64() * 1e9 / f64::from(repetitions)
}

fn pretty(ns: f64) -> String {
    match ns {
        ..100.0 => format!("{ns:.1} ns"),
        100.0..1e4 => format!("{ns:.0} ns"),
        1e4..1e5 => format!("{:.1} µs", ns / 1e3),
        _ => format!("{:.0} µs", ns / 1e3),
    }
}
