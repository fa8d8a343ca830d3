use super::*;

#[test]
fn tls_in_full() {
    let head = HEAD.replace(
        "{key: server.key, cert: server.crt}",
        &format!(
            "{{key: /k, cert: /c, password: pw, auth: ON, ca: /ca, proxy: {{identities: [{ONES}], \
             header: {{cert: X-Client}}}}}}"
        ),
    );
    let Loaded { config: Config { tls, .. }, warnings: odd } = loaded(&head);
    assert!(odd.is_empty(), "{odd:?}");
    assert!(matches!(tls.password, Some(Password::Literal(password)) if password.expose() == "pw"));
    assert_eq!((tls.auth, tls.ca.as_deref()), (ClientAuth::Verify, Some(Path::new("/ca"))));
    let ca = tls.ca.unwrap();
    assert_eq!(ca.blame("/ca: is empty"), "line 2: tls.ca: /ca: is empty");
    assert_eq!(tls.proxy.identities, [ONES.parse().unwrap()]);
    assert_eq!(tls.proxy.cert_header, "X-Client");

    let off = loaded(&HEAD.replace("cert: server.crt", "cert: c, auth: off, ca: '', password: ''"));
    assert_eq!(off.config.tls.auth, ClientAuth::Any);
    assert!(off.config.tls.ca.is_none() && off.config.tls.password.is_none());

    let file = loaded(&HEAD.replace("cert: server.crt", "cert: c, password_file: /pw"));
    let Some(Password::File(path)) = file.config.tls.password else { panic!("a file") };
    assert_eq!(path.blame("is empty"), "line 2: tls.password_file: is empty");
    let both = HEAD.replace("cert: server.crt", "cert: c, password: pw, password_file: /pw");
    let told = "line 2: tls.password_file: only one of password and password_file may be set";
    assert_eq!(refused(&both), told);

    let bad = HEAD.replace("cert: server.crt", "cert: c, proxy: {header: {cert: 'X Client'}}");
    assert!(
        refused(&bad).starts_with("line 2: tls.proxy.header.cert: 'X Client' is not a valid name")
    );
}

#[test]
fn api_paths_with_and_without_the_last_slash() {
    let api = with(
        "api:\n  /v1/key/create: {timeout: 3s}\n  /v1/key/delete/: {timeout: 4s}\n  \
         /v1/log/audit: {timeout: 0s}\n",
    )
    .config
    .api;
    assert_eq!(api.of(Operation::CreateKey).timeout, Some(Duration::from_secs(3)));
    assert_eq!(api.of(Operation::DeleteKey).timeout, Some(Duration::from_secs(4)));
    assert_eq!(api.of(Operation::AuditLog).timeout, None);
}

#[test]
fn a_required_audit_log_needs_a_level_that_records_changes() {
    assert!(!with("log: {audit: off}").config.log.audit_required);
    for level in ["on", "debug", "INFO-1"] {
        let log = with(&format!("log: {{audit: {level}, audit_required: true}}")).config.log;
        assert!(log.audit_required, "{level}");
    }
    for (level, told) in [("off", "OFF"), ("warn", "WARN"), ("INFO+1", "INFO+1")] {
        let told = format!(
            "line 7: log.audit_required: with the level {told} of 'log.audit' no change of a key \
             is recorded, so none could be made; write 'audit: on'"
        );
        let log = format!("log:\n  audit: {level}\n  audit_required: true\n");
        assert_eq!(refused_with(&log), told);
    }
    assert_eq!(
        refused_with("log: {audit_required: maybe}"),
        "line 5: log.audit_required: 'maybe' is neither true nor false"
    );
}

#[test]
fn a_snapshot_has_a_path_and_a_key() {
    assert!(loaded(HEAD).config.snapshot.is_none());
    assert!(with("cache: {snapshot: }\n").config.snapshot.is_none());
    let file = with("cache: {snapshot: {path: a/keys, key: k}}").config.snapshot.unwrap();
    assert_eq!((file.path.to_str(), file.max_age), (Some("a/keys"), Duration::from_hours(24)));
    assert!(matches!(file.key, SnapshotKeySource::File(path) if path.to_str() == Some("k")));
    let marked = "marked".repeat(6);
    let file = with(&format!("cache: {{snapshot: {{path: a, key_text: {marked}, max_age: 1s}}}}"));
    let file = file.config.snapshot.unwrap();
    assert_eq!(file.max_age, Duration::from_secs(1));
    assert!(!format!("{file:?}").contains("marked"));
    assert!(matches!(file.key, SnapshotKeySource::Literal(text) if text.expose() == marked));
    for (fields, told) in [
        ("key: k", "line 5: cache.snapshot.path: is required, such as /var/lib/kes/keys.snapshot"),
        ("path: a/, key: k", "line 5: cache.snapshot.path: 'a/' is a folder; name a file in it"),
        (
            "path: a",
            "line 5: cache.snapshot: a snapshot needs a key; set cache.snapshot.key to a file with at \
             least 32 bytes, made by `openssl rand -base64 48`",
        ),
        (
            "path: a, key: k, key_text: t",
            "line 5: cache.snapshot.key_text: only one of key and key_text may be set",
        ),
        (
            "path: a, key_text: marked",
            "line 5: cache.snapshot.key_text: it has 6 bytes, and a key has 32 to 4096; make one with \
             `openssl rand -base64 48`",
        ),
        (
            "path: a, key: k, max_age: 721h",
            "line 5: cache.snapshot.max_age: is not from 1s to 720h",
        ),
        ("path: a, key: k, max_age: 5ms", "line 5: cache.snapshot.max_age: is not from 1s to 720h"),
    ] {
        assert_eq!(refused_with(&format!("cache: {{snapshot: {{{fields}}}}}")), told);
    }
}

#[test]
fn an_audit_file_has_a_path_and_limits() {
    let minimal = with("log:\n  audit_file: {path: a/audit.jsonl}\n");
    let file = minimal.config.log.audit_file.as_ref().unwrap();
    assert_eq!((file.path.to_str(), file.max_size), (Some("a/audit.jsonl"), 100 << 20));
    assert_eq!(file.max_age, Duration::from_hours(24));
    assert!(file.key.is_none() && file.keep.is_none() && file.keep_for.is_none());
    assert_eq!(file.context, AuditContext::On);
    let warned = warnings(&minimal).join("\n");
    assert!(warned.contains("without a key, whoever can write the audit file"), "{warned}");
    let all = with(
        "log:\n  audit: off\n  audit_required: true\n  audit_file: {path: a, key: k, max_size: 1GiB, \
         max_age: 1h, keep: 30, keep_for: 720h, context: hash}\n",
    );
    assert!(warnings(&all).is_empty(), "the file records what the level leaves out");
    let file = all.config.log.audit_file.unwrap();
    assert_eq!((file.max_size, file.keep), (1 << 30, Some(30)));
    assert_eq!(file.keep_for, Some(Duration::from_hours(720)));
    assert_eq!(file.context, AuditContext::Hash);
    for (fields, told) in [
        (
            "max_size: 1MiB",
            "line 5: log.audit_file.path: is required, such as /var/log/kes/audit.jsonl",
        ),
        ("path: a/", "line 5: log.audit_file.path: 'a/' is a folder; name a file in it"),
        (
            "path: a, max_size: big",
            "line 5: log.audit_file.max_size: 'big' is not a size; write it as 100MiB",
        ),
        (
            "path: a, max_size: 1",
            "line 5: log.audit_file.max_size: '1' is not a size from 4KiB to 1024GiB",
        ),
        (
            "path: a, max_age: 1s",
            "line 5: log.audit_file.max_age: a file is kept open for a minute at least; write 1m or more",
        ),
        (
            "path: a, keep: all",
            "line 5: log.audit_file.keep: 'all' is not a number of files; write a whole number, or 0 for all",
        ),
        (
            "path: a, context: some",
            "line 5: log.audit_file.context: 'some' is neither on, hash nor off",
        ),
        (
            "path: a, context: hash",
            "line 5: log.audit_file.context: names are hashed with the key, and there is none; set log.audit_file.key",
        ),
    ] {
        assert_eq!(refused_with(&format!("log: {{audit_file: {{{fields}}}}}")), told);
    }
}

#[test]
fn log_formats_and_zero_durations() {
    assert_eq!(with("log: {format: JSON, audit: 4}").config.log.format, LogFormat::Json);
    assert_eq!(with("log: {format: text}").config.log.format, LogFormat::Text);

    let zero = with("cache: {expiry: {any: 0s, unused: 0ms, offline: 0s}}");
    assert_eq!(zero.config.cache, Cache::default());
    assert_eq!(
        warnings(&zero),
        [
            "line 5: cache.expiry.any: 0 means the default, 300s",
            "line 5: cache.expiry.unused: 0 means the default, 30s",
        ]
    );
}

#[test]
fn vault_defaults() {
    let vault = vault(LOGIN);
    assert_eq!(vault.endpoints.len(), 1);
    assert_eq!(vault.endpoints[0].as_str(), "https://127.0.0.1:8200/");
    assert_eq!((&*vault.engine, vault.version), ("kv", KvVersion::V1));
    assert_eq!((&*vault.namespace, &*vault.prefix), ("", ""));
    assert!(vault.transit.is_none() && vault.tls.client.is_none() && vault.tls.ca.is_none());
    assert_eq!(vault.ping, Duration::from_secs(15));
    let Login::AppRole { engine, namespace, id, secret } = vault.login else { panic!() };
    assert_eq!((&*engine, namespace, &*id), ("approle", None, "a"));
    assert!(matches!(secret, AppRoleSecret::Literal(secret) if secret.expose() == "b"));
}

#[test]
fn vault_in_full() {
    let vault = vault(
        "    endpoint: ' https://a:8200, http://b:8200/base/ ,'
    engine: /my/kv/
    version: v2
    namespace: /ns/
    prefix: /a/b/
    transit: {engine: /t/, key: k}
    approle: {engine: /ar/, namespace: /, id: i, secret_file: /run/secret}
    tls: {key: /k, cert: /c, ca: /ca}
    status: {ping: 3s}
",
    );
    let endpoints: Vec<_> = vault.endpoints.iter().map(|url| url.as_str()).collect();
    assert_eq!(endpoints, ["https://a:8200/", "http://b:8200/base/"]);
    assert_eq!((&*vault.engine, &*vault.namespace, &*vault.prefix), ("my/kv", "ns", "a/b"));
    assert_eq!(vault.transit.unwrap().engine, "t");
    let Login::AppRole { engine, namespace, secret, .. } = vault.login else { panic!() };
    assert_eq!((&*engine, namespace.as_deref()), ("ar", Some("")));
    assert!(matches!(secret, AppRoleSecret::File(file) if &*file == Path::new("/run/secret")));
    let (key, cert) = vault.tls.client.unwrap();
    assert_eq!((&*key, &*cert), (Path::new("/k"), Path::new("/c")));
    assert_eq!(vault.tls.ca.as_deref(), Some(Path::new("/ca")));
    assert_eq!(vault.ping, Duration::from_secs(3));
}

#[test]
fn a_kubernetes_token_with_a_slash_is_a_file() {
    let vault = vault(
        "    endpoint: https://v
    approle: {id: '', secret: ''}
    kubernetes: {role: r, jwt: /var/run/secrets/token, retry: 1s}
",
    );
    let Login::Kubernetes { jwt, namespace, .. } = vault.login else { panic!() };
    assert!(matches!(jwt, Jwt::File(file) if &*file == Path::new("/var/run/secrets/token")));
    assert_eq!(namespace, None);
}

#[test]
fn what_vault_needs() {
    for (fields, expected) in [
        ("    approle: {id: a, secret: b}\n", "line 4: keystore.vault.endpoint: is required"),
        (
            "    endpoint: unix://vault\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: not a URL that begins with https:// or http://",
        ),
        (
            "    endpoint: ','\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: is required",
        ),
        (
            "    endpoint: https://u:p@v\n    approle: {id: a, secret: b}\n",
            "line 5: keystore.vault.endpoint: user and password in the URL would not be used",
        ),
        (
            "    endpoint: https://v\n",
            "line 4: keystore.vault: no login method; exactly one of approle and kubernetes is \
             required",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a}\n    kubernetes: {role: r}\n",
            "line 4: keystore.vault: more than one login method: approle (line 6) and kubernetes \
             (line 7); keep one of them\n\
             line 6: keystore.vault.approle.secret: is required, or secret_file instead\n\
             line 7: keystore.vault.kubernetes.jwt: is required",
        ),
        (
            "    endpoint: https://v\n    approle: {secret: a}\n",
            "line 6: keystore.vault.approle.id: is required",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a}\n",
            "line 6: keystore.vault.approle.secret: is required, or secret_file instead",
        ),
        (
            "    endpoint: https://v\n    approle: {id: a, secret: b, secret_file: c}\n",
            "line 6: keystore.vault.approle.secret_file: only one of secret and \
             secret_file may be set",
        ),
        (
            "    endpoint: https://v\n    kubernetes: {role: '', jwt: ''}\n",
            "line 6: keystore.vault.kubernetes.role: is required\n\
             line 6: keystore.vault.kubernetes.jwt: is required",
        ),
    ] {
        assert_eq!(refused(&vault_file(fields)), expected);
    }
    for (field, expected) in [
        ("tls: {key: k}", "line 7: keystore.vault.tls.cert: is required because key is set"),
        ("tls: {cert: k}", "line 7: keystore.vault.tls.key: is required because cert is set"),
        ("transit: {engine: t}", "line 7: keystore.vault.transit.key: is required"),
    ] {
        assert_eq!(refused(&vault_file(&format!("{LOGIN}    {field}\n"))), expected);
    }
}

#[test]
fn one_key_store() {
    let file = |stores: &str| HEAD.replace("{fs: {path: keys}}", stores);
    assert_eq!(refused(&file("")), "line 3: keystore: is required; fs and vault are supported");
    let others = "line 3: keystore: names no key store; fs and vault are supported";
    assert_eq!(refused(&file("{kms: {}}")), others);
    assert_eq!(refused(&file("{fs: {}}")), "line 3: keystore.fs.path: is required");
    loaded(&file("{fs: {path: keys}, vault: , aws: , gcp: {secretmanager: }}"));
    for (group, member) in [
        ("fortanix", "sdkms"),
        ("gemalto", "keysecure"),
        ("gcp", "secretmanager"),
        ("aws", "secretsmanager"),
        ("azure", "keyvault"),
        ("entrust", "keycontrol"),
    ] {
        assert_eq!(
            refused(&file(&format!("{{{group}: {{{member}: {{x: y}}}}}}"))),
            format!(
                "line 3: keystore.{group}.{member}: key store {group}.{member} is not supported by \
                 this server; fs and vault are"
            )
        );
    }
    let text = refused(&file("\n  fs: {path: x}\n  aws:\n    secretsmanager: {x: y}"));
    assert!(text.contains("more than one key store: fs (line 4), aws.secretsmanager (line 6)"));
}

#[test]
fn endpoints_are_scheme_host_and_port() {
    let file = |endpoint: &str| {
        vault_file(&format!("    endpoint: {endpoint}\n    approle: {{id: a, secret: b}}\n"))
    };
    let place = "line 5: keystore.vault.endpoint: ";
    for (endpoint, told) in [
        ("127.0.0.1:8200", "has no scheme; write it as https://127.0.0.1:8200"),
        ("vault:8200", "has no scheme; write it as https://vault:8200"),
        ("'[::1]:8200'", "has no scheme; write it as https://[::1]:8200"),
        ("vault.example.com", "has no scheme; write it as https://127.0.0.1:8200"),
        ("u:p@vault:8200", "has no scheme; write it as https://127.0.0.1:8200"),
        ("https://v:8200/v1", "give host and port only: '/v1' is added to every call"),
        ("https://v:8200/v1/", "give host and port only: '/v1' is added to every call"),
        ("https://v:8200/v1/kv/data", "give host and port only: '/v1' is added to every call"),
        ("https://a,https://v:8200/v1", "give host and port only: '/v1' is added to every call"),
        (
            "https://v:8200?standbyok=true",
            "give host and port only: what follows '?' or '#' is not used",
        ),
        (
            "https://a:8200;https://b:8200",
            "not a URL: invalid port; separate several endpoints with commas",
        ),
        (
            "[https://a, https://b]",
            "expected one text; separate several endpoints with commas, but line 5 holds a list",
        ),
        ("https://", "not a URL: empty host"),
    ] {
        assert_eq!(refused(&file(endpoint)), format!("{place}{told}"), "{endpoint}");
    }
    for endpoint in ["https://v:8200", "https://v:8200/", "HTTPS://v", "http://[::1]:8200"] {
        assert!(loaded(&file(endpoint)).warnings.is_empty(), "{endpoint}");
    }
    let odd = warnings(&loaded(&file("https://proxy/vault/")));
    assert_eq!(odd.len(), 1);
    assert!(odd[0].starts_with(&format!("{place}its path is prepended")), "{odd:?}");
}

#[test]
fn tls_beside_plain_http_is_warned_of() {
    let file = |endpoint: &str| {
        format!(
            "    endpoint: {endpoint}\n    approle: {{id: a, secret: b}}\n    tls:\n      ca: c\n"
        )
    };
    let told = |endpoint: &str| warnings(&loaded(&vault_file(&file(endpoint))));
    assert_eq!(
        told("http://127.0.0.1,http://[::1]"),
        ["line 8: keystore.vault.tls.ca: has no effect: no endpoint begins with https://"]
    );
    assert!(told("http://127.0.0.1,https://b").is_empty());
    let empty = file("http://127.0.0.1").replace("ca: c", "ca: ''");
    assert!(loaded(&vault_file(&empty)).warnings.is_empty());
}

#[test]
fn what_people_write_for_an_identity() {
    let api_key = "kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT";
    let head = |admin: &str| HEAD.replace(ADMIN, admin);
    for (written, told) in [
        (api_key, "this is an API key; `kes identity of` prints its identity"),
        ("admin.crt", "this is a certificate; `kes identity of` prints its identity"),
        (ADMIN.get(..63).unwrap(), "not an identity (64 hex digits expected)"),
        (
            &format!("'{ADMIN},{ONES}'"),
            "several identities in one text; write each as an item of its own",
        ),
        (
            &ADMIN
                .as_bytes()
                .chunks(2)
                .map(|pair| str::from_utf8(pair).unwrap())
                .collect::<Vec<_>>()
                .join(":"),
            "this is a certificate's fingerprint; `kes identity of` prints its identity",
        ),
        (&format!("'{ADMIN} '"), "not an identity: there are blanks around it"),
    ] {
        let text = format!("{}policy: {{a: {{identities: [{written}]}}}}\n", head(written));
        let told = [
            format!("line 1: admin.identity: {told}; nobody is admin"),
            format!("line 5: policy.a.identities[0]: {told}; ignored"),
        ];
        assert_eq!(warnings(&loaded(&text)), told);
    }
}

#[test]
fn the_id_of_a_folder_is_read() {
    let with = |id: &str| HEAD.replace("path: keys", &format!("path: keys, id: {id}"));
    let id = "00000000000000000000000000000001";
    let kes_keystore::Config::Fs(fs) = loaded(&with(id)).config.keystore else { panic!("not fs") };
    assert_eq!(fs.id.unwrap().to_string(), id);
    let told = "line 3: keystore.fs.id: is empty; leave it out to accept any folder";
    assert_eq!(refused(&with("''")), told);
    let told = "line 3: keystore.fs.id: not the ID of a folder, which has 32 hexadecimal digits and \
                stands in the folder's file '.kes-folder'";
    for wrong in ["1", "[]", id.get(1..).unwrap(), &format!("{id}0"), &id.replace('1', "g")] {
        let refused = refused(&with(wrong));
        assert!(
            refused == told || wrong == "[]" && refused.contains("keystore.fs.id"),
            "{refused}"
        );
    }
}

#[test]
fn paths_are_not_expanded_and_know_their_place() {
    let loaded = loaded(&HEAD.replace("path: keys", "path: ~/keys"));
    assert_eq!(
        warnings(&loaded),
        ["line 3: keystore.fs.path: '~' is not expanded; write the full path"]
    );
    let kes_keystore::Config::Fs(fs) = loaded.config.keystore else { panic!("not fs") };
    assert_eq!(fs.path.place().unwrap().to_string(), "line 3: keystore.fs.path");
    assert_eq!(fs.id, None);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yml");
    fs::write(&file, HEAD).unwrap();
    let key = load(&file, &env).unwrap().config.tls.key;
    assert_eq!(key.blame("missing"), format!("{}:2: tls.key: missing", file.display()));

    let swapped = HEAD.replace("{key: server.key, cert: server.crt}", "{key: a.crt, cert: a.key}");
    assert_eq!(
        warnings(&self::loaded(&swapped)),
        ["line 2: tls.key: key and cert seem to be swapped"]
    );
}

#[test]
fn a_kubernetes_token_that_is_none_is_warned_of() {
    let file = |jwt: &str| {
        vault_file(&format!("    endpoint: https://v\n    kubernetes: {{role: r, jwt: {jwt}}}\n"))
    };
    let told = |jwt: &str| warnings(&loaded(&file(jwt)));
    assert_eq!(
        told("jwt"),
        ["line 6: keystore.vault.kubernetes.jwt: has no '/', so it is taken as the token itself; \
             write a file as './jwt'"]
    );
    assert!(told("./jwt").is_empty() && told("a.b.c").is_empty() && told("'${MARKED}'").is_empty());
}

#[test]
fn a_second_document_is_told() {
    let text = format!("{HEAD}---\npolicy: {{a: {{}}}}\n");
    let loaded = loaded(&text);
    assert_eq!(loaded.config.policies.policies().len(), 0);
    assert_eq!(
        warnings(&loaded),
        ["line 5: a second document begins here; it is ignored, with all that follows"]
    );
    assert!(refused(&format!("---\n---\n{HEAD}")).starts_with("line 2: the first document of"));
}

#[test]
fn the_most_specific_limit_counts() {
    const TWOS: &str = "2222222222222222222222222222222222222222222222222222222222222222";
    let policies = with(&format!(
        "limits: {{requests_per_second: 100, requests_at_once: 10}}
policy:
  a:
    allow: [/v1/status]
    identities: [{ONES}, {TWOS}]
    limits:
      requests_at_once: Unlimited
      store_calls_per_second: '1000000'
      overrides:
      - identities: [\"${{ONES}}\"]
        requests_per_second: 1
        store_calls_per_second: unlimited
"
    ))
    .config
    .policies;
    let limits = |identity: &str| {
        let limits = policies.limits_of(&identity.parse().unwrap())?;
        let per_second = [limits.requests_per_second, limits.store_calls_per_second];
        Some((limits.requests_at_once, per_second.map(|limit| limit.map(|limit| limit.get()))))
    };
    assert_eq!(limits(ONES), Some((None, [Some(1), None])));
    assert_eq!(limits(TWOS), Some((None, [Some(100), Some(1_000_000)])));
    assert_eq!(limits(ADMIN), None);
    let limits = policies.limits_of_policy(policies.policy("a").unwrap()).unwrap();
    assert_eq!(limits.requests_per_second.unwrap().get(), 100);
    assert_eq!(with("limits:\npolicy: {a: {limits: }}").config.policies.limited().len(), 0);
}
