//! What was measured, as tables, and beside what is recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::servers::{BARE, OURS};

/// A row of load: what it cost each server.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) cells: Vec<Cell>,
    /// What else is to be known of it.
    pub(crate) note: Option<String>,
}

/// What a load cost one server.
pub(crate) struct Cell {
    pub(crate) subject: &'static str,
    /// CPU time of the server for each request, µs: the median of the rounds.
    pub(crate) cpu_us: f64,
    pub(crate) per_second: f64,
    /// 50, 99 and 99.9 % of the requests took no longer, in µs.
    pub(crate) latencies: [u32; 3],
    /// Resident after it, in MiB.
    pub(crate) memory: f64,
}

/// A row of another kind: one value for each server.
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) values: Vec<(&'static str, f64)>,
    /// Whether its ratio is one that can be relied on.
    pub(crate) is_compared: bool,
}

/// What is compared with what is recorded.
pub(crate) trait Compared {
    /// The name that it is recorded under.
    fn name(&self) -> &str;

    /// A server's value, if there is one.
    fn value(&self, subject: &str) -> Option<f64>;

    /// Whether its ratio is recorded.
    fn is_compared(&self) -> bool {
        true
    }

    /// A server's value as a multiple of the bare server's.
    fn ratio(&self, subject: &str) -> Option<f64> {
        Some(self.value(subject)? / self.value(BARE)?)
    }
}

impl Compared for Row {
    fn name(&self) -> &str {
        self.name
    }

    fn value(&self, subject: &str) -> Option<f64> {
        let cell = self.cells.iter().find(|cell| cell.subject == subject)?;
        Some(cell.cpu_us)
    }
}

impl Compared for Figure {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_compared(&self) -> bool {
        self.is_compared
    }

    fn value(&self, subject: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == subject).map(|(_, value)| *value)
    }
}

fn shown(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
}

/// The head of a table of rows.
pub(crate) fn print_head() {
    println!(
        "{:34} {:6} {:>11} {:>10} {:>9} {:>9} {:>9} {:>9} {:>6}",
        "load", "server", "CPU/request", "requests/s", "p50", "p99", "p99.9", "memory", "ratio"
    );
}

impl Row {
    pub(crate) fn print(&self) {
        for cell in &self.cells {
            let ratio = if cell.subject == BARE { None } else { self.ratio(cell.subject) };
            let [p50, p99, p999] = cell.latencies;
            println!(
                "{:34} {:6} {:>8.1} µs {:>10.0} {p50:>6} µs {p99:>6} µs {p999:>6} µs {:>5.1} MiB {:>6}",
                self.name,
                cell.subject,
                cell.cpu_us,
                cell.per_second,
                cell.memory,
                shown(ratio),
            );
        }
        if let Some(note) = &self.note {
            println!("    {note}");
        }
    }
}

impl Figure {
    pub(crate) fn print(&self) {
        for (subject, value) in &self.values {
            let ratio = if *subject == BARE { None } else { self.ratio(subject) };
            let value = format!("{value:.1} {}", self.unit);
            println!("{:58} {subject:6} {value:>10} {:>6}", self.name, shown(ratio));
        }
    }
}

/// The ratios of an earlier run on a quiet machine (`recorded.json`).
pub(crate) struct Recorded {
    path: PathBuf,
    ratios: BTreeMap<String, f64>,
}

impl Recorded {
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/serve/recorded.json");
        let ratios = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        Self { path, ratios }
    }

    /// What is wrong with a measurement: our ratio to the bare server is more than twice the
    /// recorded one.
    pub(crate) fn fault(&self, measured: &impl Compared) -> Option<String> {
        let (name, ratio) = (measured.name(), measured.ratio(OURS)?);
        let recorded = self.ratios.get(name)?;
        // So written, a ratio that is no number counts as bad.
        let is_good = ratio <= 2.0 * recorded;
        (!is_good).then(|| format!("{name}: ratio {ratio:.2}, recorded {recorded:.2}"))
    }

    /// A measurement that there is nothing to compare with.
    pub(crate) fn missing(&self, measured: &impl Compared) -> Option<String> {
        let name = measured.name();
        let is_missing = measured.is_compared() && !self.ratios.contains_key(name);
        is_missing.then(|| format!("{name}: no ratio is recorded (`-- --record` does that)"))
    }

    /// Takes over a ratio.
    pub(crate) fn set(&mut self, measured: &impl Compared) {
        if let Some(ratio) = measured.ratio(OURS).filter(|_| measured.is_compared()) {
            self.ratios.insert(measured.name().to_owned(), ratio);
        }
    }

    /// Writes what was taken over, beside what was recorded before.
    pub(crate) fn write(&self) {
        let lines: Vec<String> = self
            .ratios
            .iter()
            .map(|(name, ratio)| format!("  {}: {ratio:.2}", serde_json::json!(name)))
            .collect();
        fs::write(&self.path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
    }
}
