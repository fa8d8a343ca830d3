use kes_policy::{PatternChange, PolicyChange};

use super::forms::right;
use super::*;

/// What changes if each of these is set, one after the other.
fn steps<'a>(field: &str, values: &'a [String]) -> Vec<(&'a str, Vec<String>)> {
    let before = values.iter().map(|value| loaded(&File::with(field, value).text()).config);
    let configs: Vec<Config> = before.collect();
    let pairs = configs.iter().zip(&configs[1..]).zip(&values[1..]);
    pairs.map(|((before, now), value)| (&**value, told(before, now))).collect()
}

/// The fields that a reload tells as changed: settings, and what differs in policies.
fn told(before: &Config, now: &Config) -> Vec<String> {
    let settings = Settings::of(now).changes_since(&Settings::of(before));
    let mut told: Vec<String> = settings.into_iter().map(|change| change.field.into()).collect();
    let changes = now.policies.changes_since(&before.policies);
    let kes_policy::Changes { added, removed, changed, identities, limits } = changes;
    assert!(added.is_empty() && removed.is_empty(), "{added:?} {removed:?}");
    for PolicyChange { name, allow, deny, limits } in changed {
        let none = PatternChange::default();
        for (differs, part) in
            [(allow != none, "allow"), (deny != none, "deny"), (limits, "limits")]
        {
            if differs {
                told.push(format!("policy.{name}.{part}"));
            }
        }
    }
    if !identities.is_empty() {
        told.push("policy.p.identities".to_owned());
    }
    // Of the same identities with limits of the policy, this is told beside those.
    if !limits.is_empty() && !told.contains(&"policy.p.limits".to_owned()) {
        told.push("policy.p.limits.overrides".to_owned());
    }
    told
}

/// Under which names a change of a field is told.
fn is_of(field: &str, told: &str) -> bool {
    match field {
        "keys.*.name" | "keys.*.fingerprint" => told == "keys",
        // Of each endpoint, or of the fields of the key store.
        "keystore.vault.proxy" => told.starts_with("keystore.vault.proxy of "),
        "migration.to" => told.starts_with("migration.to."),
        _ if field.starts_with("policy.*.limits.overrides.") => told == "policy.p.limits.overrides",
        _ if field.starts_with("policy.*.limits.") => told == "policy.p.limits",
        _ => told == chosen(field),
    }
}

#[test]
fn another_value_is_told_as_a_change_of_this_field_alone() {
    for (field, facts) in rows() {
        let values = right(&facts.form);
        let number = values.len();
        match facts.change {
            Change::Refused => assert_eq!(number, 0, "{field}: a value is accepted"),
            Change::NoOther => assert_eq!(number, 1, "{field}: there is another value"),
            Change::Reload => {
                let steps = steps(field, &values);
                assert!(!steps[0].1.is_empty(), "{field}: {} is not told as a change", steps[0].0);
                for (value, told) in steps {
                    // Another kind of key store has other fields.
                    let most = if value.starts_with("{vault:") { usize::MAX } else { 1 };
                    let are_of_it = told.iter().all(|told| is_of(field, told));
                    assert!(are_of_it && told.len() <= most, "{field}: {value}: {told:?}");
                }
            }
        }
    }
}

/// Where a value is one that means the default, it is told when it goes.
#[test]
fn a_value_that_comes_or_goes_is_told_as_a_change_of_this_field_alone() {
    let mut paired = Vec::new();
    for (field, facts) in rows().filter(|(_, facts)| facts.change == Change::Reload) {
        if matches!(facts.unset, Unset::Required | Unset::RequiredOr(_)) {
            continue;
        }
        // A field that replaces another one, or goes with it, cannot come alone.
        let Ok(Loaded { config: without, .. }) = parse(&File::of(field).text(), &env) else {
            paired.push(field);
            continue;
        };
        let with = |value: &String| loaded(&File::with(field, value).text()).config;
        let all: Vec<Config> = right(&facts.form).iter().map(with).collect();
        let changes = all.iter().flat_map(|with| [told(&without, with), told(with, &without)]);
        let changes: Vec<_> = changes.filter(|told| !told.is_empty()).collect();
        assert!(!changes.is_empty(), "{field}: no change is told");
        for told in changes {
            assert!(told.len() == 1 && is_of(field, &told[0]), "{field}: {told:?}");
        }
    }
    let vault =
        ["approle.secret_file", "tls.key", "tls.cert"].map(|n| format!("keystore.vault.{n}"));
    assert_eq!(paired[0], "cache.snapshot.key_text");
    assert_eq!(paired[1..], vault);
}
