use kes_api::route::ROUTES;

use super::*;

#[test]
fn plain_http_to_another_machine_is_warned_of() {
    let file = |endpoint: &str, more: &str| {
        let fields = format!("    endpoint: {endpoint}\n    approle: {{id: a, secret: b}}\n{more}");
        warnings(&loaded(&vault_file(&fields)))
    };
    let place = "line 5: keystore.vault.endpoint: ";
    let told = |origin: &str, where_: &str| {
        format!(
            "{place}{origin} is {where_}, and http:// sends keys and credentials over the network \
             unencrypted; write https://, or 127.0.0.1 if Vault is on this machine"
        )
    };
    for endpoint in ["http://127.0.0.1:8200", "http://localhost", "HTTP://[::1]:1", "https://v"] {
        assert!(file(endpoint, "").is_empty(), "{endpoint}");
    }
    let other = "on another machine";
    assert_eq!(file("http://vault:8200", ""), [told("http://vault:8200", other)]);
    // Each of several, and none of those that are encrypted.
    assert_eq!(
        file("https://a,http://b,http://127.0.0.1,http://10.9.8.7:1", ""),
        [told("http://10.9.8.7:1", other), told("http://b", other)]
    );
    // The value of a variable is not shown.
    assert_eq!(file("${HTTP}", ""), [told("an endpoint in ${HTTP}", other)]);
    // A proxy is asked for its own 127.0.0.1.
    let proxied = file("http://127.0.0.1:8200", "    proxy: http://proxy.example:3128\n");
    assert_eq!(proxied, [told("http://127.0.0.1:8200", "through a proxy on another machine")]);
    for proxy in ["http://127.0.0.1:3128", "socks5h://localhost:1080", "none"] {
        let more = format!("    proxy: {proxy}\n");
        assert!(file("http://127.0.0.1:8200", &more).is_empty(), "{proxy}");
    }
    // TLS goes through a proxy.
    assert!(file("https://vault", "    proxy: http://proxy.example:3128\n").is_empty());
}

#[test]
fn what_is_open_to_everybody_is_warned_of() {
    let api = |path: &str, value: &str| {
        warnings(&loaded(&format!("{HEAD}api: {{'{path}': {{skip_auth: {value}}}}}\n")))
    };
    for route in ROUTES {
        let harmless = ["/version", "/v1/ready", "/v1/status", "/v1/metrics", "/v1/api"];
        let is_harmless = harmless.contains(&route.path) || route.path.contains("/self/");
        let told = api(route.path, "true");
        assert_eq!(told.is_empty(), is_harmless, "{told:?}");
        let place = format!("line 5: api.{}.skip_auth: anybody who can connect may ", route.path);
        assert!(told.iter().all(|text| text.starts_with(&place)), "{told:?}");
        assert!(api(route.path, "false").is_empty(), "{}", route.path);
    }
    assert!(api("/v1/key/decrypt", "yes")[0].contains("may decrypt with every key"));
}

#[test]
fn an_identity_whose_key_is_published_is_warned_of() {
    const PLAY: &str = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";
    let admin = warnings(&loaded(&HEAD.replace(ADMIN, PLAY)));
    let told = "anybody can have this identity: it is that of the API key of MinIO's public test \
                server play.min.io, which is published; make another one with `kes identity new`";
    assert_eq!(admin, [format!("line 1: admin.identity: {told}")]);
    let policy = format!("{HEAD}policy: {{a: {{allow: [/v1/status], identities: [{PLAY}]}}}}\n");
    assert_eq!(warnings(&loaded(&policy)), [format!("line 5: policy.a.identities[0]: {told}")]);
}
