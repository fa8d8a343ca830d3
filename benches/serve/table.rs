//! The table: rows of load, start and memory, and the check of their ratios.

use std::process::ExitCode;
use std::time::Duration;

use crate::memory;
use crate::report::{self, Compared, Recorded};
use crate::rows::{self, Scenario};
use crate::servers::Servers;
use crate::setup::Setup;

/// How often a ratio may be found too bad before that counts.
const ATTEMPTS: u32 = 3;

/// How thoroughly is measured.
struct Effort {
    /// Seconds are enough: it is only to be seen that no ratio is far off.
    is_brief: bool,
    rows: rows::Effort,
    memory: memory::Effort,
}

impl Effort {
    fn from_environment() -> Self {
        let is_brief = crate::is_brief();
        let (rounds, time) = if is_brief { (2, 250) } else { (5, 1_500) };
        let (connections, starts, quiet) = if is_brief { (100, 3, 100) } else { (1_000, 9, 500) };
        let quiet = Duration::from_millis(quiet);
        Self {
            is_brief,
            rows: rows::Effort { rounds, time: Duration::from_millis(time) },
            memory: memory::Effort { connections, starts, quiet },
        }
    }
}

/// A run over rows.
struct Table {
    effort: Effort,
    recorded: Recorded,
    /// Whether ratios are written down; otherwise a brief run judges them.
    is_record: bool,
    faults: Vec<String>,
}

/// Prints the rows that a filter selects; `memory` selects start and memory alone, nothing
/// selects all. With `is_record` the ratios are recorded.
pub(crate) async fn run(filter: &str, is_record: bool) -> ExitCode {
    let (effort, recorded) = (Effort::from_environment(), Recorded::read());
    let mut table = Table { effort, recorded, is_record, faults: Vec::new() };
    let scenarios: Vec<Scenario> = rows::scenarios()
        .into_iter()
        .filter(|scenario| scenario.work.name.contains(filter))
        .collect();
    if !scenarios.is_empty() {
        table.load(&scenarios).await;
    }
    if filter.is_empty() || filter == "memory" {
        table.memory().await;
    }
    if is_record {
        table.recorded.write();
    }
    for fault in &table.faults {
        println!("{fault}");
    }
    if table.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Table {
    async fn load(&mut self, scenarios: &[Scenario]) {
        report::print_head();
        let mut servers: Option<Servers> = None;
        for scenario in scenarios {
            // Rows that come one after the other share servers where they can.
            let current = servers.take().filter(|servers| scenario.suits(servers));
            let current = current.unwrap_or_else(|| scenario.start());
            for attempt in 1..=ATTEMPTS {
                let row = scenario.measure(&current, self.effort.rows).await;
                row.print();
                if self.holds(&[row], attempt) {
                    break;
                }
            }
            servers = Some(current);
        }
    }

    async fn memory(&mut self) {
        for attempt in 1..=ATTEMPTS {
            let mut figures = memory::starts(self.effort.memory).await;
            let servers = Servers::start(&Setup::default());
            figures.extend(memory::figures(&servers, self.effort.memory).await);
            memory::print(&figures);
            if self.holds(&figures, attempt) {
                if !self.effort.is_brief {
                    memory::burst(&servers).await;
                }
                break;
            }
        }
    }

    /// Whether that is all: what was measured is good, or was measured often enough.
    fn holds<T: Compared>(&mut self, measured: &[T], attempt: u32) -> bool {
        if self.is_record {
            measured.iter().for_each(|one| self.recorded.set(one));
        }
        if self.is_record || !self.effort.is_brief {
            return true;
        }
        let faults: Vec<String> =
            measured.iter().filter_map(|one| self.recorded.fault(one)).collect();
        if !faults.is_empty() && attempt < ATTEMPTS {
            return false;
        }
        self.faults.extend(faults);
        self.faults.extend(measured.iter().filter_map(|one| self.recorded.missing(one)));
        true
    }
}
