//! List flags as Go's flag library reads them (contract `cli.md`, Flags and values). A flag may be
//! repeated, and each value may have several items separated by commas. Blanks around an item and
//! quotes around an item or the whole value are dropped (`--ip='"127.0.0.1"'` comes from lists in
//! YAML). Empty items are ignored.

use std::net::IpAddr;

/// Addresses of one `--ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpAddresses(pub(crate) Vec<IpAddr>);

/// Host names of one `--dns`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domains(pub(crate) Vec<String>);

impl IpAddresses {
    /// Reads a value of the flag.
    ///
    /// # Errors
    /// Names the first item that is not an address.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parse = |item: String| {
            item.parse().map_err(|_| {
                format!("'{item}' is not an IP address; names of hosts are given with --dns")
            })
        };
        items(text).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Domains {
    /// Reads a value of the flag.
    ///
    /// # Errors
    /// None: the names are checked when the certificate is made.
    #[expect(clippy::unnecessary_wraps, reason = "the form of a value parser")]
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(items(text).collect()))
    }
}

pub(super) fn items(text: &str) -> impl Iterator<Item = String> {
    text.split(',')
        .map(|item| item.replace(['"', '\'', '`'], "").trim().to_owned())
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_scripts_pass_them() {
        let v4: IpAddr = "127.0.0.1".parse().unwrap();
        let v6: IpAddr = "::1".parse().unwrap();
        for (text, expected) in [
            ("127.0.0.1", &[v4] as &[_]),
            ("127.0.0.1,::1", &[v4, v6]),
            (" 127.0.0.1 , ::1 ,", &[v4, v6]),
            ("\"127.0.0.1\"", &[v4]),
            ("'127.0.0.1', \"::1\"", &[v4, v6]),
            ("\"127.0.0.1,::1\"", &[v4, v6]),
            ("", &[]),
            ("\"\"", &[]),
            (" , ", &[]),
        ] {
            assert_eq!(IpAddresses::parse(text).unwrap().0, expected, "{text}");
        }
        assert_eq!(Domains::parse("\"localhost\", *.a ,").unwrap().0, ["localhost", "*.a"]);
        let error = IpAddresses::parse("127.0.0.1, localhost").unwrap_err();
        assert_eq!(error, "'localhost' is not an IP address; names of hosts are given with --dns");
    }
}
