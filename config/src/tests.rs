use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kes_api::Identity;
use kes_api::route::Operation;
use kes_keystore::config::{AppRoleSecret, Jwt, KvVersion, Login, Vault};
use proptest::prelude::*;

use super::*;

const ADMIN: &str = "7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382";
const ONES: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// What every file needs, on lines 1 to 4.
const HEAD: &str =
    "admin: {identity: 7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382}
tls: {key: server.key, cert: server.crt}
keystore: {fs: {path: keys}}
# line 4
";

fn env(name: &str) -> Option<String> {
    match name {
        "CONTRACT_IDENTITY" | "ONES" => Some(ONES.to_owned()),
        "CONTRACT_ADDRESS" => Some("127.0.0.1:0".to_owned()),
        "EMPTY" => Some(String::new()),
        "YES" => Some("yes".to_owned()),
        "MARKED" => Some("marked-value".to_owned()),
        _ => None,
    }
}

fn loaded(text: &str) -> Loaded {
    parse(text, &env).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A file that has what it needs, and this from line 5 on.
fn with(text: &str) -> Loaded {
    loaded(&format!("{HEAD}{text}"))
}

fn refused(text: &str) -> String {
    match parse(text, &env) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

fn refused_with(text: &str) -> String {
    refused(&format!("{HEAD}{text}"))
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(Warning::to_string).collect()
}

fn testdata(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A file with this Vault section, indented by four.
fn vault_file(fields: &str) -> String {
    let mut text = HEAD.replace("keystore: {fs: {path: keys}}", "keystore:\n  vault:");
    text.truncate(text.rfind('#').unwrap());
    text + fields
}

fn vault(fields: &str) -> Box<Vault> {
    match loaded(&vault_file(fields)).config.keystore {
        kes_keystore::Config::Vault(vault) => vault,
        kes_keystore::Config::Fs(_) => panic!("not Vault"),
    }
}

const LOGIN: &str = "    endpoint: https://127.0.0.1:8200\n    approle: {id: a, secret: b}\n";

// --- the files of the contract

#[test]
fn each_file_to_accept_loads() {
    let files = testdata("accept");
    assert_eq!(files.len(), 13);
    for file in files {
        load(&file, &env).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn each_file_to_refuse_is_refused_with_its_message() {
    let expected = [
        ("01-no-admin", "admin"),
        ("02-no-key", "key"),
        ("03-no-cert", "cert"),
        ("04-auth-word", "auth"),
        ("05-identity-in-two-policies", ONES),
        ("06-admin-in-policy", ADMIN),
        ("07-policy-named-twice", "policy.a: named twice, first in line 7"),
        ("08-two-key-stores", "keystore"),
        ("09-no-key-store", "keystore"),
        ("10-vault-no-endpoint", "endpoint"),
        ("11-vault-two-logins", "login"),
        ("12-vault-no-secret", "secret"),
        ("13-unset-variable", "CONTRACT_NOT_SET"),
        ("14-duration-unit", "any"),
        ("15-duration-without-unit", "any"),
        ("16-negative-duration", "unused"),
        ("17-version", "version"),
        ("18-not-yaml", "line"),
        ("19-empty-file", "empty"),
        ("20-key-named-twice", "k1"),
        ("21-alias-bomb", "alias"),
        ("22-proxy-is-admin", ADMIN),
        ("23-vault-half-a-client-certificate", "tls"),
        ("24-wrong-type", "line"),
        ("25-vault-version", "v3"),
    ];
    let files = testdata("refuse");
    assert_eq!(files.len(), expected.len());
    for (file, (name, message)) in files.iter().zip(expected) {
        assert_eq!(file.file_stem().unwrap(), name);
        let text = load(file, &env).unwrap_err().to_string();
        // The message alone: the name of the file must not be what holds the word.
        let text = text.replace(&*file.to_string_lossy(), "config.yml");
        assert!(text.contains(message), "{name}: {text}");
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
        assert!(text.starts_with("config.yml:"), "{name}: {text}");
    }
}

#[test]
fn what_the_files_to_accept_say() {
    let file = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/accept").join(name);
        load(&path, &env).unwrap()
    };
    let Loaded { config, warnings } = file("01-smallest.yml");
    assert!(warnings.is_empty());
    assert_eq!(config.address, Address::default());
    assert_eq!(config.admin, Some(ADMIN.parse().unwrap()));
    assert_eq!(&*config.tls.key, Path::new("server.key"));
    assert_eq!(&*config.tls.cert, Path::new("server.crt"));
    assert_eq!(config.tls.auth, ClientAuth::Any);
    assert!(config.tls.password.is_none() && config.tls.ca.is_none());
    assert_eq!(config.tls.proxy.cert_header, "X-Tls-Client-Cert");
    assert_eq!(config.cache.any, Duration::from_secs(300));
    assert_eq!(config.cache.unused, Duration::from_secs(30));
    assert_eq!(config.cache.offline, Duration::ZERO);
    assert_eq!(config.log, Log::default());
    assert_eq!((config.log.error, config.log.audit), (Level::INFO, Level::INFO));
    assert!(
        matches!(config.keystore, kes_keystore::Config::Fs(fs) if &*fs.path == Path::new("keys"))
    );

    let guide = file("02-guide-vault-approle.yml");
    assert_eq!(guide.config.admin, None);
    let text: Vec<_> = guide.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(text.len(), 3, "{text:?}");
    assert!(text[0].starts_with("line 12: policy.minio: allows generate and decrypt but not"));
    assert!(text[1].starts_with("line 17: policy.minio.allow[3]: '/v1/key/bulk/decrypt' matches"));
    assert_eq!(
        text[2],
        "line 36: keystore.vault.approle.retry: ignored: no longer needed, a login is repeated by \
         itself"
    );

    let operator = file("03-operator-style.yml").config;
    assert_eq!((operator.address.host(), operator.address.port()), ("", 7373));
    assert_eq!(operator.admin, None);
    assert_eq!(operator.cache.unused, Duration::from_secs(20));
    assert_eq!((operator.log.error, operator.log.audit), (Level::INFO, Level::OFF));
    let minio: Identity = ONES.parse().unwrap();
    assert!(operator.policies.decide(&minio, "/v1/key/bulk/decrypt/k").is_ok());
    assert!(operator.policies.decide(&minio, "/v1/metrics").is_err());

    let merged = file("04-merge-keys.yml").config;
    assert!(merged.policies.decide(&minio, "/v1/key/decrypt/k").is_ok());
    assert!(merged.policies.decide(&minio, "/v1/key/decrypt/internal-k").is_err());

    let quoted = file("05-env-quoted.yml").config;
    assert_eq!(quoted.admin, Some(minio));
    assert_eq!(quoted.address.to_string(), "127.0.0.1:0");

    let yes = file("07-yes-and-upper-case.yml").config;
    assert!(yes.api.any_skips_auth());
    assert!(yes.api.of(Operation::Ready).skip_auth && yes.api.of(Operation::Metrics).skip_auth);
    assert_eq!(yes.api.of(Operation::Ready).timeout, Some(Duration::from_secs(5)));
    assert_eq!(yes.api.of(Operation::Status), ApiOverride::default());
    assert_eq!(yes.log.error, Level::WARN);
    assert_eq!(yes.log.audit.to_string(), "INFO+1");

    let unknown = file("09-unknown-fields.yml");
    assert_eq!(
        self::warnings(&unknown),
        [
            "line 7: enclave: ignored: there are no enclaves",
            "line 8: root: ignored: the admin stands in admin.identity",
            "line 12: keystore.fs.mode: unknown field, ignored",
        ]
    );

    let kes_keystore::Config::Vault(vault) = file("10-kubernetes-v2-transit.yml").config.keystore
    else {
        panic!("not Vault")
    };
    assert_eq!(vault.version, KvVersion::V2);
    assert_eq!((&*vault.engine, &*vault.namespace, &*vault.prefix), ("secret", "ns1", "tenant-1"));
    let transit = vault.transit.unwrap();
    assert_eq!((&*transit.engine, &*transit.key), ("transit", "my-key"));
    let Login::Kubernetes { engine, namespace, role, jwt } = vault.login else { panic!() };
    assert_eq!((&*engine, namespace.as_deref(), &*role), ("kubernetes", Some("admin"), "kes"));
    assert!(matches!(jwt, Jwt::Literal(token) if token.expose() == "eyJhbGciOiJIUzI1NiJ9.e30.x"));
    assert_eq!(vault.ping, Duration::from_secs(5));

    let durations = file("11-durations.yml").config.cache;
    assert_eq!(durations.any, Duration::from_secs(5400));
    assert_eq!(durations.unused, Duration::from_millis(300));

    let keys = file("12-predefined-keys.yml").config.keys;
    let keys: Vec<_> = keys.iter().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["minio-default", "tenant-1"]);
}

#[test]
fn a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| load(path, &env).unwrap_err().to_string();
    assert_eq!(load(Path::new("nope.yml")), "open nope.yml: no such file or directory");
    let text = load(folder.path());
    assert!(text.ends_with(": is a directory"), "{text}");

    let file = folder.path().join("c.yml");
    fs::write(&file, b"a: 1\nb: \xff\n").unwrap();
    assert!(load(&file).ends_with("c.yml:2: not UTF-8 text in this line"));

    let huge = File::create(&file).unwrap();
    huge.set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(load(&file).ends_with("c.yml: the file is larger than 16 MiB"));
}

// --- mistakes

#[test]
fn all_mistakes_are_reported_together() {
    let text = "version: v9
address: nowhere
tls:
  key: server.key
  auth: perhaps
policy:
  minio:
    allow: /v1/status
    identities: [\"${NOT_SET}\"]
  minio:
    allow: []
cache:
  expiry:
    any: 5
    unused: -1s
api:
  /v1/ready: {skip_auth: perhaps, timeout: soon}
log:
  error: loud
  format: xml
keys:
- name: a/b
- plain
keystore:
  vault:
    version: v3
";
    assert_eq!(
        refused(text).lines().collect::<Vec<_>>(),
        [
            "admin.identity: is required",
            "line 1: version: 'v9' is unknown, there is only v1",
            "line 2: address: 'nowhere': not an address; write it as 0.0.0.0:7373, [::1]:7373, \
             localhost:7373 or :7373",
            "line 3: tls.cert: is required",
            "line 5: tls.auth: 'perhaps' is neither on nor off",
            "line 8: policy.minio.allow: a list is expected, line 8 holds a text",
            "line 9: policy.minio.identities[0]: environment variable 'NOT_SET' is not set",
            "line 10: policy.minio: named twice, first in line 7",
            "line 14: cache.expiry.any: '5': a duration needs a unit; write it as 300ms, 1.5h or \
             5m0s",
            "line 15: cache.expiry.unused: '-1s': a duration must not be negative",
            "line 17: api./v1/ready.skip_auth: 'perhaps' is neither true nor false",
            "line 17: api./v1/ready.timeout: 'soon': not a duration; write it as 300ms, 1.5h or \
             5m0s",
            "line 19: log.error: 'loud': not a log level; there are on, off, debug, info, warn, \
             error, INFO+1 and numbers",
            "line 20: log.format: 'xml' is neither text nor json",
            "line 22: keys[0].name: key name 'a/b': it is empty, too long or contains invalid \
             characters",
            "line 23: keys[1]: a map is expected, line 23 holds a text",
            "line 25: keystore.vault.endpoint: is required",
            "line 25: keystore.vault: no login method; exactly one of approle and kubernetes is \
             required",
            "line 26: keystore.vault.version: 'v3' is unknown, there are v1 and v2",
        ]
    );
}

#[test]
fn wrong_types_name_the_line() {
    for (text, expected) in [
        ("policy: [a]", "line 5: policy: a map is expected, line 5 holds a list"),
        ("policy:\n  p: x", "line 6: policy.p: a map is expected, line 6 holds a text"),
        (
            "policy: {p: {allow: {a: b}}}",
            "line 5: policy.p.allow: a list is expected, line 5 holds a map",
        ),
        ("address: [a]", "line 5: address: a text is expected, line 5 holds a list"),
        ("keys: {fs: {path: x}}", "line 5: keys: a list is expected, line 5 holds a map"),
        ("log: on", "line 5: log: a map is expected, line 5 holds a text"),
    ] {
        assert_eq!(refused_with(text), expected);
    }
    assert_eq!(refused("[a]"), "line 1: a map is expected, line 1 holds a list");
    assert_eq!(refused("kes"), "line 1: a map is expected, line 1 holds a text");
}

#[test]
fn what_is_named_twice_is_refused_with_both_lines() {
    assert_eq!(
        refused_with("cache:\n  expiry: {any: 1s}\ncache: {}\n"),
        "line 7: cache: named twice, first in line 5"
    );
    assert_eq!(
        refused_with("keys:\n- name: k1\n- name: k2\n- name: k1\n"),
        "line 8: keys[2].name: key 'k1' is named in line 6 already"
    );
    assert_eq!(
        refused_with("api:\n  /v1/key/create: {}\n  /v1/key/create/: {}\n"),
        "line 7: api./v1/key/create/: named twice, first in line 6"
    );
    // A merged field is not one that is named.
    with("policy:\n  a: &a {allow: [/v1/status]}\n  b: {<<: *a, allow: [/v1/metrics]}\n");
}

#[test]
fn an_identity_has_one_role() {
    let two = format!(
        "policy:\n  a:\n    identities: [{ONES}]\n  b:\n    identities:\n    - {ONES}\n    - {ADMIN}\n"
    );
    assert_eq!(
        refused_with(&two),
        format!(
            "line 10: policy.b.identities[0]: identity '{ONES}' cannot be in policy 'b': it is in \
             policy 'a' already (line 7)\n\
             line 11: policy.b.identities[1]: identity '{ADMIN}' cannot be in policy 'b': it is \
             the admin already (line 1)"
        )
    );
    let upper = ADMIN.to_uppercase();
    assert!(refused_with(&format!("policy: {{a: {{identities: [{upper}]}}}}")).contains(&upper));

    let proxy = format!("policy:\n  a: {{identities: [{ONES}]}}\n");
    let head =
        HEAD.replace("server.crt}", &format!("server.crt, proxy: {{identities: [{ONES}]}}}}"));
    assert_eq!(
        refused(&(head + &proxy)),
        format!(
            "line 6: policy.a.identities[0]: identity '{ONES}' cannot be in policy 'a': it is a \
             TLS proxy already (line 2)"
        )
    );
    with(&format!("policy: {{a: {{identities: [{ONES}, {ONES}]}}}}"));
}

#[test]
fn one_admin_who_may_be_nobody() {
    let head = |admin: &str| HEAD.replace(ADMIN, admin);
    for nobody in ["disabled", "_", "'_'"] {
        let loaded = loaded(&head(nobody));
        assert_eq!((loaded.config.admin, loaded.warnings.len()), (None, 0), "{nobody}");
    }
    let short = loaded(&head(&ADMIN[1..]));
    assert_eq!(short.config.admin, None);
    assert_eq!(
        warnings(&short),
        ["line 1: admin.identity: no hash of 64 hexadecimal digits, so nobody is admin"]
    );
    for missing in ["''", "~", "'${EMPTY}'", ""] {
        assert_eq!(refused(&head(missing)), "line 1: admin.identity: is required", "{missing}");
    }
    let config = loaded(HEAD).config;
    let admin = config.admin.unwrap();
    assert!(config.policies.is_admin(&admin) && config.policies.decide(&admin, "/any").is_ok());
}

// --- variables

#[test]
fn variables_stand_for_whole_scalars() {
    let config = with(
        "address: '${ CONTRACT_ADDRESS }'
policy:
  a: {allow: [\"${MARKED}\"], identities: [\"${ONES}\"]}
api:
  /v1/ready: {skip_auth: \"${YES}\"}
log:
  error: ${EMPTY}
",
    )
    .config;
    assert_eq!(config.address.to_string(), "127.0.0.1:0");
    let policy = config.policies.policy("a").unwrap();
    assert_eq!(policy.allow().collect::<Vec<_>>(), ["marked-value"]);
    assert!(config.policies.policy_of(&ONES.parse().unwrap()).is_some());
    assert!(config.api.of(Operation::Ready).skip_auth);

    // No partial substitution, no default, and none in names of fields.
    let config = with("policy: {'${MARKED}': {allow: ['x${MARKED}', '${MARKED:-y}x']}}").config;
    let policy = config.policies.policies().next().unwrap();
    assert_eq!(policy.name(), "${MARKED}");
    assert_eq!(policy.allow().collect::<Vec<_>>(), ["x${MARKED}", "${MARKED:-y}x"]);
}

#[test]
fn a_variable_that_is_not_set_is_refused_with_its_line() {
    assert_eq!(
        refused_with("log:\n  error: on\n  audit: ${NOPE}\n"),
        "line 7: log.audit: environment variable 'NOPE' is not set"
    );
    // A field that is not read needs none.
    with("enclave: ${NOPE}\nunknown: {x: '${NOPE}'}\n");
}

#[test]
fn values_of_variables_stay_out_of_messages() {
    let text = "version: ${MARKED}
address: ${MARKED}
tls:
  key: k
  cert: c
  auth: ${MARKED}
  proxy: {header: {cert: \"${MARKED} \"}, identities: [\"${MARKED}\"]}
admin: {identity: disabled}
policy:
  a: {allow: [\"${MARKED}\"], identities: [\"${MARKED}\", \"${ONES}\"]}
  b: {identities: [\"${ONES}\"]}
cache: {expiry: {any: \"${MARKED}\", unused: \"${MARKED}\", offline: \"${MARKED}\"}}
api: {/v1/ready: {skip_auth: \"${MARKED}\", timeout: \"${MARKED}\"}}
log: {error: \"${MARKED}\", audit: \"${MARKED}\", format: \"${MARKED}\"}
keys: [{name: \"${MARKED}\"}, {name: \"${MARKED}\"}]
keystore:
  vault:
    endpoint: ${MARKED}
    version: ${MARKED}
    approle: {id: \"${MARKED}\", secret: \"${MARKED}\", secret_file: \"${MARKED}\"}
";
    let errors = refused(text);
    assert!(!errors.contains("marked") && !errors.contains(ONES), "{errors}");
    assert_eq!(errors.lines().count(), 17, "{errors}");

    let policy = with("policy:\n  a: {allow: [\"${MARKED}\"], deny: [\"${MARKED}\"]}\n");
    let warnings = warnings(&policy);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("${MARKED}") && !warnings.concat().contains("marked"));
}

// --- warnings

#[test]
fn unknown_fields_are_warned_of_once_with_line_and_path() {
    let loaded = with(
        "addres: ':1'
policy:
  minio:
    alow: [/v1/status]
    Identities: []
    whatever: {a: {b: c}}
cache:
  expiry: {unusd: 1s, xyz: 1}
api:
  /v1/redy: {skip_auth: true}
  /v1/status/: {skip_auth: true}
  /v1/ready: {skip-auth: true}
",
    );
    assert_eq!(
        warnings(&loaded),
        [
            "line 5: addres: unknown field, ignored; is 'address' meant?",
            "line 8: policy.minio.alow: unknown field, ignored; is 'allow' meant?",
            "line 9: policy.minio.Identities: unknown field, ignored; is 'identities' meant?",
            "line 10: policy.minio.whatever: unknown field, ignored",
            "line 12: cache.expiry.unusd: unknown field, ignored; is 'unused' meant?",
            "line 12: cache.expiry.xyz: unknown field, ignored",
            "line 14: api./v1/redy: no API has this path, ignored",
            "line 15: api./v1/status/: no API has this path, ignored",
            "line 16: api./v1/ready.skip-auth: unknown field, ignored; is 'skip_auth' meant?",
        ]
    );
    assert!(!loaded.config.api.any_skips_auth());
}

#[test]
fn odd_policies_are_warned_of() {
    let loaded = with(
        "policy:
  minio:
    allow:
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/*/name
    deny:
    - /v1/key/*/internal
    -
    identities: [nobody, '']
  my.policy: {}
",
    );
    let warnings = warnings(&loaded);
    let starts = [
        "line 6: policy.minio: allows generate and decrypt but not '/v1/key/describe/*'",
        "line 10: policy.minio.allow[2]: '/v1/key/*/name' allows next to nothing",
        "line 12: policy.minio.deny[0]: a '*' inside '/v1/key/*/internal' denies within",
        "line 13: policy.minio.deny[1]: '' matches no request",
        "line 14: policy.minio.identities[0]: no hash of 64 hexadecimal digits, so it matches",
        "line 14: policy.minio.identities[1]: empty, so it matches nobody",
        "line 15: policy.my.policy: no name that the API takes",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    assert!(loaded.config.policies.policy("my.policy").is_some());
}

// --- sections

#[test]
fn tls_in_full() {
    let head = HEAD.replace(
        "{key: server.key, cert: server.crt}",
        &format!(
            "{{key: /k, cert: /c, password: pw, auth: ON, ca: /ca, proxy: {{identities: [{ONES}], \
             header: {{cert: X-Client}}}}}}"
        ),
    );
    let Loaded { config: Config { tls, .. }, warnings: odd } = loaded(&head);
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert!(odd[0].to_string().starts_with("line 2: tls.proxy.identities: not supported: "));
    assert_eq!(tls.password.unwrap().expose(), "pw");
    assert_eq!((tls.auth, tls.ca.as_deref()), (ClientAuth::Verify, Some(Path::new("/ca"))));
    let ca = tls.ca.unwrap();
    assert_eq!(ca.blame("/ca: is empty"), "line 2: tls.ca: /ca: is empty");
    assert_eq!(tls.proxy.identities, [ONES.parse().unwrap()]);
    assert_eq!(tls.proxy.cert_header, "X-Client");

    let off = loaded(&HEAD.replace("cert: server.crt", "cert: c, auth: off, ca: '', password: ''"));
    assert_eq!(off.config.tls.auth, ClientAuth::Any);
    assert!(off.config.tls.ca.is_none() && off.config.tls.password.is_none());

    let bad = HEAD.replace("cert: server.crt", "cert: c, proxy: {header: {cert: 'X Client'}}");
    assert!(refused(&bad).starts_with("line 2: tls.proxy.header.cert: 'X Client' is no name"));
}

#[test]
fn api_paths_with_and_without_the_last_slash() {
    let api = with(
        "api:\n  /v1/key/create: {timeout: 3s}\n  /v1/key/delete/: {timeout: 4s}\n  \
         /v1/log/audit: {timeout: 0s}\n",
    )
    .config
    .api;
    assert_eq!(api.of(Operation::CreateKey).timeout, Some(Duration::from_secs(3)));
    assert_eq!(api.of(Operation::DeleteKey).timeout, Some(Duration::from_secs(4)));
    assert_eq!(api.of(Operation::AuditLog).timeout, None);
}

#[test]
fn log_formats_and_zero_durations() {
    assert_eq!(with("log: {format: JSON, audit: 4}").config.log.format, LogFormat::Json);
    assert_eq!(with("log: {format: text}").config.log.format, LogFormat::Text);

    let zero = with("cache: {expiry: {any: 0s, unused: 0ms, offline: 0s}}");
    assert_eq!(zero.config.cache, Cache::default());
    assert_eq!(
        warnings(&zero),
        [
            "line 5: cache.expiry.any: 0 stands for the default, 300s",
            "line 5: cache.expiry.unused: 0 stands for the default, 30s",
        ]
    );
}

#[test]
fn vault_defaults() {
    let vault = vault(LOGIN);
    assert_eq!(vault.endpoints.len(), 1);
    assert_eq!(vault.endpoints[0].as_str(), "https://127.0.0.1:8200/");
    assert_eq!((&*vault.engine, vault.version), ("kv", KvVersion::V1));
    assert_eq!((&*vault.namespace, &*vault.prefix), ("", ""));
    assert!(vault.transit.is_none() && vault.tls.client.is_none() && vault.tls.ca.is_none());
    assert_eq!(vault.ping, Duration::from_secs(15));
    let Login::AppRole { engine, namespace, id, secret } = vault.login else { panic!() };
    assert_eq!((&*engine, namespace, &*id), ("approle", None, "a"));
    assert!(matches!(secret, AppRoleSecret::Literal(secret) if secret.expose() == "b"));
}

#[test]
fn vault_in_full() {
    let vault = vault(
        "    endpoint: ' https://a:8200, http://b:8200/base/ ,'
    engine: /my/kv/
    version: v2
    namespace: /ns/
    prefix: /a/b/
    transit: {engine: /t/, key: k}
    approle: {engine: /ar/, namespace: /, id: i, secret_file: /run/secret}
    tls: {key: /k, cert: /c, ca: /ca}
    status: {ping: 3s}
",
    );
    let endpoints: Vec<_> = vault.endpoints.iter().map(|url| url.as_str()).collect();
    assert_eq!(endpoints, ["https://a:8200/", "http://b:8200/base/"]);
    assert_eq!((&*vault.engine, &*vault.namespace, &*vault.prefix), ("my/kv", "ns", "a/b"));
    assert_eq!(vault.transit.unwrap().engine, "t");
    let Login::AppRole { engine, namespace, secret, .. } = vault.login else { panic!() };
    assert_eq!((&*engine, namespace.as_deref()), ("ar", Some("")));
    assert!(matches!(secret, AppRoleSecret::File(file) if &*file == Path::new("/run/secret")));
    let (key, cert) = vault.tls.client.unwrap();
    assert_eq!((&*key, &*cert), (Path::new("/k"), Path::new("/c")));
    assert_eq!(vault.tls.ca.as_deref(), Some(Path::new("/ca")));
    assert_eq!(vault.ping, Duration::from_secs(3));
}

#[test]
fn a_kubernetes_token_with_a_slash_is_a_file() {
    let vault = vault(
        "    endpoint: https://v
    approle: {id: '', secret: ''}
    kubernetes: {role: r, jwt: /var/run/secrets/token, retry: 1s}
",
    );
    let Login::Kubernetes { jwt, namespace, .. } = vault.login else { panic!() };
    assert!(matches!(jwt, Jwt::File(file) if &*file == Path::new("/var/run/secrets/token")));
    assert_eq!(namespace, None);
}

#[test]
fn what_vault_needs() {
    for (fields, expected) in [
        ("    approle: {id: a, secret: b}\n", "line 4: keystore.vault.endpoint: is required"),
        (
            "    endpoint: vault:8200\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: not a URL that begins with https:// or http://",
        ),
        (
            "    endpoint: ','\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: is required",
        ),
        (
            "    endpoint: https://u:p@v\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: user and password in the URL would not be used",
        ),
        (
            "    endpoint: https://v\n",
            "line 4: keystore.vault: no login method; exactly one of approle and kubernetes is \
             required",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a}\n    kubernetes: {role: r}\n",
            "line 4: keystore.vault: more than one login method: approle (line 6) and kubernetes \
             (line 7)",
        ),
        (
            "    endpoint: https://v\n    approle: {secret: a}\n",
            "line 6: keystore.vault.approle.id: is required",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a}\n",
            "line 6: keystore.vault.approle.secret: is required, or secret_file instead",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a, secret: b, secret_file: c}\n",
            "line 6: keystore.vault.approle.secret_file: only one of secret and secret_file is \
             taken",
        ),
        (
            "    endpoint: https://v\n    kubernetes: {role: '', jwt: ''}\n",
            "line 6: keystore.vault.kubernetes.role: is required\n\
             line 6: keystore.vault.kubernetes.jwt: is required",
        ),
    ] {
        assert_eq!(refused(&vault_file(fields)), expected);
    }
    for (field, expected) in [
        ("tls: {key: k}", "line 7: keystore.vault.tls.cert: is required where a key is"),
        ("tls: {cert: k}", "line 7: keystore.vault.tls.key: is required where a cert is"),
        ("transit: {engine: t}", "line 7: keystore.vault.transit.key: is required"),
    ] {
        assert_eq!(refused(&vault_file(&format!("{LOGIN}    {field}\n"))), expected);
    }
}

#[test]
fn one_key_store() {
    let file = |stores: &str| HEAD.replace("{fs: {path: keys}}", stores);
    assert_eq!(refused(&file("")), "line 3: keystore: no key store; fs and vault are supported");
    assert_eq!(refused(&file("{fs: {}}")), "line 3: keystore.fs.path: is required");
    loaded(&file("{fs: {path: keys}, vault: , aws: , gcp: {secretmanager: }}"));
    for (group, member) in [
        ("fortanix", "sdkms"),
        ("gemalto", "keysecure"),
        ("gcp", "secretmanager"),
        ("aws", "secretsmanager"),
        ("azure", "keyvault"),
        ("entrust", "keycontrol"),
    ] {
        assert_eq!(
            refused(&file(&format!("{{{group}: {{{member}: {{x: y}}}}}}"))),
            format!(
                "line 3: keystore.{group}.{member}: key store {group}.{member} is not supported; \
                 fs and vault are"
            )
        );
    }
    let text = refused(&file("\n  fs: {path: x}\n  aws:\n    secretsmanager: {x: y}"));
    assert!(text.contains("more than one key store: fs (line 4), aws.secretsmanager (line 6)"));
}

// --- secrets

#[test]
fn secrets_show_up_nowhere() {
    let good = vault_file(
        "    endpoint: https://v
    approle: {id: marked-id, secret: marked-secret}
",
    )
    .replace("cert: server.crt", "cert: c, password: marked-password");
    let config = loaded(&good);
    let debug = format!("{config:?} {config:#?}");
    assert!(!debug.contains("marked-secret") && !debug.contains("marked-password"), "{debug}");

    let kubernetes =
        vault_file("    endpoint: https://v\n    kubernetes: {role: r, jwt: marked-token}\n");
    assert!(!format!("{:?}", loaded(&kubernetes)).contains("marked"));

    for bad in [
        // Mistakes in the lines of secrets, and in those around them.
        "    endpoint: https://marked:marked@v\n    approle: {id: '', secret: marked}\n",
        "    endpoint: marked\n    approle: {id: a, secret: [marked]}\n",
        "    endpoint: https://v\n    approle: secret:marked\n",
        "    endpoint: https://v\n    approle: [marked, marked]\n",
        "    endpoint: https://v\n    approle: {id: a, secret: marked, secret_file: marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret:marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret=marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret: {marked: marked}}\n",
        "    endpoint: https://v\n    approle: {id: a, secret: marked, secret: marked}\n",
        "    endpoint: https://v\n    approle:\n      id: a\n      secret: \"marked\n",
        "    endpoint: https://v\n    approle:\n      secret: 'marked' marked\n",
        "    endpoint: https://v\n    approle:\n      secret: marked: marked\n",
        "    endpoint: https://v\n    approle:\n      secret: @marked\n",
        "    endpoint: https://v\n    approle:\n      secret: *marked\n",
        "    endpoint: https://v\n    approle:\n      secret: !marked!x marked\n",
        "    endpoint: https://v\n    approle:\n      secret: \"\\q marked\"\n",
        "    endpoint: https://v\n    approle:\n     secret: marked\n    secret: marked\n  x\n",
    ] {
        let text = refused(&vault_file(bad));
        assert!(!text.contains("marked"), "{text}");
    }
    // Without a blank after the colon it is the name of a field.
    let field =
        "    endpoint: https://v\n    approle: {id: a, secret: b, secret:marked, x=marked}\n";
    assert_eq!(
        warnings(&loaded(&vault_file(field))),
        [
            "line 6: keystore.vault.approle.secret…: unknown field, ignored",
            "line 6: keystore.vault.approle.x…: unknown field, ignored",
        ]
    );
    let key = HEAD.replace("server.crt}", "server.crt, password: [marked]}");
    assert_eq!(refused(&key), "line 2: tls.password: a text is expected, line 2 holds a list");
}

// --- size, and any text

#[test]
fn a_thousand_policies_with_ten_thousand_identities() {
    let mut lines: Vec<_> = (0..1_000_u32)
        .map(|policy| {
            let identities: Vec<_> = (0..10_u32)
                .map(|n| Identity::of_public_key(&(policy * 10 + n).to_be_bytes()).to_string())
                .collect();
            format!(
                "  p{policy}: {{allow: [/v1/key/describe/{policy}-*], identities: [{}]}}\n",
                identities.join(", ")
            )
        })
        .collect();
    // Any order will do.
    lines.sort_by_key(|line| {
        line.bytes()
            .map(u64::from)
            .fold(7, |hash: u64, byte| hash.wrapping_mul(1_099_511_628_211) ^ byte)
    });
    let config = with(&format!("policy:\n{}", lines.concat())).config;
    assert_eq!(config.policies.policies().len(), 1_000);
    assert_eq!(config.policies.identities().len(), 10_001);
    let last = Identity::of_public_key(&9_999_u32.to_be_bytes());
    assert_eq!(config.policies.policy_of(&last).unwrap().name(), "p999");
    assert!(config.policies.decide(&last, "/v1/key/describe/999-k").is_ok());
    assert!(config.policies.decide(&last, "/v1/key/describe/99-k").is_err());
}

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused(text: String) {
        let _ = parse(&text, &env);
    }

    /// Files of the contract with pieces cut out, doubled or put elsewhere.
    #[test]
    fn damaged_files_are_loaded_or_refused(
        file in 0_usize..13,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..30, "\\PC{0,3}"), 1..4),
    ) {
        let mut text = fs::read_to_string(&testdata("accept")[file]).unwrap();
        for (index, length, new) in cuts {
            let start = text.floor_char_boundary(index.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &new);
        }
        match parse(&text, &env) {
            Ok(_) => {}
            Err(errors) => prop_assert!(!errors.mistakes().is_empty()),
        }
    }
}
