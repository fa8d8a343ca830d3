//! Small charts: lines of the last five minutes. `page.js` draws the same as `line` and `area`.

use std::fmt::Write as _;

use super::history::POINTS;

/// The height of the drawing in its own units; it is as wide as there are points. The page stretches
/// it.
pub(super) const HEIGHT: f32 = 100.0;

/// The upper edges of charts.
const STEPS: [f32; 9] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];

/// A chart.
pub(super) struct Chart {
    /// What the page finds it by.
    pub(super) id: String,
    /// What it shows, in words.
    pub(super) label: String,
    /// The value at the upper edge.
    pub(super) top: f32,
    /// The first one has its area filled. The oldest value comes first.
    pub(super) lines: Vec<Vec<f32>>,
}

impl Chart {
    /// A chart whose upper edge is the first round number above all values, and at least `least`.
    pub(super) fn new(id: impl Into<String>, least: f32, lines: Vec<Vec<f32>>) -> Self {
        let values = lines.iter().flatten().copied().filter(|value| value.is_finite());
        let top = round_up(values.fold(least, f32::max));
        Self { id: id.into(), label: String::new(), top, lines }
    }

    /// The same with what it shows in words.
    pub(super) fn labelled(mut self, label: String) -> Self {
        self.label = label;
        self
    }
}

/// The first round number that is not below a value: one of [`STEPS`], ten times one, and so on.
fn round_up(value: f32) -> f32 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let magnitude = 10_f32.powf(value.log10().floor());
    let mut steps = STEPS.map(|step| step * magnitude).into_iter();
    // A value on a step may be a little above it by its digits.
    steps.find(|step| *step >= value * 0.9999).unwrap_or(value)
}

/// Where the points of a line are that have a value: runs of neighbours.
fn runs(values: &[f32], top: f32) -> Vec<Vec<(usize, f32)>> {
    let first = POINTS.saturating_sub(values.len());
    let mut runs = vec![Vec::new()];
    for (x, value) in (first..).zip(values) {
        if value.is_finite() {
            let y = HEIGHT - value / top * HEIGHT;
            runs.last_mut().into_iter().for_each(|run| run.push((x, y.clamp(0.0, HEIGHT))));
        } else {
            runs.push(Vec::new());
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// The path of a line.
pub(super) fn line(values: &[f32], top: f32) -> String {
    let mut path = String::new();
    for run in runs(values, top) {
        for (number, (x, y)) in run.iter().enumerate() {
            let _ = write!(path, "{}{x} {y:.1}", if number == 0 { 'M' } else { 'L' });
        }
        // A point by itself has the length of one, so that it is seen.
        if run.len() == 1 {
            path.push_str("h1");
        }
    }
    path
}

/// The path of what is below a line.
pub(super) fn area(values: &[f32], top: f32) -> String {
    let mut path = String::new();
    for run in runs(values, top) {
        let [Some((first, _)), Some((last, _))] = [run.first(), run.last()] else { continue };
        let _ = write!(path, "M{first} {HEIGHT}");
        for (x, y) in &run {
            let _ = write!(path, "L{x} {y:.1}");
        }
        let _ = write!(path, "L{last} {HEIGHT}Z");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_edge_is_a_round_number_that_nothing_exceeds() {
        for (value, top) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (1.1, 1.5),
            (3.0, 3.0),
            (7.0, 8.0),
            (8.5, 10.0),
            (10.0, 10.0),
            (1234.0, 1500.0),
            (0.000_33, 0.000_4),
            (f32::NAN, 1.0),
            (f32::INFINITY, 1.0),
        ] {
            let found = round_up(value);
            assert!((found - top).abs() <= top * 1e-4, "{value}: {found}");
        }
        let chart = Chart::new("c", 1.0, vec![vec![0.1, f32::NAN], vec![42.0]]);
        assert!((chart.top - 50.0).abs() < 0.01);
    }

    #[test]
    fn the_newest_value_is_at_the_right_and_gaps_stay_open() {
        let nan = f32::NAN;
        assert_eq!(line(&[0.0, 1.0, 2.0], 2.0), "M297 100.0L298 50.0L299 0.0");
        assert_eq!(line(&[1.0, nan, nan, 1.0, 1.0], 1.0), "M295 0.0h1M298 0.0L299 0.0");
        assert_eq!(
            area(&[1.0, nan, 2.0], 2.0),
            "M297 100L297 50.0L297 100ZM299 100L299 0.0L299 100Z"
        );
        assert_eq!((line(&[], 1.0), area(&[nan], 1.0)), (String::new(), String::new()));
        // What is above the edge stays in the drawing.
        assert_eq!(line(&[9.0], 1.0), "M299 0.0h1");
    }
}
