use super::*;

fn load(text: &str) -> Result<Vec<Expectation>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yml");
    fs::write(&path, text).unwrap();
    load_expectations(&path, &env).map(|table| table.all).map_err(|errors| errors.to_string())
}

#[test]
fn a_table_has_a_line_for_each_request() {
    let table = load(
        "- identity: ${ONES}
  allow:
  - PUT /v1/key/create/k
  - GET   /v1/status
  deny: [DELETE /v1/key/delete/k]
- policy: minio
  deny:
  - GET /v1/log/audit
",
    )
    .unwrap();
    let ones = ExpectedCaller::Identity(ONES.parse().unwrap());
    let minio = ExpectedCaller::Policy("minio".to_owned());
    let expected = [
        (3, &ones, true, "PUT", "/v1/key/create/k"),
        (4, &ones, true, "GET", "/v1/status"),
        (5, &ones, false, "DELETE", "/v1/key/delete/k"),
        (8, &minio, false, "GET", "/v1/log/audit"),
    ];
    let expected = expected.map(|(line, caller, is_allowed, method, path)| Expectation {
        line,
        caller: caller.clone(),
        is_allowed,
        method: method.to_owned(),
        path: path.to_owned(),
    });
    assert_eq!(table, expected);
}

#[test]
fn a_table_that_is_not_exact_is_refused_with_the_line() {
    for (text, fault) in [
        ("", "the file is empty"),
        ("[]", "t.yml:1: nothing is expected"),
        ("- policy: a", "t.yml:1: [0]: expects nothing"),
        (
            "- policy: a\n  deny: [GET /version]\n- policy: b\n  deny: []",
            ":3: [1]: expects nothing",
        ),
        ("policy: a", "expected a list with items such as"),
        ("- a", "t.yml:1: [0]: expected a map with identity or policy, and allow or deny"),
        ("- allow: [GET /v1/status]", "[0]: says neither whose requests these are"),
        (
            "- policy: a\n  identity: b\n  allow: [GET /v1/status]",
            ":2: [0].identity: an item is for one",
        ),
        (
            "- identity: kes:v1:marked\n  allow: [GET /v1/status]",
            ":1: [0].identity: not an identity",
        ),
        ("- policy: a\n  alow: [GET /v1/status]", ":2: [0].alow: unknown field"),
        ("- policy: a\n  allow: GET /v1/status", ":2: [0].allow: expected a list"),
        ("- policy: a\n  allow:\n  - /v1/status", ":3: [0].allow[0]: not a method and a path"),
        ("- policy: a\n  allow: [GET v1/status]", "not a method and a path"),
        ("- policy: a\n  allow: [GET /v1/status a]", "not a method and a path"),
        ("- policy: a\n  allow: ['']", "[0].allow[0]: is required"),
        ("- policy: a\n  allow: [\"${UNSET}\"]", "variable 'UNSET' is not set"),
        (
            "- policy: a\n  allow: [GET /v1/status]\n  deny: [GET /v1/status]",
            ":3: [0].deny[0]: GET /v1/status stands twice in this item",
        ),
        ("- policy: a\n  allow: [GET /v1/status]\n---\n- b", ":3: a second document begins here"),
        ("- policy: $A\n  allow: [GET /v1/status]", "taken literally"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(fault) && !error.contains("marked"), "{text}: {error}");
    }
}
