//! Figures as people read them. Numbers and their units are not parted by a line break.

use std::time::Duration;

/// Between a number and its unit.
const GAP: char = '\u{a0}';

/// A count, such as `1,234`.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Something a second, such as `0.4` or `1,234`.
pub(super) fn rate(value: f64) -> String {
    if value < 0.05 {
        "0".to_owned()
    } else if value < 9.95 {
        format!("{value:.1}")
    } else {
        count(whole(value))
    }
}

/// Seconds, such as `180 µs`, `2.5 ms` or `1.2 s`.
pub(super) fn latency(seconds: f64) -> String {
    let microseconds = seconds * 1e6;
    let three = |value: f64| match value {
        ..9.995 => format!("{value:.2}"),
        ..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    if microseconds < 999.5 {
        format!("{microseconds:.0}{GAP}µs")
    } else if microseconds < 999_500.0 {
        format!("{}{GAP}ms", three(microseconds / 1e3))
    } else {
        format!("{}{GAP}s", three(seconds))
    }
}

/// A part of a whole, from 0 to 1, such as `98.2 %`.
pub(super) fn share(part: f64) -> String {
    let percent = part * 100.0;
    if percent >= 99.95 {
        format!("100{GAP}%")
    } else {
        // Not more than it is: 99.94 is not all of it.
        format!("{:.1}{GAP}%", (percent * 10.0).floor() / 10.0)
    }
}

/// A time span in its two largest units, such as `3 d 4 h`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |a: u64, of: &str, b: u64, then: &str| match b {
        0 => format!("{a}{GAP}{of}"),
        _ => format!("{a}{GAP}{of} {b}{GAP}{then}"),
    };
    match seconds {
        0..60 => format!("{seconds}{GAP}s"),
        60..3600 => two(minutes, "min", seconds % 60, "s"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        86_400..8_640_000 => two(days, "d", hours % 24, "h"),
        _ => format!("{}{GAP}d", count(days)),
    }
}

/// A number with its noun, such as `1 key` or `12 keys`.
pub(super) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number as u64), if number == 1 { one } else { many })
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(GAP, " ")
    }

    #[test]
    fn numbers_have_as_many_digits_as_a_person_reads() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (12_345, "12,345")]
        {
            assert_eq!(count(number), text);
        }
        for (value, text) in
            [(0.0, "0"), (0.04, "0"), (0.05, "0.1"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1,234")]
        {
            assert_eq!(rate(value), text, "{value}");
        }
        for (seconds, text) in [
            (0.0, "0 µs"),
            (0.000_18, "180 µs"),
            (0.000_999_6, "1.00 ms"),
            (0.0025, "2.50 ms"),
            (0.0123, "12.3 ms"),
            (0.25, "250 ms"),
            (0.9999, "1.00 s"),
            (15.0, "15.0 s"),
        ] {
            assert_eq!(plain(&latency(seconds)), text, "{seconds}");
        }
        for (part, text) in [(0.0, "0.0 %"), (0.9994, "99.9 %"), (0.9996, "100 %"), (1.0, "100 %")]
        {
            assert_eq!(plain(&share(part)), text, "{part}");
        }
    }

    #[test]
    fn times_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_725, "1 h 2 min"),
            (86_400, "1 d"),
            (97_200, "1 d 3 h"),
            (31_536_000, "365 d"),
            (100_000_000, "1,157 d"),
        ] {
            assert_eq!(plain(&span(Duration::from_secs(seconds))), text);
        }
        assert_eq!(plain(&counted(1, "key", "keys")), "1 key");
        assert_eq!(plain(&counted(1_200, "key", "keys")), "1,200 keys");
    }
}
