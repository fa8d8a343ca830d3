use std::fmt;
use std::str::FromStr;

/// The level of a log, which records events of this level and above. The numbers are those of Go's
/// `slog`, four apart, so `INFO+1` is a level of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(i32);

/// Not a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log level; use on, off, debug, info, warn, error, INFO+1 or a number")]
pub struct InvalidLevel;

impl Level {
    /// -4
    pub const DEBUG: Self = Self(-4);
    /// 0; `on` in the file.
    pub const INFO: Self = Self(0);
    /// 4
    pub const WARN: Self = Self(4);
    /// 8
    pub const ERROR: Self = Self(8);
    /// Above all events.
    pub const OFF: Self = Self(i32::MAX);

    /// The number; [`i32::MAX`] for [`Level::OFF`].
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Whether a log of this level records an event of that level.
    pub fn allows(self, event: Self) -> bool {
        event >= self && self != Self::OFF
    }
}

/// Info, the default of the file.
impl Default for Level {
    fn default() -> Self {
        Self::INFO
    }
}

impl FromStr for Level {
    type Err = InvalidLevel;

    fn from_str(text: &str) -> Result<Self, InvalidLevel> {
        let text = text.to_ascii_lowercase();
        let name_end = text.find(['+', '-']).unwrap_or(text.len());
        let (name, offset) = text.split_at(name_end);
        let number = match (name, offset) {
            ("on", "") => return Ok(Self::INFO),
            ("off", "") => return Ok(Self::OFF),
            // A number alone, with or without a sign.
            (_, "") if name.starts_with(|c: char| c.is_ascii_digit()) => name.parse().ok(),
            ("", _) => offset.parse().ok(),
            _ => add(name, offset),
        };
        number.map(Self).filter(|level| *level < Self::OFF).ok_or(InvalidLevel)
    }
}

fn add(name: &str, offset: &str) -> Option<i32> {
    let base = match name {
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => return None,
    };
    let offset = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    base.0.checked_add(offset)
}

/// `INFO`, `INFO+1`, `OFF`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, base) = match *self {
            Self::OFF => return f.pad("OFF"),
            level if level < Self::INFO => ("DEBUG", Self::DEBUG),
            level if level < Self::WARN => ("INFO", Self::INFO),
            level if level < Self::ERROR => ("WARN", Self::WARN),
            _ => ("ERROR", Self::ERROR),
        };
        match i64::from(self.0) - i64::from(base.0) {
            0 => f.pad(name),
            offset => f.pad(&format!("{name}{offset:+}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn levels_of_the_contract() {
        for (text, number, shown) in [
            ("on", 0, "INFO"),
            ("ON", 0, "INFO"),
            ("debug", -4, "DEBUG"),
            ("Info", 0, "INFO"),
            ("WARN", 4, "WARN"),
            ("error", 8, "ERROR"),
            ("INFO+1", 1, "INFO+1"),
            ("error-1", 7, "WARN+3"),
            ("debug-2", -6, "DEBUG-2"),
            ("0", 0, "INFO"),
            ("-4", -4, "DEBUG"),
            ("+5", 5, "WARN+1"),
            ("12", 12, "ERROR+4"),
        ] {
            assert_eq!(text.parse(), Ok(Level(number)), "{text}");
            assert_eq!(Level(number).to_string(), shown);
        }
        assert_eq!("Off".parse(), Ok(Level::OFF));
        assert_eq!(Level::OFF.to_string(), "OFF");
        for text in [
            "",
            "yes",
            "warning",
            "info+",
            "info+x",
            "on+1",
            "off-1",
            "1+1",
            "+",
            "--1",
            "info +1",
            "2147483647",
            "99999999999",
            "error+2147483647",
        ] {
            assert_eq!(text.parse::<Level>(), Err(InvalidLevel), "{text}");
        }
    }

    #[test]
    fn a_log_holds_its_level_and_above() {
        assert!(Level::INFO.allows(Level::INFO) && Level::INFO.allows(Level::ERROR));
        assert!(!Level::INFO.allows(Level::DEBUG));
        let above_info: Level = "INFO+1".parse().unwrap();
        assert!(!above_info.allows(Level::INFO) && above_info.allows(Level::WARN));
        assert!(!Level::OFF.allows(Level::ERROR) && !Level::OFF.allows(Level::OFF));
        assert!(Level::OFF > Level::ERROR && Level::DEBUG < Level::INFO);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*|(info|error|debug)?[-+]?[0-9]{0,12}") {
            if let Ok(level) = text.parse::<Level>() {
                prop_assert_eq!(level.to_string().parse(), Ok(level));
            }
        }
    }
}
