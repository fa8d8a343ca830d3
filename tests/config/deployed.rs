//! Files as they are deployed: by the book, by the operator, by Helm and compose, by hand, and by
//! people who make mistakes. They stand in `tests/data/deployed`, each with a file `.expect`
//! beside it that says what must happen:
//!
//! - `refused`, and then all that the program says;
//! - `accepted`, what the file means, and then each warning.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use kes_config::{Config, Loaded};
use kes_testkit::Process;

use crate::harness;

/// The environment of all files.
const VARIABLES: [(&str, &str); 10] = [
    ("KES_ADMIN", "4444444444444444444444444444444444444444444444444444444444444444"),
    ("MINIO_KES_IDENTITY", "5555555555555555555555555555555555555555555555555555555555555555"),
    ("VAULT_ROLE_ID", "role-marked"),
    ("VAULT_SECRET_ID", "secret-marked"),
    ("VAULT_HOST", "marked.example.com"),
    ("KEY_PASSWORD", "password-marked"),
    ("AWS_ACCESS_KEY_ID", "access-marked"),
    ("AWS_SECRET_ACCESS_KEY", "key-marked"),
    ("TRUE", "true"),
    ("EMPTY", ""),
];

struct Deployed {
    name: String,
    file: PathBuf,
    expected: String,
}

/// All files with what is expected of them.
fn deployed() -> Vec<Deployed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/deployed");
    let mut files: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (expectations, files): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.extension().is_some_and(|extension| extension == "expect"));
    assert!(files.len() >= 30, "only {} files", files.len());
    for expectation in expectations {
        assert!(files.contains(&expectation.with_extension("yml")), "{expectation:?} of no file");
    }
    let deployed = files.into_iter().map(|file| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = std::fs::read_to_string(file.with_extension("expect"))
            .unwrap_or_else(|error| panic!("{name} has no expectation: {error}"));
        Deployed { name, file, expected }
    });
    deployed.collect()
}

fn env(name: &str) -> Option<String> {
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn every_deployed_file_means_what_is_expected() {
    let mut wrong = String::new();
    for Deployed { name, file, expected } in deployed() {
        let found = match kes_config::load(&file, &env) {
            Ok(loaded) => format!("accepted\n{}", meaning(&loaded)),
            Err(errors) => format!("refused\n{errors}\n"),
        };
        let found = found.replace(&*file.to_string_lossy(), "config.yml");
        if found != expected {
            let _ = writeln!(wrong, "--- {name}: expected\n{expected}--- found\n{found}");
        }
        assert!(!found.contains("marked"), "{name} tells the value of a variable: {found}");
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What an operator would look at to see that a file was understood, and its warnings.
fn meaning(Loaded { config, warnings }: &Loaded) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").unwrap();
    let Config {
        address,
        proxy_protocol,
        operations,
        admin,
        tls,
        policies,
        cache,
        snapshot,
        api,
        log,
        traces,
        keys,
        pins,
        keystore,
        migration,
        variables: _, // no field
    } = config;
    let has_none = operations.is_none() && proxy_protocol.is_empty() && pins.is_empty();
    let has_none = has_none && snapshot.is_none() && traces.is_none() && migration.is_none();
    assert!(has_none, "files of the reference have no such sections");
    line(format_args!("address {address}"));
    match admin {
        Some(admin) => line(format_args!("admin {admin}")),
        None => line(format_args!("admin nobody")),
    }
    line(format_args!("tls {} {} {:?}", tls.key.display(), tls.cert.display(), tls.auth));
    for policy in policies.policies() {
        let is_its = |identity: &&kes_api::Identity| {
            policies.policy_of(identity).is_some_and(|own| own.name() == policy.name())
        };
        line(format_args!(
            "policy {}: {} to allow, {} to deny, identities: {}",
            policy.name(),
            policy.allow().len(),
            policy.deny().len(),
            policies.identities().filter(is_its).count()
        ));
    }
    if *cache != kes_config::Cache::default() {
        line(format_args!("cache {:?} {:?} {:?}", cache.any, cache.unused, cache.offline));
    }
    for route in kes_api::route::ROUTES {
        let changed = api.of(route.operation);
        if changed != kes_config::ApiOverride::default() {
            let (skip_auth, timeout) = (changed.skip_auth, changed.timeout);
            line(format_args!("api {} {skip_auth} {timeout:?}", route.path));
        }
    }
    let kes_config::Log { error, audit, format, audit_required, audit_file } = log;
    assert!(!audit_required && audit_file.is_none(), "they have no such fields either");
    let default = kes_config::Log::default();
    if (*error, *audit, *format) != (default.error, default.audit, default.format) {
        line(format_args!("log {error} {audit} {format:?}"));
    }
    for key in keys {
        line(format_args!("key {}", key.name()));
    }
    line(format_args!("keystore {}", keystore.location()));
    for warning in warnings {
        line(format_args!("warning: {}", warning.in_file(Path::new("config.yml"))));
    }
    text
}

/// The certificates that the files name are not there. A server that comes to miss them has taken
/// the file; it opens no key store and no port before.
#[test]
fn the_program_says_of_every_deployed_file_what_is_expected() {
    for Deployed { name, file, expected } in deployed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(&file, folder.path().join("config.yml")).unwrap();
        // The variables of its deployment: others of Vault's would be warned of.
        let text = std::fs::read_to_string(&file).unwrap();
        let is_a_value = |name: &str| {
            [" ", "\"", "'"].iter().any(|before| text.contains(&format!("{before}${{{name}}}")))
        };
        let variables = VARIABLES
            .into_iter()
            .filter(|(name, _)| !name.starts_with("VAULT_") || is_a_value(name));
        let mut command = Process::command(&harness::program());
        let Output { status, stdout, stderr } = command
            .args(["server", "--config", "config.yml"])
            .envs(variables)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.as_slice()), (Some(1), &b""[..]), "{name}: {stderr}");
        let (logged, error) = stderr
            .split_once("Error: ")
            .unwrap_or_else(|| panic!("{name} is refused without an error: {stderr}"));
        if let Some(told) = expected.strip_prefix("refused\n") {
            assert_eq!((logged, error), ("", told), "{name}");
        } else {
            assert!(error.contains(": tls.cert: "), "{name} is not accepted: {stderr}");
            let expected: Vec<_> =
                expected.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
            let logged: Vec<_> = logged.lines().map(message).collect();
            assert_eq!(logged, expected, "{name}");
        }
    }
}

/// The message of a line of the log.
fn message(line: &str) -> String {
    assert!(line.contains(" level=WARN "), "{line}");
    let (_, message) = line.split_once(" msg=").unwrap();
    match message.strip_prefix('"').and_then(|message| message.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => message.to_owned(),
    }
}
