use std::fmt;
use std::net::Ipv6Addr;
use std::ops::Deref;
use std::str::FromStr;

use kes_keystore::config::Place;

/// Where a server listens: `0.0.0.0:7373`, `[::]:7373`, `localhost:7373`, or `:7373` for all
/// interfaces. Port 0 means any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

/// Not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Another form.
    #[error("not an address; write it as 0.0.0.0:7373, [::1]:7373, localhost:7373 or :7373")]
    Form,
    /// A number that is not a port.
    #[error("port {0} is larger than 65535")]
    Port(u64),
    /// An IPv6 address without brackets.
    #[error("not an address; IPv6 needs brackets: [{host}]:{port}")]
    Brackets {
        /// The address.
        host: Ipv6Addr,
        /// The port that was probably meant.
        port: u16,
    },
}

impl Address {
    /// An IP address without brackets, or the name of a host; empty for all interfaces.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// `0.0.0.0:7373`
impl Default for Address {
    fn default() -> Self {
        Self { host: "0.0.0.0".to_owned(), port: 7373 }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress::Form)?;
        // `parse` alone would accept a sign.
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u64> = if is_port { port.parse().ok() } else { None };
        if let Ok(host) = host.parse()
            && let Some(port) = number.and_then(|port| u16::try_from(port).ok())
        {
            return Err(InvalidAddress::Brackets { host, port });
        }
        if let Ok(host) = text.parse() {
            return Err(InvalidAddress::Brackets { host, port: Self::default().port });
        }
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let host = rest.strip_suffix(']').ok_or(InvalidAddress::Form)?;
                let _: Ipv6Addr = host.parse().map_err(|_| InvalidAddress::Form)?;
                host
            }
            None => host,
        };
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_ipv6 = text.starts_with('[');
        if !(is_ipv6 || host.chars().all(of_a_name)) {
            return Err(InvalidAddress::Form);
        }
        let number = number.ok_or(InvalidAddress::Form)?;
        let port = u16::try_from(number).map_err(|_| InvalidAddress::Port(number))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// As in the file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An address to listen on, and where it was set. Whoever cannot listen there reports that with
/// [`ConfiguredAddress::blame`], so that the operator is told which line to change.
#[derive(Clone, Debug, Default)]
pub struct ConfiguredAddress {
    address: Address,
    origin: Origin,
}

#[derive(Clone, Debug, Default)]
enum Origin {
    #[default]
    Default,
    File(Place),
    Flag(&'static str),
}

impl ConfiguredAddress {
    /// An address that stands at a place of the configuration.
    pub const fn new(address: Address, place: Place) -> Self {
        Self { address, origin: Origin::File(place) }
    }

    /// An address that a flag of the command line sets.
    pub const fn of_flag(address: Address, flag: &'static str) -> Self {
        Self { address, origin: Origin::Flag(flag) }
    }

    /// A message about the address: `config.yml:2: address: <fault>`, or `--addr: <fault>`, or
    /// `address (the default): <fault>`.
    pub fn blame(&self, fault: impl fmt::Display) -> String {
        match &self.origin {
            Origin::File(place) => format!("{place}: {fault}"),
            Origin::Flag(flag) => format!("{flag}: {fault}"),
            Origin::Default => format!("address (the default): {fault}"),
        }
    }
}

/// The address alone.
impl fmt::Display for ConfiguredAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Deref for ConfiguredAddress {
    type Target = Address;

    fn deref(&self) -> &Address {
        &self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_where_the_address_was_set() {
        let address = || ":7373".parse().unwrap();
        let place = Place { file: None, line: 2, field: "address".to_owned() };
        for (configured, told) in [
            (ConfiguredAddress::new(address(), place), "line 2: address: in use"),
            (ConfiguredAddress::of_flag(address(), "--addr"), "--addr: in use"),
            (ConfiguredAddress::default(), "address (the default): in use"),
        ] {
            assert_eq!(configured.blame("in use"), told);
        }
    }

    #[test]
    fn addresses_both_ways() {
        for (text, host, port) in [
            ("0.0.0.0:7373", "0.0.0.0", 7373),
            (":7373", "", 7373),
            ("[::]:7373", "::", 7373),
            ("[::1]:0", "::1", 0),
            ("localhost:65535", "localhost", 65535),
            ("kes-0.kes_hl.svc:1", "kes-0.kes_hl.svc", 1),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
        assert_eq!(Address::default().to_string(), "0.0.0.0:7373");
    }

    #[test]
    fn no_addresses() {
        for text in [
            "",
            "7373",
            "localhost",
            "localhost:",
            ":99999999999999999999999",
            ":-1",
            ":+1",
            "[::1]",
            "[::1:7373",
            "[x]:1",
            "[]:1",
            "a b:1",
            "https://a:1",
            ":https",
            "[::1]7373",
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress::Form), "{text}");
        }
        for (text, told) in [
            (":65536", "port 65536 is larger than 65535"),
            ("[::1]:99999", "port 99999 is larger than 65535"),
            ("::1:7374", "not an address; IPv6 needs brackets: [::1]:7374"),
            ("fd00::1", "not an address; IPv6 needs brackets: [fd00::1]:7373"),
            ("::", "not an address; IPv6 needs brackets: [::]:7373"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), told, "{text}");
        }
    }
}
