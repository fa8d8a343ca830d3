use super::*;

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
            "line 14: api./v1/redy: no API has this path, ignored; is '/v1/ready' meant?",
            "line 15: api./v1/status/: no API has this path, ignored; is '/v1/status' meant?",
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
  idle: {identities: ['${ONES}'], paths: [/v1/status]}
",
    );
    let warnings = warnings(&loaded);
    let starts = [
        "line 6: policy.minio: allows generate and decrypt but not '/v1/key/describe/*'",
        "line 10: policy.minio.allow[2]: '/v1/key/*/name' allows next to nothing",
        "line 12: policy.minio.deny[0]: the '*' inside '/v1/key/*/internal' matches within",
        "line 13: policy.minio.deny[1]: '' matches no request",
        "line 14: policy.minio.identities[0]: not an identity (64 hex digits expected); ignored",
        "line 14: policy.minio.identities[1]: empty; ignored",
        "line 15: policy.my.policy: the API does not accept this name",
        "line 16: policy.idle: allows nothing: it has identities and no allow pattern",
        "line 16: policy.idle.paths: retired field, ignored; use 'allow' instead",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
    assert!(loaded.config.policies.policy("my.policy").is_some());
}
