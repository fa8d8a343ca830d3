//! `.ci/sbom`: the bill of materials has all of the lock file and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{cargo, root};

/// What identifies a crate: name, version and checksum.
type Crate = (String, String, String);

fn bill() -> String {
    let output = Command::new("python3")
        .arg(root().join(".ci/sbom"))
        .env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()))
        .env("CARGO_NET_OFFLINE", "true")
        .current_dir("/")
        .output()
        .expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates of the lock file that come from a registry.
fn locked() -> BTreeSet<Crate> {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let entries = text.split("[[package]]").skip(1).map(|entry| {
        let field = |name: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        (field("source"), (field("name"), field("version"), field("checksum")))
    });
    let of_registry = entries.filter(|(source, _)| source.is_some());
    of_registry.map(|(_, (a, b, c))| (a.unwrap(), b.unwrap(), c.unwrap())).collect()
}

#[test]
fn the_bill_of_materials_is_the_lock_file() {
    let text = bill();
    assert_eq!(text, bill(), "the same sources give another text");
    let bill: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = bill["components"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found: Vec<Crate> = components
        .iter()
        .map(|c| (text(&c["name"]), text(&c["version"]), text(&c["hashes"][0]["content"])))
        .collect();
    let locked = locked();
    assert!(locked.len() > 200, "{} crates", locked.len());
    assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), locked);
    assert_eq!(found.len(), locked.len(), "a component stands there twice");

    // What the program is made of, as cargo builds it.
    let tree = ["tree", "--package", "kes", "--edges", "normal,no-proc-macro", "--prefix", "none"];
    let tree = String::from_utf8(cargo(&tree)).unwrap();
    let linked: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut scopes: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for component in components {
        let scope = component["scope"].as_str().unwrap();
        scopes.entry(text(&component["name"])).or_default().insert(scope);
    }
    for (name, scopes) in &scopes {
        let is_linked = linked.contains(name.as_str());
        assert_eq!(scopes.contains("required"), is_linked, "{name}");
    }
    for name in ["rustls", "aws-lc-rs", "hyper", "tokio"] {
        assert!(scopes[name].contains("required"), "{name}");
    }
    for name in ["proptest", "syn", "windows-sys", "cc"] {
        assert_eq!(scopes[name], ["excluded"].into(), "{name}");
    }

    // Each component and each reference is told.
    let refs: BTreeSet<&str> = components.iter().map(|c| c["bom-ref"].as_str().unwrap()).collect();
    let own = &bill["metadata"]["component"];
    let members = own["components"].as_array().unwrap().iter().chain([own]);
    let members: BTreeSet<&str> =
        members.map(|member| member["bom-ref"].as_str().unwrap()).collect();
    for dependency in bill["dependencies"].as_array().unwrap() {
        let needs = dependency["dependsOn"].as_array().unwrap().iter();
        for reference in needs.chain([&dependency["ref"]]).map(|value| value.as_str().unwrap()) {
            assert!(refs.contains(reference) || members.contains(reference), "{reference}");
        }
    }
}

/// The crate that builds the FIPS module hands a syntax tree from one of these to the other, and compiles
/// only if both have the same version of it. Only `.ci/fips` builds them.
#[test]
fn what_builds_the_fips_module_has_one_syntax_tree() {
    let text = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let syn_of = |name: &str| {
        let named = format!("\nname = \"{name}\"\n");
        let mut entries = text.split("[[package]]").filter(|entry| entry.starts_with(&named));
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            panic!("one version of {name} is expected");
        };
        let mut lines = entry.lines().map(str::trim);
        lines.find(|line| line.starts_with("\"syn")).expect("it uses syn").to_owned()
    };
    assert_eq!(syn_of("bindgen"), syn_of("prettyplease"));
}
