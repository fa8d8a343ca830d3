use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// An address, or a range of addresses as `10.0.0.0/8`. IPv4 addresses are written as such, never
/// within IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

/// Not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It has another syntax.
    #[error("not an address; write it as 10.0.0.7, 10.0.0.0/8, 2001:db8::7 or 2001:db8::/32")]
    Syntax,
    /// It has bits that the prefix does not cover.
    #[error(
        "has an address within the range; write the range as {0}, or a single address without '/'"
    )]
    HostBits(Network),
    /// It is an IPv4 address within IPv6.
    #[error("is an IPv4 address; write it as {0}")]
    Mapped(IpAddr),
}

impl Network {
    /// Whether an address is in the range. It has to be the IPv4 address of a client that uses IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether every address of its kind is in the range.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let network: IpNet = match text.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => text.parse().map_err(|_| InvalidNetwork::Syntax)?,
        };
        let address = network.addr();
        if address.to_canonical() != address {
            return Err(InvalidNetwork::Mapped(address.to_canonical()));
        }
        if network.trunc() != network {
            return Err(InvalidNetwork::HostBits(Self(network.trunc())));
        }
        Ok(Self(network))
    }
}

/// As it is written: a single address without a prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return self.0.addr().fmt(f);
        }
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_contains_its_addresses_and_is_shown_as_written() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
            ("0.0.0.0/0", "255.0.0.1", "::1"),
            ("::/0", "::1", "127.0.0.1"),
        ] {
            let [inside, outside] = [inside, outside].map(|address| address.parse().unwrap());
            assert!(network(text).contains(inside) && !network(text).contains(outside), "{text}");
            let shown = if text == "192.0.2.7/32" { "192.0.2.7" } else { text };
            assert_eq!(network(text).to_string(), shown);
            assert_eq!(network(text).is_everything(), text.ends_with("/0"));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_to_write() {
        let refused = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        for text in
            ["", "localhost", "10.0.0.0/33", "10.0.0/8", "10.0.0.1:7373", "::/129", " ::1", "10.*"]
        {
            assert!(refused(text).starts_with("not an address; write it as 10.0.0.7,"), "{text}");
        }
        let bits = "has an address within the range; write the range as";
        assert_eq!(
            refused("10.0.0.1/8"),
            format!("{bits} 10.0.0.0/8, or a single address without '/'")
        );
        assert!(refused("2001:db8::1/32").starts_with(&format!("{bits} 2001:db8::/32")));
        assert_eq!(refused("::ffff:10.0.0.1"), "is an IPv4 address; write it as 10.0.0.1");
    }
}
