use super::*;

#[test]
fn variables_stand_for_whole_scalars() {
    let config = with(
        "address: '${ CONTRACT_ADDRESS }'
policy:
  a: {allow: [\"${MARKED}\"], identities: [\"${ONES}\"]}
api:
  /v1/ready: {skip_auth: \"${YES}\"}
log:
  error: ${EMPTY}
",
    )
    .config;
    assert_eq!(config.address.to_string(), "127.0.0.1:0");
    let policy = config.policies.policy("a").unwrap();
    assert_eq!(policy.allow().collect::<Vec<_>>(), ["marked-value"]);
    assert!(config.policies.policy_of(&ONES.parse().unwrap()).is_some());
    assert!(config.api.of(Operation::Ready).skip_auth);
}

/// systemd sets the variable, and the file names what it has loaded.
#[test]
fn a_credential_is_named_below_the_folder_of_the_service() {
    const FOLDER: (&str, &str) = ("CREDENTIALS_DIRECTORY", "/run/credentials/kes.service");
    let text = HEAD.replace("key: server.key", "key: '${CREDENTIALS_DIRECTORY}/tls-key'");
    let with = |folder: Option<&'static str>| {
        parse(&text, &move |name: &str| folder.filter(|_| name == FOLDER.0).map(str::to_owned))
    };
    let config = with(Some(FOLDER.1)).unwrap().config;
    assert_eq!(&*config.tls.key, Path::new("/run/credentials/kes.service/tls-key"));
    for unset in [None, Some("")] {
        let refused = with(unset).unwrap_err().to_string();
        assert_eq!(
            refused,
            "line 2: tls.key: environment variable 'CREDENTIALS_DIRECTORY' is not set; systemd \
             sets it for a unit with 'LoadCredential=tls-key:…'"
        );
    }
    // Names of files in that folder, and nothing else.
    for name in ["", ".", "..", "../x", "a/b", "${ONES}", "$x"] {
        let value = format!("${{CREDENTIALS_DIRECTORY}}/{name}");
        let refused = refused_with(&format!("policy:\n  a:\n    allow:\n    - '{value}'\n"));
        assert!(refused.contains("a variable must be the whole value"), "{name}: {refused}");
    }
}

/// What is no whole variable can never be what was meant.
#[test]
fn a_part_of_a_value_is_no_variable() {
    let partial = "contains '${' but is not just '${NAME}': a variable must be the whole value, and there are no defaults";
    for value in [
        "http://${MARKED}:8200",
        "${MARKED:-y}",
        "${MARKED-y z}",
        "${MARKED}${MARKED}",
        "${MARKED} ",
        " ${MARKED}",
        "${MARKED",
        "${}",
        "${ }",
        "a$${MARKED}",
        "${${MARKED}}",
        "pass${word",
    ] {
        assert_eq!(
            refused_with(&format!("policy:\n  a:\n    allow:\n    - '{value}'\n")),
            format!("line 8: policy.a.allow[0]: {partial}")
        );
    }
    // Each kind of field.
    for (text, place) in [
        ("version: v${ONES}", "line 5: version"),
        ("address: ${ONES}:7373", "line 5: address"),
        ("policy: {a: {identities: ['${A}${B}']}}", "line 5: policy.a.identities[0]"),
        ("cache: {expiry: {any: '${ONES}s'}}", "line 5: cache.expiry.any"),
        ("api: {/v1/ready: {skip_auth: '!${YES}'}}", "line 5: api./v1/ready.skip_auth"),
        ("log: {error: 'info+${ONES}'}", "line 5: log.error"),
        ("keys:\n- name: >-\n    ${A}-1\n", "line 7: keys[0].name"),
        ("keys:\n- name: |\n    ${ONES}\n", "line 7: keys[0].name"),
    ] {
        assert_eq!(refused_with(text), format!("{place}: {partial}"));
    }
    let secret = "    endpoint: https://v\n    approle: {id: a, secret: 'marked${marked'}\n";
    let text = refused(&vault_file(secret));
    assert_eq!(text, format!("line 6: keystore.vault.approle.secret: {partial}"));

    // No value, and a value that holds it only once it is replaced.
    let fine = with(
        "address: 127.0.0.1:0 # not ${HERE}\npolicy: {a: {allow: ['${DOLLAR}', '/v1/$status']}}\n",
    );
    let policy = fine.config.policies.policy("a").unwrap();
    assert_eq!(policy.allow().collect::<Vec<_>>(), ["a${B}", "/v1/$status"]);
    with("log:\n  error: >-\n    ${EMPTY}\n");

    // In the name of a field it is not replaced.
    let name = with("policy: {'${MARKED}': {}}\n'${MARKED}': x\n");
    assert_eq!(name.config.policies.policies().next().unwrap().name(), "${MARKED}");
    let warnings = warnings(&name);
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|text| text.contains("variables are replaced in values, not")));
}

#[test]
fn what_is_odd_about_a_variable_is_told() {
    let empty = "    endpoint: ${EMPTY}\n    approle: {id: '${EMPTY}', secret: '${EMPTY}'}\n";
    assert_eq!(
        refused(&vault_file(empty)),
        "line 5: keystore.vault.endpoint: variable EMPTY is empty\n\
         line 6: keystore.vault.approle.id: variable EMPTY is empty\n\
         line 6: keystore.vault.approle.secret: variable EMPTY is empty"
    );
    // A template for both logins, of which the environment chooses one.
    let both = "    endpoint: https://v
    approle: {id: '${EMPTY}', secret: '${EMPTY}'}
    kubernetes: {role: '${MARKED}', jwt: './${MARKED'}
";
    assert!(
        refused(&vault_file(both)).starts_with("line 7: keystore.vault.kubernetes.jwt: contains")
    );
    vault(&both.replace("./${MARKED", "./token"));

    let odd = with(
        "policy:
  a:
    allow: ['${BLANK}', $STATUS, $(STATUS)]
    identities: ['${EMPTY}']
",
    );
    let warnings = warnings(&odd);
    for (line, text) in [
        (7, "policy.a.allow[0]: variable BLANK begins or ends with blanks or a line break"),
        (7, "policy.a.allow[1]: taken literally; write a variable as ${NAME}"),
        (7, "policy.a.allow[2]: taken literally; write a variable as ${NAME}"),
        (8, "policy.a.identities[0]: variable EMPTY is empty; ignored"),
    ] {
        let start = format!("line {line}: {text}");
        assert!(
            warnings.iter().any(|warning| warning.starts_with(&start)),
            "{start}: {warnings:#?}"
        );
    }
}

#[test]
fn a_variable_that_is_not_set_is_refused_with_its_line() {
    assert_eq!(
        refused_with("log:\n  error: on\n  audit: ${NOPE}\n"),
        "line 7: log.audit: environment variable 'NOPE' is not set"
    );
    assert_eq!(
        refused_with("log:\n  audit: ${NOPE-off}\n"),
        "line 6: log.audit: environment variable 'NOPE-off' is not set; there are no defaults"
    );
    // A field that is not read needs none.
    with("enclave: ${NOPE}\nunknown: {x: '${NOPE}'}\n");
}

#[test]
fn values_of_variables_stay_out_of_messages() {
    let text = "version: ${MARKED}
address: ${MARKED}
tls:
  key: k
  cert: c
  auth: ${MARKED}
  proxy: {header: {cert: \"${MARKED} \"}, identities: [\"${MARKED}\"]}
admin: {identity: disabled}
policy:
  a: {allow: [\"${MARKED}\"], identities: [\"${MARKED}\", \"${ONES}\"]}
  b: {identities: [\"${ONES}\"]}
cache: {expiry: {any: \"${MARKED}\", unused: \"${MARKED}\", offline: \"${MARKED}\"}}
api: {/v1/ready: {skip_auth: \"${MARKED}\", timeout: \"${MARKED}\"}}
log: {error: \"${MARKED}\", audit: \"${MARKED}\", format: \"${MARKED}\"}
keys: [{name: \"${MARKED}\"}, {name: \"${MARKED}\"}]
keystore:
  vault:
    endpoint: ${MARKED}
    version: ${MARKED}
    approle: {id: \"${MARKED}\", secret: \"${MARKED}\", secret_file: \"${MARKED}\"}
";
    let errors = refused(text);
    assert!(!errors.contains("marked") && !errors.contains(ONES), "{errors}");
    assert_eq!(errors.lines().count(), 17, "{errors}");

    let policy = with("policy:\n  a: {allow: [\"${MARKED}\"], deny: [\"${MARKED}\"]}\n");
    let warnings = warnings(&policy);
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("${MARKED}") && !warnings.concat().contains("marked"));
}
