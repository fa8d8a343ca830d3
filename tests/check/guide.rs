//! What `docs/vault.md` tells an operator to write works as it is written.

use serde_json::json;

use super::world::{HEAD, World};

const GUIDE: &str = include_str!("../../docs/vault.md");

#[test]
fn its_configurations_load_without_a_warning() {
    let configurations = blocks("yaml");
    assert!(configurations.len() >= 7, "{configurations:?}");
    let env = |name: &str| {
        // What the files name; what stands in for a field that is left out is not set.
        let is_given = name.starts_with("VAULT_") || name.to_ascii_uppercase().ends_with("_PROXY");
        (!is_given).then(|| "0b5d6c2e-0000-4000-8000-000000000001".to_owned())
    };
    for text in configurations {
        let keystore = "keystore: { fs: { path: keys } }\n";
        let keystore = if text.contains("keystore:") { "" } else { keystore };
        let loaded = kes_config::parse(&format!("{HEAD}{text}{keystore}"), &env)
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0], "{text}");
    }
}

#[test]
fn its_policies_are_all_that_is_needed() {
    let policies: Vec<&str> = blocks("sh")
        .into_iter()
        .filter_map(|text| text.split_once("<<EOF\n")?.1.split_once("EOF\n"))
        .map(|(policy, _)| policy)
        .collect();
    let [v2, v1] = policies[..] else { panic!("two policies: {policies:?}") };
    let [token, transit] = blocks("hcl")[..] else { panic!("policies for the token and transit") };
    for (version, policy) in [(1, v1), (2, v2)] {
        let policy = format!("{policy}{}", transit.replace("crypt/kes", "crypt/wrap"));
        let world = World::with_policy(version, true, &policy);
        world.place.check().is_good();
        world.is_untouched();
        // It is also enough for a token that has no other policy, which then is not given back.
        let lean = json!({ "token_no_default_policy": true });
        world.bao.root().change_role("approle", "kes", &lean);
        world.place.check().is_good();
        assert_eq!(world.names(), [""; 0]);
        world.bao.root().revoke_tokens("approle");
        world.grant(&format!("{policy}{token}"));
        world.place.check().is_good();
        world.is_untouched();
    }
}

/// Code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    GUIDE.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}
