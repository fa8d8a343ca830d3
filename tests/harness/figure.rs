use std::fmt::Display;

/// Tells a figure to `python3 .ci/assure`, which compares it with its target: a test asserts only what
/// holds on a machine that is busy with other tests.
#[expect(clippy::print_stdout, reason = "what a test measured is for who runs it")]
pub(crate) fn figure(name: &str, value: impl Display) {
    println!("figure: {name} = {value}");
}

/// Whether a measurement that has a short form is made whole: `python3 .ci/assure --whole` sets
/// `KES_WHOLE`.
pub(crate) fn is_whole() -> bool {
    std::env::var_os("KES_WHOLE").is_some_and(|value| !value.is_empty())
}

/// The value that so many of a hundred are not above.
pub(crate) fn percentile<T: Ord + Copy>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    values[(values.len() * percent).div_ceil(100).saturating_sub(1)]
}
