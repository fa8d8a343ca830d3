use super::*;

fn load(text: &str) -> Result<LoadedPolicies, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yml");
    fs::write(&path, text).unwrap();
    load_policies(&path, &env)
}

const POLICIES: &str = "admin:
  identity: 7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382
x-shared: &shared
- /v1/key/create/*
- /v1/status
policy:
  a:
    allow: *shared
    deny:
    - ${MARKED}
    - /v1/key/decrypt/b
    identities:
    - ${ONES}
  b: {allow: [/v1/key/list/*]}
api:
  /v1/ready: {skip_auth: true}
tls:
  key: ${UNSET}
  proxy: {identities: [2222222222222222222222222222222222222222222222222222222222222222]}
keystore:
  vault: {endpoint: '${UNSET}'}
";

#[test]
fn policies_are_read_with_their_lines_and_without_the_rest() {
    let loaded = load(POLICIES).unwrap();
    let (admin, ones) = (ADMIN.parse().unwrap(), ONES.parse().unwrap());
    let LoadedPolicies { policies, proxies, places, .. } = &loaded;
    assert!(policies.is_admin(&admin) && policies.is_exempt(Operation::Ready));
    assert_eq!(policies.policy_of(&ones).unwrap().name(), "a");
    assert_eq!(proxies.len(), 1);

    let a = places.policy("a").unwrap();
    let lines = |patterns: &[PatternPlace]| patterns.iter().map(|one| one.line).collect::<Vec<_>>();
    // An alias stands where its anchor does.
    assert_eq!((a.line, lines(&a.allow), lines(&a.deny)), (7, vec![4, 5], vec![10, 11]));
    assert_eq!(a.deny[0].variable.as_deref(), Some("MARKED"));
    assert_eq!(a.deny[1].variable, None);
    assert_eq!(places.policy("b").unwrap().line, 14);
    assert!(places.policy("c").is_none());
    let of = |identity| places.identity(identity);
    assert_eq!((of(&admin), of(&ones), of(&proxies[0])), (Some(2), Some(13), Some(19)));
    assert_eq!(places.api(), Some(15));
}

#[test]
fn a_server_and_who_asks_for_its_policies_read_the_same() {
    let text = POLICIES.replace("${UNSET}", "k").replace("vault: {endpoint: 'k'}", "fs: {path: k}");
    let text = text.replace("key: k", "key: k\n  cert: c");
    let (whole, alone) = (with_text(&text), load(&text).unwrap());
    assert_eq!(whole.policies.changes_since(&alone.policies), kes_policy::Changes::default());
    assert!(whole.policies.is_exempt(Operation::Ready));
}

fn with_text(text: &str) -> Config {
    parse(text, &env).unwrap().config
}

#[test]
fn what_is_wrong_with_policies_is_told_and_the_rest_is_not() {
    for (text, fault) in [
        ("policy: {a: {allow: /v1/status}}", "policy.a.allow: expected a list"),
        ("policy: {a: {allow: ['${UNSET}']}}", "variable 'UNSET' is not set"),
        (
            "policy: {a: {identities: ['${ONES}']}, b: {identities: ['${ONES}']}}",
            "it is in policy 'a' already",
        ),
        ("admin: {identity: ''}", "admin.identity: is required"),
        ("tls: {proxy: []}", "tls.proxy: expected a map"),
        ("[1, 2]", "expected a map"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(fault), "{text}: {error}");
    }
    let loaded = load("polcy: {}\nlog: {error: nonsense}\ntls: {kez: a}").unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 1: polcy: unknown field, ignored; is 'policy' meant?",
            "line 3: tls.kez: unknown field, ignored; is 'key' meant?",
        ]
    );
}
