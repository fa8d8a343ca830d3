use std::fmt;

/// Where the keys of a store are, in parts. Two configurations with the same location have the same
/// keys. Two with different ones may have the same keys as well, such as by two addresses of one
/// Vault: that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    kind: &'static str,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// What another location has if it differs in this part; empty if it need not be told.
    difference: &'static str,
    value: String,
}

impl Location {
    /// The location of a kind of store that has only one.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, parts: Vec::new() }
    }

    pub(crate) fn part(mut self, difference: &'static str, value: impl fmt::Display) -> Self {
        self.parts.push(Part { difference, value: value.to_string() });
        self
    }

    /// A hash of it, to compare it with that of another process.
    pub fn fingerprint(&self) -> String {
        let parts: Vec<_> = self.parts.iter().map(|part| &*part.value).collect();
        kes_crypto::transfer::fingerprint(&format!("{} {parts:?}", self.kind))
    }

    /// In what another location of the same kind of store differs, such as `another engine`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        if self.kind != other.kind {
            return Vec::new();
        }
        let pairs = self.parts.iter().zip(&other.parts);
        let differing = pairs.filter(|(a, b)| a.value != b.value).map(|(_, b)| b.difference);
        differing.filter(|difference| !difference.is_empty()).collect()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        self.parts.iter().try_for_each(|part| write!(f, " {}", part.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(endpoints: &str, engine: &str) -> Location {
        let location = Location::new("vault").part("other endpoints", endpoints);
        location.part("another engine", engine).part("", "x")
    }

    #[test]
    fn a_location_says_in_what_another_one_differs() {
        let here = location("a", "kv");
        assert!(here.differences(&here).is_empty());
        assert_eq!(here.differences(&location("b", "kv")), ["other endpoints"]);
        let both = ["other endpoints", "another engine"];
        assert_eq!(here.differences(&location("b", "secret")), both);
        assert!(here.differences(&Location::new("fs").part("", "a")).is_empty());
        assert_eq!(here.to_string(), "vault a kv x");
        assert_eq!(here.fingerprint(), location("a", "kv").fingerprint());
        for other in [location("b", "kv"), location("a k", "v"), location("a", "kv x")] {
            assert_ne!(here.fingerprint(), other.fingerprint());
        }
    }
}
