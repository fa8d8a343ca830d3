use std::net::SocketAddr;

use kes_server::fuzzing::proxy_header as parse;

/// A header of the PROXY protocol: the answer is that of its own bytes alone, and none of them is
/// spare. One of version 1 is written as the address that it is read as.
pub(crate) fn proxy_header(data: &[u8]) {
    let whole = parse(data);
    let Ok(Some((client, length))) = &whole else { return };
    let header = data.get(..*length).expect("a header is a part of the bytes");
    assert_eq!(parse(header), whole);
    for end in 0..*length {
        assert_eq!(parse(header.get(..end).unwrap_or_default()), Ok(None));
    }
    if let (Some(line), Some(client)) = (header.strip_prefix(b"PROXY "), client) {
        let line = std::str::from_utf8(line).expect("version 1 is text");
        let words: Vec<_> = line.trim_end().split(' ').collect();
        let [family, source, _, port, _] = words[..] else { panic!("five words: {line}") };
        assert_eq!(family == "TCP4", client.is_ipv4());
        let own =
            SocketAddr::new(source.parse().expect("an address"), port.parse().expect("a port"));
        assert_eq!(own, *client);
    }
}
