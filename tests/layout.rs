//! How the repository is built up: which crate may use which, where what is dangerous stands,
//! how dependencies are written down, and rules that a reader counts on. Where dependencies come from,
//! and their licences, are checked by `cargo-deny` after `deny.toml`.
//!
//! Words that must not stand in a file are put together here from pieces, so that this file
//! passes as well.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize;

/// Modules that use each other.
mod circles;

/// The bill of materials.
mod sbom;

/// Which crates of ours a crate may use.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("kes-api", &[]),
    ("kes-audit", &["kes-api"]),
    ("kes-crypto", &[]),
    ("kes-tls", &[]),
    ("kes-testkit", &[]),
    ("kes-policy", &["kes-api"]),
    ("kes-keystore", &["kes-api", "kes-crypto", "kes-tls"]),
    ("kes-config", &["kes-api", "kes-keystore", "kes-policy"]),
    ("kes-keys", &["kes-api", "kes-crypto", "kes-keystore", "kes-policy"]),
    ("kes-backup", &["kes-api", "kes-crypto", "kes-keystore"]),
    ("kes-migrate", &["kes-api", "kes-keystore"]),
    ("kes-client", &["kes-api", "kes-tls"]),
    ("kes-shadow", &["kes-api", "kes-client", "kes-server"]),
    (
        "kes-server",
        &[
            "kes-api",
            "kes-audit",
            "kes-config",
            "kes-keys",
            "kes-keystore",
            "kes-policy",
            "kes-tls",
        ],
    ),
    (
        "kes-fuzz",
        &[
            "kes-api",
            "kes-audit",
            "kes-backup",
            "kes-client",
            "kes-config",
            "kes-crypto",
            "kes-keystore",
            "kes-policy",
            "kes-server",
            "kes-tls",
        ],
    ),
    (
        "kes",
        &[
            "kes-api",
            "kes-audit",
            "kes-backup",
            "kes-client",
            "kes-config",
            "kes-crypto",
            "kes-keystore",
            "kes-migrate",
            "kes-policy",
            "kes-server",
            "kes-shadow",
            "kes-tls",
        ],
    ),
];

/// Crates that one place alone may know.
const ONLY_IN: [(&str, &[&str]); 8] = [
    ("aes-gcm", &["kes-crypto", "kes-fuzz"]),
    ("chacha20", &["kes-crypto", "kes-fuzz"]),
    ("chacha20poly1305", &["kes-crypto", "kes-fuzz"]),
    ("clap", &["kes"]),
    ("granit-parser", &["kes-config"]),
    ("hmac", &["kes-crypto", "kes-fuzz"]),
    ("prometheus", &["kes-server"]),
    ("vaultrs", &["kes-keystore"]),
];

/// A file longer than this is too long for a reader, its tests not counted...
const LONG: usize = 400;

/// ... and one longer than this for anybody.
const TOO_LONG: usize = 500;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: HashSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    source: Option<String>,
    dependencies: Vec<Dependency>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    kind: Option<String>,
    source: Option<String>,
}

/// What cargo says of the workspace, and of all that is built of it on this system. What others
/// would want as well was not fetched where nothing but this was ever built.
static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let version = String::from_utf8(cargo(&["version", "--verbose"])).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = cargo(&["metadata", "--format-version", "1", "--filter-platform", host]);
    serde_json::from_slice(&metadata).unwrap()
});

/// What a command of cargo prints; nothing is fetched or changed.
fn cargo(args: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.args(args).args(["--locked", "--offline"]).current_dir(root());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

impl Metadata {
    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn crates_use_only_what_stands_below_them() {
    let members: BTreeSet<&str> = METADATA.members().map(|member| &*member.name).collect();
    assert_eq!(members, MAY_USE.map(|(name, _)| name).into(), "a crate without a place");
    for member in METADATA.members() {
        let (_, allowed) = MAY_USE.iter().find(|(name, _)| *name == member.name).unwrap();
        for dependency in &member.dependencies {
            let name = &*dependency.name;
            let is_dev = dependency.kind.as_deref() == Some("dev");
            if members.contains(name) && !is_dev {
                assert!(allowed.contains(&name), "{} must not use {name}", member.name);
            }
            assert!(name != "kes-testkit" || is_dev, "{}: a test kit for use", member.name);
            if let Some((_, places)) = ONLY_IN.iter().find(|(only, _)| *only == name)
                && !is_dev
            {
                assert!(places.contains(&&*member.name), "{} must not use {name}", member.name);
            }
        }
    }
}

#[test]
fn what_a_crate_may_not_use_stands_in_none_of_its_files() {
    for (crate_name, places) in ONLY_IN {
        let import = crate_name.replace('-', "_");
        for member in METADATA.members().filter(|member| !places.contains(&&*member.name)) {
            for file in files(&source_folder(member), &["rs"]) {
                let text = std::fs::read_to_string(&file).unwrap();
                let used = text.contains(&format!("{import}::"))
                    || text.contains(&format!("use {import};"));
                assert!(!used, "{} uses {import}", file.display());
            }
        }
    }
}

/// Permits come from policies alone. Who makes policies, or says what is exempt from them, could
/// permit anything, so that only what reads the configuration does.
#[test]
fn policies_are_made_where_the_configuration_is_read() {
    let authority = ["Policies::new(", "Policies::of_admin(", ".exempting(", ".with_startup_keys("];
    let mut users = BTreeSet::new();
    for member in METADATA.members().filter(|member| member.name != "kes-policy") {
        let sources = match &*member.name {
            "kes" => root().join("cli"),
            _ => member.manifest_path.parent().unwrap().join("src"),
        };
        for file in files(&sources, &["rs"]) {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            let is_test = file.ends_with("tests.rs") || file.ends_with("testing.rs");
            if !is_test && authority.iter().any(|word| code.contains(word)) {
                users.insert(format!("{}: {}", member.name, file.file_name().unwrap().display()));
            }
        }
    }
    assert_eq!(users, ["kes-config: read.rs", "kes-server: setup.rs"].map(String::from).into());
}

#[test]
fn dependencies_have_one_exact_version() {
    for package in &METADATA.packages {
        let is_member = METADATA.workspace_members.contains(&package.id);
        assert!(is_member || package.source.is_some(), "{} is not in the repository", package.name);
    }
    for member in METADATA.members() {
        for dependency in &member.dependencies {
            let what = format!("{} {} of {}", dependency.name, dependency.req, member.name);
            if dependency.source.is_none() {
                continue;
            }
            let version = dependency.req.strip_prefix('=').unwrap_or_else(|| panic!("{what}"));
            let numbers: Vec<&str> = version.split('.').collect();
            assert!(
                numbers.len() == 3 && numbers.iter().all(|n| n.parse::<u32>().is_ok()),
                "{what}"
            );
        }
        let manifest = std::fs::read_to_string(&member.manifest_path).unwrap();
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{}", member.name);
    }
    // Versions stand in one place: what is not there is not used, and what is there is.
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("\n[workspace.dependencies]\n").unwrap();
    let section = after.split("\n[").next().unwrap();
    let listed: BTreeSet<&str> =
        section.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    let used: BTreeSet<&str> = METADATA
        .members()
        .flat_map(|member| member.dependencies.iter().map(|dependency| &*dependency.name))
        .collect();
    assert_eq!(listed, used);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut long = Vec::new();
    for file in sources() {
        let is_test = file.ends_with("tests.rs")
            || file.components().any(|part| part.as_os_str() == "tests")
                && !file.starts_with(root().join("tests/kit"));
        if is_test {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().count();
        if lines > LONG {
            long.push((lines, file));
        }
    }
    for (lines, file) in &long {
        println!("{lines} lines: {}", file.display());
    }
    assert!(long.iter().all(|(lines, _)| *lines <= TOO_LONG), "{long:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["to", "do!("],
        ["unimpl", "emented!("],
        ["HA", "CK:"],
        ["#[ign", "ore"],
        ["dbg", "!("],
    ]
    .map(|pieces| pieces.concat());
    for file in files(root(), &["rs", "toml", "md", "yml", "sh", "service"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in &words {
            let line = text.lines().position(|line| line.contains(word.as_str()));
            assert_eq!(line, None, "'{word}' in {} (line from 0)", file.display());
        }
    }
}

/// `cargo test` looks for examples in the documentation of `tests/kit` alone.
#[test]
fn an_example_in_documentation_is_run() {
    for file in sources() {
        if file.starts_with(root().join("tests/kit")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_open = false;
        for (number, line) in (1..).zip(text.lines()) {
            let Some(line) = line.trim_start().strip_prefix("//") else { continue };
            let Some(kind) = line.trim_start_matches(['/', '!', ' ']).strip_prefix("```") else {
                continue;
            };
            is_open = !is_open;
            assert!(!is_open || kind == "text", "{}:{number} is not run", file.display());
        }
    }
}

/// A dev server that a test kills leaves its certificate where it may write files.
#[test]
fn a_dev_server_of_a_test_has_a_folder_of_its_own() {
    let mut found = 0;
    for file in files(&root().join("tests"), &["rs"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("\"--dev\"") {
            continue;
        }
        found += 1;
        let has_folder = text.contains("\"XDG_RUNTIME_DIR\"") || text.contains("\"TMPDIR\"");
        assert!(has_folder, "{}: name its folder for temporary files", file.display());
    }
    assert!(found >= 3, "{found} tests start one");
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"));
    let word = ["unsa", "fe "].concat();
    for file in sources() {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let used = [format!("{word}{{"), format!("{word}fn"), format!("{word}impl")];
            assert!(!used.iter().any(|used| line.contains(used)), "{}: {line}", file.display());
        }
    }
}

/// Where the sources of a crate are.
fn source_folder(member: &Package) -> PathBuf {
    match &*member.name {
        "kes" => root().join("cli"),
        _ => member.manifest_path.parent().unwrap().join("src"),
    }
}

/// Every Rust file of the repository.
fn sources() -> Vec<PathBuf> {
    let files = files(root(), &["rs"]);
    assert!(files.len() > 100, "{} files", files.len());
    files
}

/// Files below a folder with one of these endings. What is built or hidden is left out.
pub(crate) fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with('.') || name == "target" {
                continue;
            }
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if endings.contains(&ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
