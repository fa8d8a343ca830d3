//! `kes log`.

use std::str::FromStr;

use clap::Args;
use kes_api::{Identity, Timestamp};
use kes_audit::search::{Pattern, Status};

use super::Connect;
use super::audit::moment;

/// The digits of an identity.
const DIGITS: usize = 64;

/// The arguments of `kes log`.
#[derive(Args)]
pub(crate) struct LogArgs {
    /// Follow the audit log (this is the default)
    #[arg(long)]
    pub audit: bool,
    /// Follow the error log
    #[arg(long)]
    pub error: bool,
    /// Only requests of this client: its identity, or the first digits of it
    #[arg(long, value_name = "identity")]
    pub identity: Option<IdentityPrefix>,
    /// Only requests for this key; `*` may end it
    #[arg(long, value_name = "name")]
    pub key: Option<Pattern>,
    /// Only requests that were answered with this status, such as 403, 4xx or 403,5xx
    #[arg(long, value_name = "status")]
    pub status: Option<Statuses>,
    /// Only requests not before this time, such as 2026-11-27T18:00:00Z, or 1h for an hour ago
    #[arg(long, value_name = "time", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Print the lines as the server sends them: a JSON object each
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: Connect,
}

/// An identity, or the first digits of one, as a terminal shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityPrefix(String);

/// Several statuses or classes of them, with commas between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statuses(Vec<Status>);

impl FromStr for IdentityPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A terminal shows the rest of it as this.
        let digits = text.trim_end_matches('…').to_ascii_lowercase();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match digits.len() {
            1..=DIGITS if is_hex => Ok(Self(digits)),
            _ => Err("write an identity, or the first of its 64 hexadecimal digits"),
        }
    }
}

impl IdentityPrefix {
    /// Whether an identity is meant.
    pub(crate) fn matches(&self, identity: Identity) -> bool {
        identity.to_hex().as_str().starts_with(&self.0)
    }
}

impl FromStr for Statuses {
    type Err = <Status as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(|status| status.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl Statuses {
    /// Whether a status is meant.
    pub(crate) fn matches(&self, status: u16) -> bool {
        self.0.iter().any(|own| own.matches(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_may_be_cut_as_a_terminal_shows_it() {
        let identity = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";
        let whole: Identity = identity.parse().unwrap();
        let matches = |text: &str| text.parse().map(|own: IdentityPrefix| own.matches(whole));
        assert_eq!(matches(identity), Ok(true));
        assert_eq!(matches("bd361f98d45e…"), Ok(true));
        assert_eq!(matches("BD36"), Ok(true));
        assert_eq!(matches("bd37"), Ok(false));
        for text in ["", "…", "minio", &format!("{identity}0")] {
            assert!(matches(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statuses_have_commas_between() {
        let statuses: Statuses = "403, 5xx".parse().unwrap();
        assert_eq!(
            [403, 404, 500, 599].map(|status| statuses.matches(status)),
            [true, false, true, true]
        );
        for text in ["", "403,", "4x", "99"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
