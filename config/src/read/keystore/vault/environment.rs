//! Environment variables that replace fields of the file that are not set, as in the reference
//! server (contract `vault.md`, Environment variables).

use kes_keystore::config::{ConfiguredPath, VaultTls};

use crate::value::{AlreadyReported, Value};

/// Variables that have an effect.
const OBEYED: [&str; 7] = [
    "VAULT_CACERT",
    "VAULT_CACERT_BYTES",
    "VAULT_CAPATH",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "VAULT_TLS_SERVER_NAME",
    "VAULT_NAMESPACE",
];

/// The warning that a field is taken from a variable.
pub(super) fn taken_from(variable: &str, shown: &str) -> String {
    format!(
        "not set, taken from the environment variable {variable}: {shown}; set this field to say \
         the same"
    )
}

/// Takes the CAs from variables: a file, a PEM text or a folder, in the order of Vault's own
/// client.
pub(super) fn authorities(ca: &Value<'_>, tls: &mut VaultTls) {
    let paths = ["VAULT_CACERT", "VAULT_CACERT_BYTES", "VAULT_CAPATH"];
    let Some((variable, text)) = ca.first_variable(&paths) else { return };
    if variable == "VAULT_CACERT_BYTES" {
        let text_of_file = taken_from(variable, "a certificate; name its file here");
        ca.warn(text_of_file);
        tls.ca_pem = Some(text);
    } else {
        ca.warn(taken_from(variable, &format!("'{}'", text.escape_debug())));
        tls.ca = Some(ConfiguredPath::of_variable(text.into(), variable));
    }
}

/// Takes private key and certificate of this client from variables.
pub(super) fn client(
    key_field: &Value<'_>,
    cert_field: &Value<'_>,
    tls: &mut VaultTls,
) -> Result<(), AlreadyReported> {
    let (cert, key) = ("VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY");
    let taken = |field: &Value<'_>, name: &'static str| {
        let text = field.variable(name)?;
        field.warn(taken_from(name, &format!("'{}'", text.escape_debug())));
        Some(ConfiguredPath::of_variable(text.into(), name))
    };
    match (taken(key_field, key), taken(cert_field, cert)) {
        (None, None) => {}
        (Some(key), Some(cert)) => tls.client = Some((key, cert)),
        (Some(_), None) => {
            return Err(cert_field.mistake(format!("is required where {key} is set, or {cert}")));
        }
        (None, Some(_)) => {
            return Err(key_field.mistake(format!("is required where {cert} is set, or {key}")));
        }
    }
    Ok(())
}

/// Takes a text field from a variable.
pub(super) fn text(field: &Value<'_>, variable: &str) -> Option<String> {
    let text = field.variable(variable)?;
    field.warn(taken_from(variable, &format!("'{}'", text.escape_debug())));
    Some(text)
}

/// Warns of variables of Vault's client that are set and have no effect here. Variables that the
/// file refers to belong to the operator.
pub(super) fn warn_of_others(vault: &Value<'_>, is_encrypted: bool) {
    let mut others = vault.other_variables("VAULT_");
    others.retain(|name| {
        let obeyed = OBEYED.contains(&name.as_str());
        !obeyed || !is_encrypted && name != "VAULT_NAMESPACE"
    });
    if others.is_empty() {
        return;
    }
    others.sort();
    let more = others.len().saturating_sub(MAX_NAMES);
    others.truncate(MAX_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let skip = if others.iter().any(|name| name == "VAULT_SKIP_VERIFY") {
        "; Vault's certificate is always verified, name its CA in tls.ca"
    } else {
        ""
    };
    vault.warn(format!(
        "these environment variables are set and not obeyed: {}{more}{skip}",
        others.join(", ")
    ));
}

/// The most names in one warning. Vault's client has some 30 variables, and Kubernetes sets 7 for
/// each port of a service called `vault`.
const MAX_NAMES: usize = 40;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use kes_keystore::config::{Config, Vault};

    use crate::{Environment, Loaded, parse};

    struct Variables(&'static [(&'static str, &'static str)]);

    impl Environment for Variables {
        fn get(&self, name: &str) -> Option<String> {
            let found = self.0.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        }

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
        }

        fn is_own_address(&self, _: IpAddr) -> bool {
            false
        }
    }

    fn load(fields: &str, variables: &'static [(&str, &str)]) -> Result<(Vault, String), String> {
        let text = format!(
            "admin: {{ identity: disabled }}\ntls: {{ key: k, cert: c }}\nkeystore:\n  vault:\n    \
             approle: {{ id: a, secret: b }}\n    {fields}\n"
        );
        let loaded = parse(&text, &Variables(variables)).map_err(|errors| errors.to_string())?;
        let Loaded { config, warnings } = loaded;
        let Config::Vault(vault) = config.keystore else { panic!("{text}") };
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        Ok((*vault, warnings.join("\n")))
    }

    const HTTPS: &str = "endpoint: https://vault.example:8200";

    #[test]
    fn what_the_file_leaves_out_is_taken_from_the_environment_and_said() {
        let (vault, warnings) = load(
            HTTPS,
            &[
                ("VAULT_CACERT", "/etc/ca.pem"),
                ("VAULT_CACERT_BYTES", "unused"),
                ("VAULT_CLIENT_CERT", "c.pem"),
                ("VAULT_CLIENT_KEY", "k.pem"),
                ("VAULT_TLS_SERVER_NAME", "vault"),
                ("VAULT_NAMESPACE", "team/"),
                ("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128"),
                ("HTTP_PROXY", "http://other.example"),
            ],
        )
        .unwrap();
        let (key, cert) = vault.tls.client.unwrap();
        assert_eq!((key.to_str(), cert.to_str()), (Some("k.pem"), Some("c.pem")));
        assert_eq!(vault.tls.ca.unwrap().blame("x"), "environment variable VAULT_CACERT: x");
        assert!(vault.tls.server_name.is_some() && vault.tls.ca_pem.is_none());
        assert_eq!(vault.namespace, "team");
        assert_eq!(vault.proxies.len(), 1);
        assert_eq!(vault.proxies[0].origin, "https://vault.example:8200");
        for part in [
            "keystore.vault.tls.ca: not set, taken from the environment variable VAULT_CACERT: \
             '/etc/ca.pem'; set this field to say the same",
            "keystore.vault.tls.cert: not set, taken from the environment variable",
            "keystore.vault.tls.key: not set, taken from the environment variable",
            "keystore.vault.tls.server_name: not set",
            "keystore.vault.namespace: not set, taken from the environment variable \
             VAULT_NAMESPACE: 'team/'",
            "keystore.vault.proxy: not set, taken from the environment variable HTTPS_PROXY: \
             http://proxy.example:3128",
        ] {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
        assert!(!warnings.contains("hunter2") && !warnings.contains("not obeyed"), "{warnings}");
        assert!(!format!("{:?}", vault.proxies).contains("hunter2"));
    }

    #[test]
    fn what_the_file_says_wins() {
        let fields = "endpoint: https://vault.example:8200\n    namespace: mine\n    proxy: none\n    \
                      tls: { ca: a.pem, key: k, cert: c, server_name: v }";
        let (vault, warnings) = load(
            fields,
            &[
                ("VAULT_CACERT", "/etc/ca.pem"),
                ("VAULT_CLIENT_CERT", "c.pem"),
                ("VAULT_TLS_SERVER_NAME", "other"),
                ("VAULT_NAMESPACE", "team"),
                ("HTTPS_PROXY", "http://proxy.example:3128"),
            ],
        )
        .unwrap();
        assert_eq!(vault.tls.ca.unwrap().to_str(), Some("a.pem"));
        assert_eq!((vault.namespace.as_str(), vault.proxies.len()), ("mine", 0));
        assert_eq!(warnings, "");
    }

    #[test]
    fn what_is_not_obeyed_is_named_without_its_value() {
        let (_, warnings) = load(
            "endpoint: https://vault.example:8200\n    prefix: ${VAULT_PREFIX}",
            &[
                ("VAULT_SKIP_VERIFY", "true"),
                ("VAULT_TOKEN", "hunter2"),
                ("VAULT_ADDR", "http://other:8200"),
                ("VAULT_PREFIX", "of-the-file"),
                ("VAULTED", "no"),
            ],
        )
        .unwrap();
        assert_eq!(
            warnings,
            "line 4: keystore.vault: these environment variables are set and not obeyed: \
             VAULT_ADDR, VAULT_SKIP_VERIFY, VAULT_TOKEN; Vault's certificate is always verified, \
             name its CA in tls.ca"
        );
        // Trust means nothing to plain HTTP, and one of two files is none.
        let http = "endpoint: http://vault.example:8200";
        let (vault, warnings) =
            load(http, &[("VAULT_CACERT", "x"), ("VAULT_CLIENT_KEY", "k")]).unwrap();
        assert!(vault.tls.ca.is_none() && vault.tls.client.is_none());
        assert!(warnings.contains("not obeyed: VAULT_CACERT, VAULT_CLIENT_KEY"), "{warnings}");
        let text = load(HTTPS, &[("VAULT_CLIENT_KEY", "k")]).unwrap_err();
        assert!(text.contains("tls.cert: is required where VAULT_CLIENT_KEY is set"), "{text}");
        let text = load(HTTPS, &[("HTTPS_PROXY", "ftp://me:hunter2@p")]).unwrap_err();
        assert!(
            text.contains("environment variable HTTPS_PROXY") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn each_endpoint_has_the_proxy_of_its_scheme() {
        let fields =
            "endpoint: https://a.example,http://b.example,https://127.0.0.1:1,https://c.example";
        let (vault, _) = load(
            fields,
            &[
                ("https_proxy", "p1.example"),
                ("http_proxy", "p2.example:1"),
                ("no_proxy", "c.example"),
            ],
        )
        .unwrap();
        let found: Vec<_> =
            vault.proxies.iter().map(|proxy| (&*proxy.origin, proxy.url.expose())).collect();
        let expected = [
            ("https://a.example", "http://p1.example/"),
            ("http://b.example", "http://p2.example:1/"),
        ];
        assert_eq!(found, expected);
    }
}
