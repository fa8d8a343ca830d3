use super::*;

fn from(section: &str) -> Loaded {
    with(&format!("proxy_protocol: {section}\n"))
}

#[test]
fn load_balancers_are_named_by_address_or_range() {
    for section in ["", "~"] {
        assert_eq!(from(section).config.proxy_protocol, []);
    }
    assert_eq!(loaded(HEAD).config.proxy_protocol, []);
    let section = "{from: [10.0.0.7, 10.1.0.0/16, '2001:db8::/32', '']}";
    let loaded = from(section);
    let shown: Vec<_> = loaded.config.proxy_protocol.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.7", "10.1.0.0/16", "2001:db8::/32"]);
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["line 5: proxy_protocol.from[3]: empty; ignored"]);
    let warnings = from("{from: ['0.0.0.0/0']}").warnings;
    assert!(warnings[0].to_string().contains("every client can name any address"));
}

#[test]
fn mistakes_in_the_list_are_told() {
    for (section, told) in [
        ("{}", "proxy_protocol.from: is required; it lists the addresses of load balancers"),
        ("{from: []}", "proxy_protocol.from: is required"),
        ("{from: [balancer]}", "proxy_protocol.from[0]: 'balancer': not an address; write it as"),
        ("{from: [10.0.0.7, 10.0.0.1/8]}", "proxy_protocol.from[1]: '10.0.0.1/8': has an address"),
        ("{from: [10.0.0.0/33]}", "proxy_protocol.from[0]: '10.0.0.0/33': not an address"),
        ("{from: ['::ffff:10.0.0.1']}", "is an IPv4 address; write it as 10.0.0.1"),
        ("on", "proxy_protocol: expected a map"),
    ] {
        let refused = refused_with(&format!("proxy_protocol: {section}\n"));
        assert!(refused.starts_with("line 5: proxy_protocol"), "{section}: {refused}");
        assert!(refused.contains(told), "{section}: {refused}");
    }
}
