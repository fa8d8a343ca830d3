use super::*;

#[test]
fn all_mistakes_are_reported_together() {
    let text = "version: v9
address: nowhere
tls:
  key: server.key
  auth: perhaps
policy:
  minio:
    allow: /v1/status
    identities: [\"${NOT_SET}\"]
  minio:
    allow: []
cache:
  expiry:
    any: 5
    unused: -1s
api:
  /v1/ready: {skip_auth: perhaps, timeout: soon}
log:
  error: loud
  format: xml
keys:
- name: a/b
- plain
keystore:
  vault:
    version: v3
";
    assert_eq!(
        refused(text).lines().collect::<Vec<_>>(),
        [
            "admin.identity: is required; write 'disabled' if nobody is to be admin",
            "line 1: version: 'v9' is unknown; the only version is v1",
            "line 2: address: 'nowhere': not an address; write it as 0.0.0.0:7373, [::1]:7373, \
             localhost:7373 or :7373",
            "line 3: tls.cert: is required",
            "line 5: tls.auth: 'perhaps' is neither on nor off",
            "line 8: policy.minio.allow: expected a list with items such as '- /v1/key/create/*', but \
             line 8 holds a text",
            "line 9: policy.minio.identities[0]: environment variable 'NOT_SET' is not set",
            "line 10: policy.minio: named twice, first in line 7",
            "line 14: cache.expiry.any: '5': a duration needs a unit; write it as 300ms, 1.5h or \
             5m0s",
            "line 15: cache.expiry.unused: '-1s': a duration must not be negative",
            "line 17: api./v1/ready.skip_auth: 'perhaps' is neither true nor false",
            "line 17: api./v1/ready.timeout: 'soon': not a duration; write it as 300ms, 1.5h or \
             5m0s",
            "line 19: log.error: 'loud': not a log level; use on, off, debug, info, warn, error, INFO+1 or a number",
            "line 20: log.format: 'xml' is neither text nor json",
            "line 22: keys[0].name: key name 'a/b': it is empty, too long or contains invalid \
             characters",
            "line 23: keys[1]: expected a map with name and fingerprint, but line 23 holds a text",
            "line 25: keystore.vault.endpoint: is required",
            "line 25: keystore.vault: no login method; exactly one of approle and kubernetes is \
             required",
            "line 26: keystore.vault.version: 'v3' is unknown; use v1 or v2",
        ]
    );
}

#[test]
fn wrong_types_name_the_line() {
    for (text, expected) in [
        (
            "policy: [a]",
            "line 5: policy: expected a map with the policies by name, but line 5 holds a list",
        ),
        (
            "policy:\n  p: x",
            "line 6: policy.p: expected a map with allow, deny, identities and limits, but line 6 holds a \
             text",
        ),
        (
            "policy: {p: {allow: {a: b}}}",
            "line 5: policy.p.allow: expected a list with items such as '- /v1/key/create/*', but \
             line 5 holds a map",
        ),
        (
            "policy:\n  p:\n  allow: [/v1/status]\n",
            "line 7: policy.allow: 'allow' is a field of a policy, not the name of one: \
             indent it below the policy's name",
        ),
        ("address: [a]", "line 5: address: expected a text, but line 5 holds a list"),
        (
            "keys: {name: x}",
            "line 5: keys: expected a list with items such as '- name: my-key', but line 5 holds a \
             map",
        ),
        (
            "log: on",
            "line 5: log: expected a map with error, audit, format, audit_required and audit_file, but line 5 holds a text",
        ),
        (
            "api: [x]",
            "line 5: api: expected a map of API paths, such as '/v1/ready', but line 5 holds a list",
        ),
    ] {
        assert_eq!(refused_with(text), expected);
    }
    let fields = "version, address, proxy_protocol, operations, admin, tls, policy, limits, cache, api, log, \
                  traces, keys, keystore and migration";
    for (text, found) in [("[a]", "list"), ("kes", "text")] {
        let expected = format!("line 1: expected a map with {fields}, but line 1 holds a {found}");
        assert_eq!(refused(text), expected);
    }
}

/// A pin that is left empty by mistake must not make a new key of the pinned one.
#[test]
fn a_fingerprint_that_is_none_is_refused() {
    let told = "a fingerprint has 32 hexadecimal digits, as 'kes key info' shows it";
    for (text, message) in [
        ("abc", format!("'abc': {told}")),
        ("", "is required".to_owned()),
        ("''", "is required".to_owned()),
        ("~", "is required".to_owned()),
    ] {
        assert_eq!(
            refused_with(&format!("keys:\n- name: k\n  fingerprint: {text}\n")),
            format!("line 7: keys[0].fingerprint: {message}")
        );
    }
    // Of digits alone it is still a text.
    let digits = "01234567890123456789012345678901";
    let text = format!("keys:\n- name: k\n  fingerprint: {digits}\n- name: l\n");
    let config = with(&text).config;
    assert_eq!(config.pins[0].fingerprint.to_string(), digits);
    let created: Vec<_> = config.keys.iter().map(|key| key.name().as_str()).collect();
    assert_eq!(created, ["l"]);
}

#[test]
fn what_is_named_twice_is_refused_with_both_lines() {
    assert_eq!(
        refused_with("cache:\n  expiry: {any: 1s}\ncache: {}\n"),
        "line 7: cache: named twice, first in line 5"
    );
    assert_eq!(
        refused_with("keys:\n- name: k1\n- name: k2\n- name: k1\n"),
        "line 8: keys[2].name: key 'k1' is named in line 6 already"
    );
    assert_eq!(
        refused_with("api:\n  /v1/key/create: {}\n  /v1/key/create/: {}\n"),
        "line 7: api./v1/key/create/: named twice, first in line 6"
    );
    // A merged field is not one that is named.
    with("policy:\n  a: &a {allow: [/v1/status]}\n  b: {<<: *a, allow: [/v1/metrics]}\n");
}

#[test]
fn an_identity_has_one_role() {
    let two = format!(
        "policy:\n  a:\n    identities: [{ONES}]\n  b:\n    identities:\n    - {ONES}\n    - {ADMIN}\n"
    );
    assert_eq!(
        refused_with(&two),
        format!(
            "line 10: policy.b.identities[0]: identity '{ONES}' cannot be in policy 'b': it is in \
             policy 'a' already (line 7)\n\
             line 11: policy.b.identities[1]: identity '{ADMIN}' cannot be in policy 'b': it is \
             the admin already (line 1)"
        )
    );
    let upper = ADMIN.to_uppercase();
    assert!(refused_with(&format!("policy: {{a: {{identities: [{upper}]}}}}")).contains(&upper));

    let proxy = format!("policy:\n  a: {{identities: [{ONES}]}}\n");
    let head =
        HEAD.replace("server.crt}", &format!("server.crt, proxy: {{identities: [{ONES}]}}}}"));
    assert_eq!(
        refused(&(head + &proxy)),
        format!(
            "line 6: policy.a.identities[0]: identity '{ONES}' cannot be in policy 'a': it is a \
             TLS proxy already (line 2)"
        )
    );
    with(&format!("policy: {{a: {{identities: [{ONES}, {ONES}]}}}}"));
}

#[test]
fn one_admin_who_may_be_nobody() {
    let head = |admin: &str| HEAD.replace(ADMIN, admin);
    for nobody in ["disabled", "_", "'_'"] {
        let loaded = loaded(&head(nobody));
        assert_eq!((loaded.config.admin, loaded.warnings.len()), (None, 0), "{nobody}");
    }
    let short = loaded(&head(ADMIN.get(1..).unwrap()));
    assert_eq!(short.config.admin, None);
    assert_eq!(
        warnings(&short),
        ["line 1: admin.identity: not an identity (64 hex digits expected); nobody is admin"]
    );
    for missing in ["''", "~", ""] {
        assert_eq!(
            refused(&head(missing)),
            "line 1: admin.identity: is required; write 'disabled' if nobody is to be admin",
            "{missing}"
        );
    }
    assert_eq!(refused(&head("'${EMPTY}'")), "line 1: admin.identity: variable EMPTY is empty");
    let config = loaded(HEAD).config;
    let admin = config.admin.unwrap();
    assert!(config.policies.is_admin(&admin) && allows(&config.policies, &admin, "/v1/status"));
}

/// A typo is told beside the mistake that it causes.
#[test]
fn the_cause_is_told_beside_the_mistake() {
    let tls = HEAD.replace("tls:", "tsl:");
    assert_eq!(
        refused_whole(&tls),
        "tls.key: is required\n\
         tls.cert: is required\n\
         warning: line 2: tsl: unknown field, ignored; is 'tls' meant?"
    );
    let path = HEAD.replace("path:", "pathh:");
    assert_eq!(
        refused_whole(&path),
        "line 3: keystore.fs.path: is required\n\
         warning: line 3: keystore.fs.pathh: unknown field, ignored; is 'path' meant?"
    );
    let login = vault_file("    endpoint: https://v\n    aprole: {id: a, secret: b}\n");
    assert_eq!(
        refused_whole(&login),
        "line 4: keystore.vault: no login method; exactly one of approle and kubernetes is \
         required\n\
         warning: line 6: keystore.vault.aprole: unknown field, ignored; is 'approle' meant?"
    );
    let secret = vault_file("    endpoint: https://v\n    approle: {id: a, secrt: b}\n");
    assert_eq!(
        refused_whole(&secret),
        "line 6: keystore.vault.approle.secret: is required, or secret_file instead\n\
         warning: line 6: keystore.vault.approle.secrt: unknown field, ignored; is 'secret' meant?"
    );
}

#[test]
fn files_of_older_versions_are_told_what_stands_there_today() {
    let tls = "tls: {key: k, cert: c}\n";
    let root = format!("root: disabled\n{tls}keys: {{fs: {{path: keys}}, aws: {{}}}}\n");
    assert_eq!(
        refused_whole(&root),
        "admin.identity: is required; write 'disabled' if nobody is to be admin\n\
         keystore: is required; fs and vault are supported\n\
         line 3: keys.fs: use 'keystore.fs' instead; 'keys' lists the keys to create at start\n\
         line 3: keys.aws: use 'keystore.aws' instead; 'keys' lists the keys to create at start\n\
         warning: line 1: root: retired field, ignored; use 'admin.identity' instead"
    );
    let admin = "admin: {identity: disabled}\n";
    for (store, told) in [
        (
            "keystore: {secretsmanager: {region: x}}",
            "line 3: keystore: names no key store; fs and vault are supported\n\
             warning: line 3: keystore.secretsmanager: unknown field here, ignored; it belongs at \
             'keystore.aws.secretsmanager'",
        ),
        (
            "Keystore: {fs: {path: x}}",
            "keystore: is required; fs and vault are supported\n\
             warning: line 3: Keystore: unknown field, ignored; is 'keystore' meant?",
        ),
        (
            "fs: {path: x}",
            "keystore: is required; fs and vault are supported\n\
             warning: line 3: fs: unknown field here, ignored; it belongs at 'keystore.fs'",
        ),
    ] {
        assert_eq!(refused_whole(&format!("{admin}{tls}{store}\n")), told);
    }
}

#[test]
fn a_path_in_vault_has_no_part_that_a_url_drops() {
    let told = |field: &str| {
        let text = refused(&vault_file(&format!("{LOGIN}    {field}\n")));
        text.split_once(": ").expect("a line").1.to_owned()
    };
    for (field, name, path, part) in [
        ("prefix: team/../kes", "prefix", "team/../kes", ".."),
        ("prefix: ./team/", "prefix", "./team/", "."),
        ("engine: kv/.", "engine", "kv/.", "."),
        ("engine: '..'", "engine", "..", ".."),
        ("transit: { engine: ./t, key: k }", "transit.engine", "./t", "."),
        ("transit: { key: '..' }", "transit.key", "..", ".."),
    ] {
        let expected = format!(
            "keystore.vault.{name}: '{path}' has the part '{part}', which no path in Vault has; \
             write the path in full, without it"
        );
        assert_eq!(told(field), expected);
    }
    let of_login = LOGIN.replace("{id", "{engine: a/../b, id");
    let expected = "keystore.vault.approle.engine: 'a/../b' has the part '..'";
    assert!(refused(&vault_file(&of_login)).contains(expected));
    let expected = "keystore.vault.prefix: 'a\\tb' has a tab, a line break or another control";
    assert!(told("prefix: \"a\\tb\"").starts_with(expected));
    // What is no such part, and an empty one, which has no effect.
    for prefix in ["a//b", "...", "a.b/..c", ".hidden"] {
        assert_eq!(vault(&format!("{LOGIN}    prefix: {prefix}\n")).prefix, prefix);
    }
}

#[test]
fn limits_that_are_none() {
    for limit in ["0", "-1", "1.5", "1000001", "18446744073709551617", "+5", "5/s", "none", "yes"] {
        for (text, place) in [
            (format!("limits: {{requests_per_second: {limit}}}"), "limits.requests_per_second"),
            (
                format!("policy: {{a: {{limits: {{requests_at_once: '{limit}'}}}}}}"),
                "policy.a.limits.requests_at_once",
            ),
        ] {
            let expected = format!(
                "line 5: {place}: '{limit}' is not a limit; write a whole number from 1 to \
                 1000000, or 'unlimited'"
            );
            assert_eq!(refused(&format!("{HEAD}{text}")), expected);
        }
    }
    let text = format!(
        "{HEAD}policy:
  a:
    identities: [{ONES}]
    limits:
      overrides:
      - identities: [{ADMIN}, {ONES}]
        store_calls_per_second: 0
      - identities: ['${{ONES}}']
      - requests_at_once: 1
        request_at_once: 1
"
    );
    let errors = parse(&text, &env).unwrap_err().to_string();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            &*format!(
                "line 10: policy.a.limits.overrides[0].identities[0]: identity '{ADMIN}' is not in \
                 this policy; its limits belong to the policy that has it"
            ),
            "line 11: policy.a.limits.overrides[0].store_calls_per_second: '0' is not a limit; write a \
             whole number from 1 to 1000000, or 'unlimited'",
            "line 12: policy.a.limits.overrides[1].identities[0]: identity ${ONES} has limits \
             already (line 10)",
            "warning: line 13: policy.a.limits.overrides[2]: has no identities, ignored",
            "warning: line 14: policy.a.limits.overrides[2].request_at_once: unknown field, \
             ignored; is 'requests_at_once' meant?",
        ]
    );
}
