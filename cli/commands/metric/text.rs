//! Numbers of the view as short texts, of which none has more than 10 columns.

use std::time::Duration;

use super::histogram::Percentile;
use super::sample::whole;

/// The most columns of a text of this module.
#[cfg(test)]
pub(super) const WIDEST: usize = 10;

/// What stands in the place of a number that is not known.
pub(super) const NONE: &str = "–";

/// `0.5`, `1,234`, `2.5M`: with a digit behind the point as long as that tells anything.
pub(super) fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() || value < 0.0 => NONE.to_owned(),
        // What would be rounded to 1,000.
        value if value < 999.95 => format!("{value:.1}"),
        value if value < 999_999.5 => grouped(value),
        value if value < 999_950_000.0 => format!("{:.1}M", value / 1e6),
        value if value < 999_950_000_000.0 => format!("{:.1}G", value / 1e9),
        _ => "> 999G".to_owned(),
    }
}

/// As [`number`], of things that are whole.
pub(super) fn count(value: f64) -> String {
    match value {
        value if (0.0..999.5).contains(&value) => format!("{value:.0}"),
        value => number(value),
    }
}

/// `12.5/s`
pub(super) fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{}/s", number(value)))
}

/// `0.25ms`, `1.2s`, `> 15s`
pub(super) fn percentile(value: Option<Percentile>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(Percentile::At(seconds)) => time(seconds),
        Some(Percentile::Above(seconds)) => format!("> {}", time(seconds)),
    }
}

/// A time in seconds, in the unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        value if !value.is_finite() || value < 0.0 => NONE.to_owned(),
        value if value < 0.000_999_5 => format!("{:.0}µs", value * 1e6),
        value if value < 0.009_995 => format!("{:.2}ms", value * 1e3),
        value if value < 0.999_5 => format!("{:.0}ms", value * 1e3),
        value if value < 99.95 => format!("{value:.1}s"),
        value => format!("{}s", count(value)),
    }
}

/// `45s`, `3h 12m`, `89d`: the two largest units up to days, then days alone.
pub(super) fn span(seconds: f64) -> String {
    let seconds = whole(seconds);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        86_400..864_000 => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
        864_000..86_400_000 => format!("{}d", seconds / 86_400),
        _ => "> 999d".to_owned(),
    }
}

/// `12 %`, `99.5 %`; not 100 % where something lacks.
pub(super) fn share(part: f64, all: f64) -> String {
    match part * 100.0 / all {
        share if !share.is_finite() || share < 0.0 => NONE.to_owned(),
        share if share >= 100.0 => format!("{} %", count(share)),
        share if share > 99.9 => "99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

/// How often it is read: `5s`, `250ms`.
pub(super) fn interval(rate: Duration) -> String {
    format!("{rate:?}")
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let head = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == head {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0.0"),
            (0.04, "0.0"),
            (12.34, "12.3"),
            (999.94, "999.9"),
            (999.95, "1,000"),
            (1_234.0, "1,234"),
            (999_999.0, "999,999"),
            (999_999.5, "1.0M"),
            (2.5e9, "2.5G"),
            (1e300, "> 999G"),
            (-1.0, NONE),
            (f64::NAN, NONE),
            (f64::INFINITY, NONE),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!((count(0.0).as_str(), count(999.4).as_str()), ("0", "999"));
        assert_eq!((count(999.6).as_str(), count(f64::NAN).as_str()), ("999.6", NONE));
        assert_eq!((rate(Some(2.0)).as_str(), rate(None).as_str()), ("2.0/s", NONE));
    }

    #[test]
    fn times_are_in_the_unit_that_suits_them() {
        for (seconds, text) in [
            (0.000_05, "50µs"),
            (0.000_999_6, "1.00ms"),
            (0.002_5, "2.50ms"),
            (0.01, "10ms"),
            (0.9996, "1.0s"),
            (15.0, "15.0s"),
            (1_234.0, "1,234s"),
        ] {
            assert_eq!(percentile(Some(Percentile::At(seconds))), text, "{seconds}");
        }
        assert_eq!(percentile(Some(Percentile::Above(15.0))), "> 15.0s");
        for (seconds, text) in [
            (59.0, "59s"),
            (61.0, "1m 1s"),
            (11_520.0, "3h 12m"),
            (90_000.0, "1d 1h"),
            (7_776_000.0, "90d"),
            (1e300, "> 999d"),
            (-5.0, "0s"),
            (f64::NAN, "0s"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_share_is_whole_only_if_nothing_lacks() {
        assert_eq!(share(1.0, 1.0), "100 %");
        assert_eq!(share(99_999.0, 100_000.0), "99.9 %");
        assert_eq!(share(1.0, 8.0), "12.5 %");
        assert_eq!(share(1.0, 0.0), NONE);
        assert_eq!(share(0.0, 0.0), NONE);
    }

    proptest! {
        #[test]
        fn no_text_is_wider_than_its_place(value: f64) {
            for text in [number(value), count(value), rate(Some(value)), time(value), span(value)] {
                prop_assert!(text.chars().count() <= WIDEST, "{text}");
            }
        }
    }
}
