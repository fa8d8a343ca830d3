//! The header of the PROXY protocol, versions 1 and 2, in which a load balancer tells the address of
//! the client whose bytes follow
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! The two libraries for it check no CRC32c, and one of them indexes what it has not measured: this
//! parser is as strict as the specification, and allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// The longest header of version 1 (section 2.1 of the specification).
const MAX_V1: usize = 107;

/// What a header of version 2 has at its begin: signature, version, command, family, length.
const START_V2: usize = 16;

/// The longest header. Version 2 could have 64 KiB. What load balancers send has up to some hundred
/// bytes, and up to 4 KiB if it holds a client's certificate.
pub(crate) const MAX: usize = START_V2 + 4096;

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The addresses of two unix sockets.
const UNIX: usize = 216;

/// The type of the value that holds a CRC32c.
const TYPE_CRC32C: u8 = 0x03;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The client; `None` if the load balancer speaks for itself, as in a health check, or does not
    /// tell an address of the internet.
    pub(crate) client: Option<SocketAddr>,
    /// How many bytes it has.
    pub(crate) len: usize,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Something else comes first.
    #[error("the connection does not begin with a PROXY protocol header")]
    NoHeader,
    /// It has no end in time.
    #[error("its PROXY protocol header is longer than {MAX_V1} bytes")]
    TooLongV1,
    /// It announces too much.
    #[error("its PROXY protocol header is longer than {MAX} bytes")]
    TooLongV2,
    /// A part of it is wrong.
    #[error("its PROXY protocol header has an invalid {0}")]
    Invalid(&'static str),
    /// It was damaged.
    #[error("its PROXY protocol header does not match its CRC32c")]
    Checksum,
}

/// Reads the header that bytes begin with; `None` if more bytes are needed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    if begins(bytes, SIGNATURE_V1) {
        return version1(bytes);
    }
    if begins(bytes, SIGNATURE_V2) {
        return version2(bytes);
    }
    Err(Fault::NoHeader)
}

/// Whether bytes begin with a signature, as far as there are any.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// A line: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 7373`.
fn version1(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let line = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < MAX_V1 { Ok(None) } else { Err(Fault::TooLongV1) };
    };
    let text = line.get(SIGNATURE_V1.len()..end).and_then(|text| str::from_utf8(text).ok());
    let text = text.ok_or(Fault::Invalid("text"))?;
    let len = end + 2;
    let (family, rest) = text.split_once(' ').unwrap_or((text, ""));
    let client = match family {
        "TCP4" => Some(addresses_v1(rest, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?),
        "TCP6" => Some(addresses_v1(rest, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?),
        // Whatever follows has no meaning.
        "UNKNOWN" => None,
        _ => return Err(Fault::Invalid("family")),
    };
    Ok(Some(Header { client, len }))
}

/// Source, destination and their ports; gives the source.
fn addresses_v1(text: &str, address: impl Fn(&str) -> Option<IpAddr>) -> Result<SocketAddr, Fault> {
    let mut parts = text.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let [source, destination] = [next(), next()].map(address);
    let [source_port, destination_port] = [next(), next()].map(port_v1);
    if parts.next().is_some() {
        return Err(Fault::Invalid("end"));
    }
    let (Some(source), Some(_)) = (source, destination) else {
        return Err(Fault::Invalid("address"));
    };
    let (Some(port), Some(_)) = (source_port, destination_port) else {
        return Err(Fault::Invalid("port"));
    };
    Ok(SocketAddr::new(source, port))
}

fn port_v1(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_number && is_shortest)
}

/// Binary.
fn version2(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let Some((start, rest)) = bytes.split_first_chunk::<START_V2>() else { return Ok(None) };
    let [.., version_and_command, family, high, low] = *start;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let len = START_V2 + length;
    if len > MAX {
        return Err(Fault::TooLongV2);
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Invalid("version or command")),
    };
    // Known before the rest is there: nobody has to wait for bytes that change nothing.
    let (address, addresses) = match family {
        0x11 => (Some(read_ipv4 as fn(&[u8]) -> Option<SocketAddr>), 12),
        0x21 => (Some(read_ipv6 as fn(&[u8]) -> Option<SocketAddr>), 36),
        // Datagrams do not come over TCP.
        0x12 => (None, 12),
        0x22 => (None, 36),
        0x31 | 0x32 => (None, UNIX),
        0x00 => (None, 0),
        // The receiver has to ignore what a local header says.
        _ if is_local => (None, length),
        _ => return Err(Fault::Invalid("family")),
    };
    let (Some(payload), Some(whole)) = (rest.get(..length), bytes.get(..len)) else {
        return Ok(None);
    };
    let Some(values) = payload.get(addresses..) else {
        // A local header may have a family and no addresses.
        return match is_local {
            true => Ok(Some(Header { client: None, len })),
            false => Err(Fault::Invalid("length")),
        };
    };
    check_values(whole, values)?;
    let client = address.filter(|_| !is_local).and_then(|read| read(payload));
    Ok(Some(Header { client, len }))
}

fn read_ipv4(payload: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = payload.split_first_chunk::<4>()?;
    let port = rest.get(4..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv4Addr::from(*source).into(), u16::from_be_bytes(*port)))
}

fn read_ipv6(payload: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = payload.split_first_chunk::<16>()?;
    let port = rest.get(16..)?.first_chunk::<2>()?;
    Some(SocketAddr::new(Ipv6Addr::from(*source).into(), u16::from_be_bytes(*port)))
}

/// Skips the values at the end of a header (type, length, value), and compares the checksum if there
/// is one.
fn check_values(header: &[u8], values: &[u8]) -> Result<(), Fault> {
    let mut rest = values;
    let mut has_checksum = false;
    while let Some(([kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(Fault::Invalid("value"))?;
        if *kind == TYPE_CRC32C {
            let expected = value.try_into().map(u32::from_be_bytes);
            let expected = expected.map_err(|_| Fault::Invalid("CRC32c"))?;
            let start = header.len() - after.len();
            if has_checksum || crc32c(header, start..start + length) != expected {
                return Err(Fault::Checksum);
            }
            has_checksum = true;
        }
        rest = next;
    }
    if rest.is_empty() { Ok(()) } else { Err(Fault::Invalid("value")) }
}

/// The CRC32c (RFC 9260, appendix A) of bytes, of which some count as zero.
fn crc32c(bytes: &[u8], zero: Range<usize>) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        crc ^= if zero.contains(&at) { 0 } else { u32::from(*byte) };
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[command, family], &length, payload].concat()
    }

    /// With a checksum at its end.
    fn checked(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = v2(command, family, &[payload, &[3, 0, 4, 0, 0, 0, 0]].concat());
        let end = header.len();
        let crc = crc32c(&header, 0..0).to_be_bytes();
        header[end - 4..].copy_from_slice(&crc);
        header
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 28, 205];

    fn ipv6() -> Vec<u8> {
        let [source, destination] = ["2001:db8::1", "2001:db8::2"]
            .map(|address| address.parse::<Ipv6Addr>().unwrap().octets());
        [&source[..], &destination, &[0xdc, 4, 28, 205]].concat()
    }

    /// A header is read whole, with anything after it, and needs each of its bytes.
    fn assert_read(header: &[u8], client: Option<&str>) {
        let client = client.map(|client| client.parse().unwrap());
        let read = Ok(Some(Header { client, len: header.len() }));
        assert_eq!(parse(header), read, "{}", header.escape_ascii());
        assert_eq!(parse(&[header, &[0x16, 3, 1]].concat()), read);
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(None), "{}", header[..end].escape_ascii());
        }
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(crc32c(b"123456789", 0..0), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32], 0..0), 0x8a91_36aa);
        assert_eq!(crc32c(&[7; 32], 0..32), 0x8a91_36aa);
    }

    #[test]
    fn headers_of_the_specification_are_read() {
        let local = "PROXY UNKNOWN\r\n";
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 7373\r\n", Some("192.0.2.1:56324")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 0 1\r\n", Some("[2001:db8::1]:0")),
            (local, None),
            (longest, None),
        ] {
            assert_read(line.as_bytes(), client);
        }
        for make in [v2, checked] {
            assert_read(&make(0x21, 0x11, &IPV4), Some("192.0.2.1:56324"));
            assert_read(&make(0x21, 0x21, &ipv6()), Some("[2001:db8::1]:56324"));
            // Without an address of the internet, or of a health check.
            assert_read(&make(0x21, 0x31, &[7; UNIX]), None);
            assert_read(&make(0x21, 0x12, &IPV4), None);
            assert_read(&make(0x21, 0, &[]), None);
            assert_read(&make(0x20, 0x11, &IPV4), None);
            assert_read(&make(0x20, 0, &[]), None);
        }
        assert_read(&v2(0x20, 0x77, &[1, 2]), None);
        assert_read(&v2(0x20, 0x11, &[]), None);
        // Values are skipped.
        let values = [&IPV4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0, 0xee, 0, 1, 9]].concat();
        assert_read(&checked(0x21, 0x11, &values), Some("192.0.2.1:56324"));
        let most = [&[4, 0x0f, 0xfd][..], &[0; 4093]].concat();
        assert_read(&v2(0x21, 0, &most), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1));
        for (line, fault) in [
            ("\x16\x03\x01", Fault::NoHeader),
            ("GET / HTTP/1.1\r\n", Fault::NoHeader),
            ("PROXX", Fault::NoHeader),
            (&long, Fault::TooLongV1),
            ("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Invalid("family")),
            ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Invalid("family")),
            ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", Fault::Invalid("address")),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Fault::Invalid("address")),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Invalid("address")),
            ("PROXY TCP4 192.0.2.1\r\n", Fault::Invalid("address")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Fault::Invalid("port")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Fault::Invalid("port")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Fault::Invalid("port")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", Fault::Invalid("port")),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Fault::Invalid("end")),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(fault), "{line}");
        }
        assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Fault::Invalid("text")));
        let changed = |at: usize| {
            let mut header = checked(0x21, 0x11, &IPV4);
            header[at] ^= 1;
            parse(&header)
        };
        assert_eq!(changed(16), Err(Fault::Checksum));
        assert_eq!(changed(34), Err(Fault::Checksum));
        let twice = checked(0x21, 0x11, &[&IPV4[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
        assert_eq!(parse(&twice), Err(Fault::Checksum));
        for (header, fault) in [
            (v2(0x11, 0x11, &IPV4), Fault::Invalid("version or command")),
            (v2(0x22, 0x11, &IPV4), Fault::Invalid("version or command")),
            (v2(0x21, 0x41, &IPV4), Fault::Invalid("family")),
            (v2(0x21, 0x13, &IPV4), Fault::Invalid("family")),
            (v2(0x21, 0x21, &IPV4), Fault::Invalid("length")),
            (v2(0x21, 0x31, &[7; UNIX - 1]), Fault::Invalid("length")),
            (v2(0x21, 0, &[4, 0, 1]), Fault::Invalid("value")),
            (v2(0x21, 0, &[4, 0]), Fault::Invalid("value")),
            (v2(0x21, 0, &[3, 0, 1, 0]), Fault::Invalid("CRC32c")),
            (v2(0x21, 0, &[0; 4097]), Fault::TooLongV2),
        ] {
            assert_eq!(parse(&header), Err(fault), "{}", header.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn more_bytes_change_no_answer(start in prop_oneof![
            Just(SIGNATURE_V1.to_vec()), Just(SIGNATURE_V2.to_vec()), Just(Vec::new())
        ], rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [start, rest].concat();
            let whole = parse(&bytes);
            if let Ok(Some(header)) = whole {
                prop_assert!(header.len <= bytes.len() && header.len <= MAX);
                prop_assert_eq!(parse(&bytes[..header.len]), whole);
                for end in 0..header.len {
                    prop_assert_eq!(parse(&bytes[..end]), Ok(None));
                }
            }
        }
    }
}
