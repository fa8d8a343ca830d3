use super::*;

fn read(section: &str) -> Loaded {
    with(&format!("operations: {section}\n"))
}

#[test]
fn a_listener_for_operations_is_off_unless_it_has_an_address() {
    for section in ["", "~"] {
        assert!(read(section).config.operations.is_none(), "{section}");
    }
    assert!(loaded(HEAD).config.operations.is_none());
    let config = read("{address: '127.0.0.1:7374'}").config;
    let operations = config.operations.unwrap();
    assert_eq!(
        (operations.address.to_string().as_str(), operations.tls),
        ("127.0.0.1:7374", false)
    );
    let config = read("{address: 'unix:/run/kes/operations.sock'}").config;
    assert!(matches!(
        config.operations.unwrap().address,
        OperationsAddress::Unix(path) if &*path == Path::new("/run/kes/operations.sock")
    ));
    assert!(read("{address: ':7374', tls: on}").config.operations.unwrap().tls);
}

#[test]
fn the_page_and_its_names_are_off_unless_they_are_on() {
    for (fields, expected) in [
        ("", (false, false)),
        (", page: on", (true, false)),
        (", page: true, details: yes", (true, true)),
        (", page: ~, details: off", (false, false)),
    ] {
        let read = read(&format!("{{address: '127.0.0.1:1'{fields}}}"));
        assert_eq!(warnings(&read), [""; 0], "{fields}");
        let operations = read.config.operations.unwrap();
        assert_eq!((operations.page, operations.details), expected, "{fields}");
    }
    let useless = read("{address: '127.0.0.1:1', details: on}");
    assert_eq!(
        warnings(&useless),
        ["line 5: operations.details: has no effect without 'page: on'"]
    );
    let open = read("{address: ':7374', tls: on, page: on, details: on}");
    assert_eq!(
        warnings(&open),
        [
            "line 5: operations.details: anybody who can connect from another machine may read names \
          of keys and identities; write 127.0.0.1 or a unix socket, or remove it"
        ]
    );
    for section in
        ["{address: 'unix:x', page: on, details: on}", "{address: ':1', tls: on, page: on}"]
    {
        assert_eq!(warnings(&read(section)), [""; 0], "{section}");
    }
}

#[test]
fn mistakes_in_the_section_are_told() {
    let long = format!("unix:/{}", "x".repeat(107));
    for (section, told) in [
        (
            "{tls: on}",
            "operations.address: is required; write it as 127.0.0.1:7374, or as \
             unix:/run/kes/operations.sock",
        ),
        (
            "{address: nowhere}",
            "operations.address: 'nowhere': not an address; write it as 0.0.0.0:7373, [::1]:7373, \
             localhost:7373 or :7373; a unix socket is written as unix:/run/kes/operations.sock",
        ),
        ("{address: '127.0.0.1:x'}", "operations.address: '127.0.0.1:x': not an address"),
        ("{address: 'unix:'}", "operations.address: 'unix:' has no path"),
        (&format!("{{address: '{long}'}}"), "has a path of 108 bytes, and the system takes 107"),
        ("{address: 'unix:/x', tls: on}", "operations.tls: a unix socket needs no TLS; remove it"),
        ("{address: ':7374', tls: maybe}", "operations.tls: 'maybe' is neither true nor false"),
        ("{address: ':7374', page: maybe}", "operations.page: 'maybe' is neither true nor false"),
        ("{address: ':7374', details: [a]}", "operations.details: expected"),
        ("{address: [a]}", "operations.address: expected a text"),
        ("on", "operations: expected a map"),
        (
            "{address: '127.0.0.1:7373'}",
            "operations.address: 127.0.0.1:7373 is the address of the API; choose another port",
        ),
    ] {
        let refused = refused_with(&format!("operations: {section}\n"));
        assert!(refused.starts_with("line 5: operations"), "{section}: {refused}");
        assert!(refused.contains(told), "{section}: {refused}");
    }
    // Another address of the machine, with the port of the API.
    let api = "address: 127.0.0.1:7373\noperations: {address: '127.0.0.2:7373'}\n";
    assert!(with(api).config.operations.is_some());
}

#[test]
fn what_is_open_to_other_machines_over_plain_http_is_warned_of() {
    let told = "line 5: operations.address: anybody who can connect from another machine may read \
                health and metrics over plain HTTP; write 127.0.0.1 or a unix socket, or 'tls: on' \
                to encrypt them";
    for address in [":7374", "0.0.0.0:7374", "10.1.2.3:7374", "[::]:7374", "kes:7374"] {
        let plain = read(&format!("{{address: '{address}'}}"));
        assert_eq!(warnings(&plain), [told], "{address}");
        let tls = read(&format!("{{address: '{address}', tls: yes}}"));
        assert_eq!(warnings(&tls), [""; 0], "{address}");
    }
    for address in ["127.0.0.1:7374", "127.9.9.9:1", "[::1]:7374", "localhost:7374", "unix:x"] {
        let loopback = read(&format!("{{address: '{address}'}}"));
        assert_eq!(warnings(&loopback), [""; 0], "{address}");
    }
    let unknown = read("{adress: x, address: '127.0.0.1:1'}");
    assert_eq!(
        warnings(&unknown),
        ["line 5: operations.adress: unknown field, ignored; is 'address' meant?"]
    );
}
