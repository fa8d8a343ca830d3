/// What is refused, and how it is told.
mod mistakes;

/// `${NAME}`
mod variables;

/// What is odd and accepted.
mod warnings;

/// Single sections.
mod sections;

/// `operations`
mod operations;

/// A key store without the rest of a configuration.
mod alone;

/// Policies without the rest of a configuration, and where they stand.
mod policies;

/// Tables of expectations.
mod expectations;

/// `migration`
mod migration;

/// `proxy_protocol`
mod proxy_protocol;

/// `traces`
mod traces;

/// What is open to people who were hardly meant.
mod exposure;

/// Secrets show up in no message.
mod secrets;

/// The reference for operators.
mod reference;

/// In what one file differs from another.
mod settings;

/// Size, and any text.
mod robustness;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kes_api::Identity;
use kes_api::route::{Operation, Route};
use kes_keystore::config::{AppRoleSecret, Jwt, KvVersion, Login, Vault};
use kes_policy::Policies;
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
        "DOLLAR" => Some("a${B}".to_owned()),
        "BLANK" => Some("/v1/status\n".to_owned()),
        "HTTP" => Some("http://vault".to_owned()),
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

/// The mistakes of a file.
fn refused(text: &str) -> String {
    mistakes(&refused_whole(text))
}

/// The mistakes of a file, and the warnings beside them.
fn refused_whole(text: &str) -> String {
    match parse(text, &env) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors.to_string(),
    }
}

/// Whether an identity may send a request to a path.
fn allows(policies: &Policies, identity: &Identity, path: &str) -> bool {
    let (route, _) = Route::find(path).unwrap();
    policies.permit(Some(identity), route.operation, path).is_ok()
}

fn mistakes(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("warning: ")).collect();
    lines.join("\n")
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
    let expected: [(&str, &str); 25] = include!("../testdata/refused.rs");
    let files = testdata("refuse");
    assert_eq!(files.len(), expected.len());
    for (file, (name, message)) in files.iter().zip(expected) {
        assert_eq!(file.file_stem().unwrap(), name);
        let text = load(file, &env).unwrap_err().to_string();
        // The message alone: the name of the file must not be what holds the word.
        let text = text.replace(&*file.to_string_lossy(), "config.yml");
        assert!(text.contains(message), "{name}: {text}");
        assert_eq!(mistakes(&text).lines().count(), 1, "{name}: {text}");
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
    assert_eq!(*config.address, Address::default());
    assert_eq!(config.admin, Some(ADMIN.parse().unwrap()));
    assert_eq!(&*config.tls.key, Path::new("server.key"));
    assert_eq!(&*config.tls.cert, Path::new("server.crt"));
    assert_eq!(config.tls.auth, ClientAuth::Any);
    assert!(config.tls.password.is_none() && config.tls.ca.is_none());
    assert_eq!(config.tls.proxy.cert_header, "X-Tls-Client-Cert");
    assert_eq!(config.cache.any, Duration::from_secs(300));
    assert_eq!(config.cache.unused, Duration::from_secs(30));
    assert_eq!(config.cache.offline, Duration::ZERO);
    let Log { error, audit, format, audit_required, audit_file } = config.log;
    assert_eq!((error, audit, format), (Level::INFO, Level::INFO, LogFormat::Text));
    assert!(!audit_required && audit_file.is_none());
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
        "line 36: keystore.vault.approle.retry: not needed, ignored; a failed login is \
         repeated by itself"
    );

    let operator = file("03-operator-style.yml").config;
    assert_eq!((operator.address.host(), operator.address.port()), ("", 7373));
    assert_eq!(operator.admin, None);
    assert_eq!(operator.cache.unused, Duration::from_secs(20));
    assert_eq!((operator.log.error, operator.log.audit), (Level::INFO, Level::OFF));
    let minio: Identity = ONES.parse().unwrap();
    assert!(allows(&operator.policies, &minio, "/v1/key/bulk/decrypt/k"));
    assert!(!allows(&operator.policies, &minio, "/v1/metrics"));

    let merged = file("04-merge-keys.yml").config;
    assert!(allows(&merged.policies, &minio, "/v1/key/decrypt/k"));
    assert!(!allows(&merged.policies, &minio, "/v1/key/decrypt/internal-k"));

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
            "line 7: enclave: retired field, ignored; there are no longer any enclaves",
            "line 8: root: retired field, ignored; use 'admin.identity' instead",
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
    let keys: Vec<_> = keys.iter().map(|key| key.name().as_str()).collect();
    assert_eq!(keys, ["minio-default", "tenant-1"]);
}

/// The server lets requests run in the pauses.
#[test]
fn a_large_file_is_read_in_short_steps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yml");
    let mut text = format!("{HEAD}policy:\n");
    for policy in 0..1_000 {
        text += &format!("  p{policy}:\n    allow: [/v1/status, /v1/metrics, '/v1/key/list/*']\n");
    }
    fs::write(&file, text).unwrap();
    let pauses = std::cell::Cell::new(0);
    load_in_steps(&file, &env, &|| pauses.set(pauses.get() + 1)).unwrap();
    // Nine events for each policy, 64 in a step; then each policy is a step.
    let expected = 9_000 / 64 + 1_000;
    assert!((expected..2 * expected).contains(&pauses.get()), "{} pauses", pauses.get());
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
