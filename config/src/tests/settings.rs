use std::collections::BTreeSet;

use super::*;

const FS: &str =
    "admin: {identity: 7e1c8a3d0b5f4e6a9c2d1f0e3b4a5968778695a4b3c2d1e0f9e8d7c6b5a49382}
tls: {key: a.key, cert: a.crt}
keystore: {fs: {path: keys}}
";

/// The changes from one file to another, as lines.
fn changes(before: &str, now: &str) -> Vec<String> {
    let [before, now] = [before, now].map(|text| Settings::of(&loaded(text).config));
    let changes = now.changes_since(&before).into_iter();
    changes.map(|change| format!("{} {}", change.field, change.text)).collect()
}

/// Replaces sections of a file, or adds them.
fn replaced(file: &str, section: &str) -> String {
    let name = section.split(':').next().unwrap();
    let others = file.lines().filter(|line| !line.starts_with(&format!("{name}:")));
    others.chain([section]).map(|line| format!("{line}\n")).collect()
}

fn vault(fields: &str) -> String {
    format!("keystore: {{vault: {{{fields}}}}}")
}

const APPROLE: &str = "endpoint: 'http://a', approle: {id: i1, secret: s1}";
const KUBERNETES: &str = "endpoint: 'http://a', kubernetes: {role: r1, jwt: j1}";

#[test]
fn every_field_that_changes_is_told() {
    let mut told = BTreeSet::from(["version"]);
    let mut case = |field: &'static str, before: &str, now: &str, text: &str| {
        let before = replaced(FS, before);
        assert_eq!(changes(&before, &before), [""; 0], "{before}");
        assert_eq!(changes(&before, &replaced(FS, now)), [text], "{field}: {before} to {now}");
        told.insert(field);
    };
    case("address", "address: ':1'", "address: ':2'", "address changed from :1 to :2");
    case(
        "proxy_protocol.from",
        "proxy_protocol: {from: [10.0.0.7, 10.1.0.0/16]}",
        "proxy_protocol: {from: [10.1.0.0/16]}",
        "proxy_protocol.from 1 removed (10.0.0.7)",
    );
    case(
        "operations.address",
        "operations: {address: '127.0.0.1:1'}",
        "operations: {address: 'unix:/a b'}",
        "operations.address changed from 127.0.0.1:1 to 'unix:/a b'",
    );
    case(
        "operations.tls",
        "operations: {address: '127.0.0.1:1'}",
        "operations: {address: '127.0.0.1:1', tls: on}",
        "operations.tls changed from false to true",
    );
    for field in ["operations.page", "operations.details"] {
        let name = field.split_once('.').unwrap().1;
        case(
            field,
            "operations: {address: '127.0.0.1:1'}",
            &format!("operations: {{address: '127.0.0.1:1', {name}: on}}"),
            &format!("{field} changed from false to true"),
        );
    }
    case(
        "admin.identity",
        &format!("admin: {{identity: {ONES}}}"),
        "admin: {identity: _}",
        &format!("admin.identity no longer set; it was {ONES}"),
    );
    for (field, before, now, text) in [
        (
            "tls.key",
            "key: b.key, cert: a.crt",
            "key: c.key, cert: a.crt",
            "changed from b.key to c.key",
        ),
        (
            "tls.cert",
            "key: a.key, cert: b.crt",
            "key: a.key, cert: c.crt",
            "changed from b.crt to c.crt",
        ),
        (
            "tls.password",
            "key: a, cert: a, password: s3cret1",
            "key: a, cert: a, password: s3cret2",
            "changed",
        ),
        ("tls.password", "key: a, cert: a, password: s3cret1", "key: a, cert: a", "no longer set"),
        ("tls.password_file", "key: a, cert: a", "key: a, cert: a, password_file: p", "set to p"),
        ("tls.auth", "key: a, cert: a", "key: a, cert: a, auth: on", "changed from off to on"),
        ("tls.ca", "key: a, cert: a, ca: a", "key: a, cert: a, ca: b", "changed from a to b"),
        (
            "tls.proxy.header.cert",
            "key: a, cert: a",
            "key: a, cert: a, proxy: {header: {cert: X-C}}",
            "changed from X-Tls-Client-Cert to X-C",
        ),
    ] {
        let [before, now] = [before, now].map(|fields| format!("tls: {{{fields}}}"));
        case(field, &before, &now, &format!("{field} {text}"));
    }
    case(
        "tls.proxy.identities",
        "tls: {key: a, cert: a}",
        &format!("tls: {{key: a, cert: a, proxy: {{identities: [{ONES}]}}}}"),
        &format!("tls.proxy.identities 1 added ({ONES})"),
    );
    for (field, name) in [
        ("limits.requests_per_second", "requests_per_second"),
        ("limits.requests_at_once", "requests_at_once"),
        ("limits.store_calls_per_second", "store_calls_per_second"),
    ] {
        let of = |most| format!("limits: {{{name}: {most}}}");
        case(field, &of("1"), &of("unlimited"), &format!("{field} changed from 1 to unlimited"));
    }
    for (field, name) in [
        ("cache.expiry.any", "any"),
        ("cache.expiry.unused", "unused"),
        ("cache.expiry.offline", "offline"),
    ] {
        let of = |time| format!("cache: {{expiry: {{{name}: {time}}}}}");
        case(field, &of("1m"), &of("1.5s"), &format!("{field} changed from 60s to 1.5s"));
    }
    case(
        "api.*.skip_auth",
        "api: {/v1/ready: {skip_auth: false}}",
        "api: {/v1/ready: {skip_auth: true}}",
        "api./v1/ready.skip_auth changed from false to true",
    );
    case(
        "api.*.timeout",
        "api: {/v1/key/create/: {timeout: 5s}}",
        "api:",
        "api./v1/key/create/.timeout changed from 5s to 15s",
    );
    for (field, before, now, text) in [
        ("log.error", "error: on", "error: debug", "changed from INFO to DEBUG"),
        ("log.audit", "audit: off", "audit: on", "changed from OFF to INFO"),
        ("log.format", "format: text", "format: json", "changed from text to json"),
        (
            "log.audit_required",
            "audit_required: off",
            "audit_required: on",
            "changed from false to true",
        ),
    ] {
        let [before, now] = [before, now].map(|fields| format!("log: {{{fields}}}"));
        case(field, &before, &now, &format!("{field} {text}"));
    }
    for (field, before, now, text) in [
        ("log.audit_file.path", "", "path: b", "changed from a to b"),
        ("log.audit_file.key", "", "key: k", "set to k"),
        ("log.audit_file.max_size", "", "max_size: 1MiB", "changed from 104857600 to 1048576"),
        ("log.audit_file.max_age", "", "max_age: 1h", "changed from 86400s to 3600s"),
        ("log.audit_file.keep", "keep: 5", "keep: 0", "no longer set; it was 5"),
        ("log.audit_file.keep_for", "", "keep_for: 720h", "set to 2592000s"),
        ("log.audit_file.context", "context: on", "context: off", "changed from on to off"),
    ] {
        let [before, now] = [before, now].map(|fields| {
            let path = if fields.starts_with("path") { "" } else { "path: a, " };
            format!("log: {{audit_file: {{{path}{fields}}}}}")
        });
        case(field, &before, &now, &format!("{field} {text}"));
    }
    let snapshot = |fields: &str| format!("cache: {{snapshot: {{path: a, {fields}}}}}");
    let long = "s3cret1".repeat(5);
    for (field, before, now, text) in [
        ("cache.snapshot.key", "key: k", "key: j", "changed from k to j"),
        (
            "cache.snapshot.key_text",
            &*format!("key_text: {long}"),
            &*format!("key_text: {long}x"),
            "changed",
        ),
        ("cache.snapshot.max_age", "key: k", "key: k, max_age: 1h", "changed from 86400s to 3600s"),
    ] {
        case(field, &snapshot(before), &snapshot(now), &format!("{field} {text}"));
    }
    case(
        "cache.snapshot.path",
        &snapshot("key: k"),
        &snapshot("key: k").replace("path: a", "path: b"),
        "cache.snapshot.path changed from a to b",
    );
    let traces = |fields: &str| format!("traces: {{endpoint: 'http://[::1]:1'{fields}}}");
    for (field, now, text) in [
        ("traces.headers.*", ", headers: {X-K: s3cret1}", "traces.headers.x-k set"),
        ("traces.ca", ", ca: ca.crt", "traces.ca set to ca.crt"),
        ("traces.sample", ", sample: 0.01", "traces.sample changed from 1 to 0.01"),
    ] {
        case(field, &traces(""), &traces(now), text);
    }
    case(
        "traces.headers.*",
        &traces(", headers: {X-K: s3cret1}"),
        &traces(", headers: {x-k: s3cret2}"),
        "traces.headers.x-k changed",
    );
    case(
        "traces.endpoint",
        &traces(""),
        &traces("").replace(":1'", ":2'"),
        "traces.endpoint changed from http://[::1]:1/ to http://[::1]:2/",
    );
    case(
        "keys.*.name",
        "keys: [{name: a}, {name: b}]",
        "keys: [{name: b}, {name: c}, {name: d}]",
        "keys 2 added (c, d), 1 removed (a)",
    );
    case(
        "keys.*.fingerprint",
        "keys: [{name: a}]",
        "keys: [{name: a, fingerprint: 0123456789ABCDEF0123456789abcdef}]",
        "keys 1 added ('a = 0123456789abcdef0123456789abcdef'), 1 removed (a)",
    );
    let fs = |fields| format!("keystore: {{fs: {{{fields}}}}}");
    case(
        "keystore.fs.path",
        &fs("path: a"),
        &fs("path: b"),
        "keystore.fs.path changed from a to b",
    );
    let id = "0123456789abcdef0123456789abcdef";
    case(
        "keystore.fs.id",
        &fs("path: a"),
        &fs(&format!("path: a, id: {id}")),
        &format!("keystore.fs.id set to {id}"),
    );
    for (field, before, now, text) in [
        ("keystore.vault.engine", "", "engine: other", "changed"),
        ("keystore.vault.version", "", "version: v2", "changed from v1 to v2"),
        ("keystore.vault.namespace", "", "namespace: other", "changed"),
        ("keystore.vault.prefix", "", "prefix: other", "changed"),
        (
            "keystore.vault.transit.engine",
            "transit: {key: k}",
            "transit: {key: k, engine: e}",
            "changed",
        ),
        ("keystore.vault.transit.key", "transit: {key: k}", "transit: {key: l}", "changed"),
        ("keystore.vault.tls.server_name", "", "tls: {server_name: a}", "set"),
        ("keystore.vault.tls.ca", "", "tls: {ca: ca.crt}", "set to ca.crt"),
        (
            "keystore.vault.tls.key",
            "tls: {key: a, cert: b}",
            "tls: {key: c, cert: b}",
            "changed from a to c",
        ),
        (
            "keystore.vault.tls.cert",
            "tls: {key: a, cert: b}",
            "tls: {key: a, cert: c}",
            "changed from b to c",
        ),
        ("keystore.vault.status.ping", "", "status: {ping: 5s}", "changed from 15s to 5s"),
    ] {
        let [before, now] = [before, now].map(|fields| vault(&format!("{APPROLE}, {fields}")));
        case(field, &before, &now, &format!("{field} {text}"));
    }
    let [before, now] = ["http://u:s3cret1@p", "http://u:s3cret2@p"]
        .map(|proxy| vault(&format!("{APPROLE}, proxy: '{proxy}'")));
    case("keystore.vault.proxy", &before, &now, "keystore.vault.proxy of http://a changed");
    case(
        "keystore.vault.endpoint",
        &vault(APPROLE),
        &vault(&APPROLE.replace("'http://a'", "'http://b,http://a'")),
        "keystore.vault.endpoint 1 added (http://b/)",
    );
    for (field, from, to, text) in [
        ("keystore.vault.approle.engine", "id:", "engine: e, id:", "changed"),
        ("keystore.vault.approle.namespace", "id:", "namespace: e, id:", "changed"),
        ("keystore.vault.approle.id", "id: i1", "id: i2", "changed"),
        ("keystore.vault.approle.secret", "secret: s1", "secret: s2", "changed"),
    ] {
        let now = vault(&APPROLE.replace(from, to));
        case(field, &vault(APPROLE), &now, &format!("{field} {text}"));
    }
    let of_file = |file| vault(&APPROLE.replace("secret: s1", &format!("secret_file: {file}")));
    let field = "keystore.vault.approle.secret_file";
    case(field, &of_file("a"), &of_file("b"), &format!("{field} changed from a to b"));
    for (field, from, to, text) in [
        ("keystore.vault.kubernetes.engine", "role:", "engine: e, role:", "changed"),
        ("keystore.vault.kubernetes.namespace", "role:", "namespace: e, role:", "changed"),
        ("keystore.vault.kubernetes.role", "role: r1", "role: r2", "changed"),
        ("keystore.vault.kubernetes.jwt", "jwt: j1", "jwt: j2", "changed"),
    ] {
        let now = vault(&KUBERNETES.replace(from, to));
        case(field, &vault(KUBERNETES), &now, &format!("{field} {text}"));
    }
    let migration = |fields| format!("migration: {{{fields}}}");
    let to = "to: {fs: {path: a}}";
    for (field, now, text) in [
        ("migration.to", "to: {fs: {path: b}}", "migration.to.fs.path changed from a to b"),
        (
            "migration.read",
            "to: {fs: {path: a}}, read: new",
            "migration.read changed from old to new",
        ),
        (
            "migration.write",
            "to: {fs: {path: a}}, write: new",
            "migration.write changed from old to new",
        ),
        (
            "migration.compare",
            "to: {fs: {path: a}}, compare: on",
            "migration.compare changed from false to true",
        ),
    ] {
        case(field, &migration(to), &migration(now), text);
    }
    // Policies are compared elsewhere. What is not supported has no settings.
    let unsupported = ["fortanix", "gemalto", "gcp", "aws", "azure", "entrust"];
    let missing = fields::all().into_iter().filter(|field| {
        let is_unsupported = |kind| field.starts_with(&format!("keystore.{kind}."));
        !told.contains(field)
            && !field.starts_with("policy.")
            && !unsupported.into_iter().any(is_unsupported)
    });
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "no case for these fields");
}

#[test]
fn another_kind_of_key_store_is_told_without_secrets() {
    let secret = "s3cret-of-approle";
    let now = replaced(FS, &vault(&APPROLE.replace("s1", secret)));
    let lines = changes(FS, &now);
    assert!(lines.contains(&"keystore.fs.path no longer set; it was keys".to_owned()), "{lines:?}");
    assert!(lines.contains(&"keystore.vault.approle.secret set".to_owned()), "{lines:?}");
    let debugged = format!("{:?}", Settings::of(&loaded(&now).config));
    for text in [lines.join("\n"), changes(&now, FS).join("\n"), debugged] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn files_are_told_whose_contents_are_others() {
    let file =
        replaced(FS, &vault(&format!("{APPROLE}, tls: {{key: a.key, cert: 'a b', ca: ca}}")));
    let of = |contents: fn(&Path) -> Option<&'static str>| {
        let mut settings = Settings::of(&loaded(&file).config);
        settings.note_contents(|path| Some(vec![Zeroizing::new(contents(path)?.into())]));
        settings
    };
    let before = of(|path| (path != Path::new("ca")).then_some("1"));
    let now = of(|path| Some(if path == Path::new("a b") { "2" } else { "1" }));
    let changes = now.changes_since(&before);
    let field = "keystore.vault.tls.cert ('a b')".into();
    // That of a file which could not be read before is not known.
    assert_eq!(changes, [Change { field, text: "has other contents".to_owned() }]);
}

#[test]
fn what_came_from_a_variable_is_told_without_its_value() {
    for (before, now, line) in [
        (
            "tls: {key: a.key, cert: a.crt}",
            "tls: {key: a.key, cert: '${MARKED}'}",
            "tls.cert changed",
        ),
        (
            "tls: {key: a.key, cert: a.crt}",
            "tls: {key: a.key, cert: a.crt, ca: '${MARKED}'}",
            "tls.ca set",
        ),
        (
            "tls: {key: a.key, cert: a.crt}",
            "tls: {key: a.key, cert: a.crt, proxy: {header: {cert: '${MARKED}'}}}",
            "tls.proxy.header.cert changed",
        ),
        ("keys: [{name: a}]", "keys: [{name: a}, {name: '${MARKED}'}]", "keys changed"),
        ("address: ':1'", "address: '${CONTRACT_ADDRESS}'", "address changed"),
        (
            "api: {/v1/key/create: {skip_auth: no}}",
            "api: {/v1/key/create: {skip_auth: '${YES}'}}",
            "api./v1/key/create/.skip_auth changed",
        ),
        (
            "keystore: {fs: {path: keys}}",
            "keystore: {fs: {path: '${MARKED}'}}",
            "keystore.fs.path changed",
        ),
    ] {
        let [before, now] = [before, now].map(|section| replaced(FS, section));
        assert_eq!(changes(&before, &now), [line]);
        assert_eq!(changes(&now, &now), [""; 0]);
        let back = changes(&now, &before).join(" ");
        assert!(!back.contains("marked-value") && !back.contains("127.0.0.1"), "{back}");
    }
    let proxied = |endpoint| {
        let approle = APPROLE.replace("'http://a'", endpoint);
        replaced(FS, &vault(&format!("{approle}, proxy: 'http://p'")))
    };
    let told = changes(&proxied("'http://a'"), &proxied("'${HTTP}'")).join("\n");
    assert!(told.contains("keystore.vault.proxy of endpoint 1 set"), "{told}");
    assert!(
        told.contains("keystore.vault.endpoint changed") && !told.contains("//vault"),
        "{told}"
    );

    // Of a file whose path came from a variable, other contents are told without the path.
    let file = replaced(FS, &vault(&format!("{APPROLE}, tls: {{ca: '${{MARKED}}'}}")));
    let of = |contents: &'static str| {
        let mut settings = Settings::of(&loaded(&file).config);
        settings.note_contents(|_| Some(vec![Zeroizing::new(contents.into())]));
        settings
    };
    let changes = of("2").changes_since(&of("1"));
    let field = "keystore.vault.tls.ca (the file)".into();
    assert_eq!(changes, [Change { field, text: "has other contents".to_owned() }]);
}

/// Identities are no secrets.
#[test]
fn identities_of_variables_are_told() {
    let now = replaced(FS, "tls: {key: a.key, cert: a.crt, proxy: {identities: ['${ONES}']}}");
    let told = changes(FS, &now);
    assert!(told[0].starts_with("tls.proxy.identities 1 added ("), "{told:?}");
}

#[test]
fn the_values_of_variables_in_policies_are_known_by_their_names() {
    let text = replaced(FS, "policy: {p: {allow: ['${MARKED}', /v1/status]}}");
    let settings = Settings::of(&loaded(&text).config);
    let name = |value| settings.variables().name_of(value);
    assert_eq!([name("marked-value"), name("/v1/status")], [Some("MARKED"), None]);
    assert!(!format!("{settings:?}").contains("marked-value"));
}

/// A path is a secret here: a damaged token is taken for one.
#[test]
fn the_token_of_kubernetes_is_never_told() {
    let of = |jwt: &str| replaced(FS, &vault(&KUBERNETES.replace("j1", jwt)));
    for (before, now) in [("/run/s3cret", "/run/s3cret2"), ("j1", "./s3cret")] {
        let told = changes(&of(before), &of(now));
        assert_eq!(told, ["keystore.vault.kubernetes.jwt changed"]);
    }
    let damaged = refused(&of("eyJhbGciOiJSUzI1NiJ9.s3cret/abc.def"));
    assert!(damaged.contains("keystore.vault.kubernetes.jwt: looks like a token"), "{damaged}");
    assert!(!damaged.contains("s3cret"), "{damaged}");
    loaded(&of("./eyJ/token"));
}
