//! `kes policy preset`: the policies that applications need.

use std::fmt::Write as _;

use anyhow::Result;
use kes_api::{Identity, PolicyName};

use super::suggest::prefix_of;
use crate::args::PresetArgs;
use crate::error::usage;
use crate::output::Output;

const COMMAND: &str = "kes policy preset";

/// What `MinIO` asks for, and why. A path that ends in `/` is followed by names of keys.
const MINIO: [(&str, &str); 8] = [
    (
        "/v1/key/create/",
        "makes its default key at its first start, and keys for 'mc admin kms key create'",
    ),
    ("/v1/key/generate/", "a data key for each object that it encrypts"),
    ("/v1/key/decrypt/", "the data key of each object that it reads"),
    ("/v1/key/bulk/decrypt/", "the same for a listing; only before 2023-11"),
    (
        "/v1/key/describe/",
        "its default key every 10 s, which keeps it cached while the key store is away; it ignores a refusal",
    ),
    (LIST, "'mc admin kms key list', which asks for all names"),
    ("/v1/status", "whether the server is up, also for 'mc admin kms key status'"),
    ("/v1/metrics", "its own metrics of the server"),
];

const LIST: &str = "/v1/key/list/";

/// What is said of listings in a policy for some keys.
const LIST_OF_SOME: &str =
    "'kes key ls' with this beginning; 'mc admin kms key list' asks for all names, and is refused";

/// What only some installations need.
const OPTIONAL: [(&str, &str); 3] = [
    ("/v1/key/hmac/", "if MinIO is to derive its root credentials from its default key"),
    ("/v1/log/audit", "if people follow the audit log as MinIO, with 'kes log'"),
    ("/v1/log/error", "the same for the error log"),
];

pub(super) fn run(args: PresetArgs) -> Result<()> {
    match args.application.as_deref() {
        Some("minio") => {}
        None | Some("") => return Err(usage("no application specified: minio", COMMAND)),
        Some(other) => {
            return Err(usage(format!("there is no preset {other:?}, only minio"), COMMAND));
        }
    }
    let name = args.name.filter(|name| !name.is_empty()).unwrap_or_else(|| "minio".to_owned());
    if PolicyName::parse(&name).is_err() {
        return Err(usage(format!("{name:?} is no name of a policy"), COMMAND));
    }
    let key = match args.key.filter(|key| !key.is_empty()) {
        Some(key) => prefix_of(&key, COMMAND)?,
        None => String::new(),
    };
    let mut identities = Vec::new();
    for text in args.identity.iter().filter(|text| !text.is_empty()) {
        // It is not shown: it may be an API key.
        let identity: Identity = text.parse().map_err(|_| {
            usage("an identity has 64 hex digits; 'kes identity of' prints it", COMMAND)
        })?;
        identities.push(identity);
    }
    Output::new().print(&minio(&name, &key, &identities))
}

/// The policy of `MinIO`, as YAML.
fn minio(name: &str, key: &str, identities: &[Identity]) -> String {
    let pattern = |path: &str| match path.ends_with('/') {
        true => format!("{path}{key}*"),
        false => path.to_owned(),
    };
    let width = MINIO.iter().map(|(path, _)| pattern(path).len()).max().unwrap_or_default();
    let mut text = format!("# What MinIO asks for.\npolicy:\n  {name}:\n    allow:\n");
    for (path, reason) in MINIO {
        let reason = if path == LIST && !key.is_empty() { LIST_OF_SOME } else { reason };
        let _ = writeln!(text, "    - {:width$}  # {reason}", pattern(path));
    }
    for (path, reason) in OPTIONAL {
        let _ = writeln!(text, "    #- {:width$} # {reason}", pattern(path));
    }
    text.push_str("    identities:\n");
    for identity in identities {
        let _ = writeln!(text, "    - {identity}");
    }
    if identities.is_empty() {
        text.push_str(
            "    #- <what 'kes identity of' prints for MinIO's certificate or API key>\n",
        );
    }
    text
}
