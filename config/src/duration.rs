use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// It has another syntax.
    #[error("not a duration; write it as 300ms, 1.5h or 5m0s")]
    Syntax,
    /// A number has no unit.
    #[error("a duration needs a unit; write it as 300ms, 1.5h or 5m0s")]
    NoUnit,
    /// A unit is unknown.
    #[error("unknown unit of a duration; use ns, us, ms, s, m or h")]
    UnknownUnit,
    /// It is negative.
    #[error("a duration must not be negative")]
    Negative,
    /// It does not fit into 2^63 - 1 nanoseconds, some 292 years: the limit of Go.
    #[error("the duration is too long")]
    TooLong,
}

/// Parses a duration as Go writes it: decimal numbers, each with a unit, such as `300ms`, `1.5h`,
/// `5m0s`. As in the files of the reference server, a number needs a unit even if it is 0.
///
/// # Errors
/// [`InvalidDuration`] for any other text.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(InvalidDuration::Syntax);
    }

    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(InvalidDuration::Syntax);
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        total += nanoseconds(whole, fraction, unit_nanoseconds(unit)?)?;
        if total > MAX_NANOSECONDS {
            return Err(InvalidDuration::TooLong);
        }
        rest = after;
    }
    if negative && total > 0 {
        return Err(InvalidDuration::Negative);
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| InvalidDuration::TooLong)
}

/// 2^63 - 1, the longest duration of Go.
const MAX_NANOSECONDS: u128 = (1 << 63) - 1;

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanoseconds(unit: &str) -> Result<u128, InvalidDuration> {
    match unit {
        "ns" => Ok(1),
        // Both signs for micro: U+00B5 and the Greek letter U+03BC.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(1_000),
        "ms" => Ok(1_000_000),
        "s" => Ok(1_000_000_000),
        "m" => Ok(60_000_000_000),
        "h" => Ok(3_600_000_000_000),
        "" => Err(InvalidDuration::NoUnit),
        _ => Err(InvalidDuration::UnknownUnit),
    }
}

/// Cuts off fractions of a nanosecond.
fn nanoseconds(whole: &str, fraction: &str, unit: u128) -> Result<u128, InvalidDuration> {
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| InvalidDuration::TooLong)?,
    };
    // An hour in nanoseconds has 13 digits, so digits after the 18th change nothing.
    let digits = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or_default());
    let part: u128 = match digits {
        "" => 0,
        digits => digits.parse().map_err(|_| InvalidDuration::Syntax)?,
    };
    Ok(u128::from(whole) * unit + part * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_of_go() {
        for (text, nanos) in [
            ("0s", 0),
            ("-0s", 0),
            ("+5s", 5_000_000_000),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("5m0s", 300_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("5.s", 5_000_000_000),
            (".5s", 500_000_000),
            ("0.100000000000000000000h", 360_000_000_000),
            ("12\u{b5}s", 12_000),
            ("12\u{3bc}s10ns", 12_010),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
            ("2540400h10m10s", 9_145_440_610_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn no_durations() {
        use InvalidDuration::{Negative, NoUnit, Syntax, TooLong, UnknownUnit};
        for (text, expected) in [
            ("", Syntax),
            ("-", Syntax),
            ("+", Syntax),
            ("s", Syntax),
            (".", Syntax),
            (".s", Syntax),
            ("five", Syntax),
            ("--5s", Syntax),
            ("0", NoUnit),
            ("5", NoUnit),
            ("1.5", NoUnit),
            ("1h30", NoUnit),
            ("1d", UnknownUnit),
            ("5min", UnknownUnit),
            ("1h 30m", UnknownUnit),
            ("5 s", UnknownUnit),
            ("1e3s", UnknownUnit),
            ("5S", UnknownUnit),
            ("-5s", Negative),
            ("-1ns", Negative),
            ("9223372036854775808ns", TooLong),
            ("99999999999999999999s", TooLong),
            ("3000000h", TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text: String) {
            let _ = parse_duration(&text);
        }

        #[test]
        fn texts_of_the_alphabet_are_parsed_or_refused(text in "[-+.0-9hmsnu\u{b5}]{0,24}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn parts_add_up(hours in 0_u64..2_000_000, minutes in 0_u64..10_000, millis: u32) {
            let text = format!("{hours}h{minutes}m{millis}ms");
            let expected = Duration::from_secs(hours * 3600 + minutes * 60)
                + Duration::from_millis(millis.into());
            prop_assert_eq!(parse_duration(&text), Ok(expected));
        }

        #[test]
        fn fractions_agree_with_whole_numbers(nanos in 0_u64..10_000_000_000_000) {
            let text = format!("{}.{:09}s", nanos / 1_000_000_000, nanos % 1_000_000_000);
            prop_assert_eq!(parse_duration(&text), Ok(Duration::from_nanos(nanos)));
        }
    }
}
