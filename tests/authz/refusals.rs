use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{self, Client, Config, Exposition, Protocol, Server, Who};

/// Allows little to `Who::Minio`, and nothing to `Who::Other`.
const POLICY: &str = "
  minio:
    allow: [/v1/key/create/*, /v1/key/decrypt/*]
    deny: [/v1/key/decrypt/secret-*]
    identities: [\"${MINIO}\"]
  'odd: name':
    allow: [/version]";

/// Has requests refused.
async fn ask(server: &Server) {
    let mut minio = server.client(Who::Minio, Protocol::H2).await;
    let mut other = server.client(Who::Other, Protocol::H1).await;
    for _ in 0..3 {
        assert_eq!(minio.send("GET", "/v1/key/describe/my-key", "").await.status, 403);
        assert_eq!(minio.send("PUT", "/v1/key/decrypt/secret-1", "").await.status, 403);
        assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
    }
    for (method, path, status) in [
        ("GET", "/v1/key/describe/other", 403),
        ("POST", "/v1/key/generate/my-key", 403),
        // Refused for another reason, or served.
        ("PUT", "/v1/key/describe/my-key", 405),
        ("GET", "/v1/key/describe/my.key", 403),
        ("GET", "/nowhere", 404),
        ("PUT", "/v1/key/create/my-key", 200),
    ] {
        assert_eq!(minio.send(method, path, "").await.status, status, "{path}");
    }
}

async fn told(admin: &mut Client) -> Vec<Value> {
    let answer = admin.send("GET", "/v1/log/refusals", "").await.json();
    assert_eq!(answer["forgotten"], 0);
    assert!(kes_api::Timestamp::parse(answer["since"].as_str().unwrap()).is_ok());
    answer["refusals"].as_array().unwrap().clone()
}

#[test]
fn the_admin_is_told_what_was_refused_and_is_refused_still() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", POLICY));
        ask(&server).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let mut refusals = told(&mut admin).await;
        for one in &mut refusals {
            let fields = one.as_object_mut().unwrap();
            let times = ["first", "last"].map(|name| fields.remove(name).unwrap());
            assert!(times[0].as_str() <= times[1].as_str(), "{times:?}");
        }
        let (minio, other) = (&server.minio.identity, &server.other.identity);
        let mut expected = vec![
            json!({ "identity": minio, "policy": "minio", "method": "PUT", "count": 3,
                "path": "/v1/key/decrypt/secret-1", "denied_by": "/v1/key/decrypt/secret-*" }),
            json!({ "identity": minio, "policy": "minio", "method": "GET", "count": 3,
                "path": "/v1/key/describe/my-key" }),
            json!({ "identity": minio, "policy": "minio", "method": "GET", "count": 1,
                "path": "/v1/key/describe/other" }),
            json!({ "identity": minio, "policy": "minio", "method": "PUT", "count": 1,
                "path": "/v1/key/generate/my-key" }),
        ];
        let stranger =
            json!({ "identity": other, "method": "GET", "path": "/v1/status", "count": 3 });
        let at = if minio < other { expected.len() } else { 0 };
        expected.insert(at, stranger);
        assert_eq!(refusals, expected);

        // Nobody else is told, and a reload that allows something ends its story.
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/v1/log/refusals", "").await.status, 403);
        let wider = POLICY.replace("/v1/key/create/*", "/v1/key/describe/*, /v1/key/generate/*");
        server.reload_and_wait(&Config::usual().with("policy", &wider));
        let refusals = told(&mut admin).await;
        let paths: Vec<_> = refusals.iter().map(|one| one["path"].as_str().unwrap()).collect();
        assert!(!paths.iter().any(|path| path.contains("describe") || path.contains("generate")));
        assert!(paths.contains(&"/v1/key/decrypt/secret-1"), "{paths:?}");
    });
}

#[test]
fn nobody_is_told_of_a_policy_that_it_may_not_read() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", POLICY));
        ask(&server).await;
        for (allow, readable) in [
            ("/v1/log/refusals, /v1/policy/read/watcher", "watcher"),
            ("/v1/log/*, /v1/policy/read/min*", "minio"),
        ] {
            let watcher = format!(
                "{POLICY}\n  watcher: {{ allow: [{allow}], identities: [\"${{OTHER}}\"] }}"
            );
            server.reload_and_wait(&Config::usual().with("policy", &watcher));
            let mut other = server.client(Who::Other, Protocol::H2).await;
            let refusals = told(&mut other).await;
            // What the client itself was refused as a stranger counts for its policy now.
            let is_readable = refusals.iter().all(|one| one["policy"] == readable);
            assert!(is_readable && !refusals.is_empty(), "{allow}: {refusals:?}");
        }
        // A deny of the audit log is one of this as well.
        let watcher = format!(
            "{POLICY}\n  watcher: {{ allow: [/v1/*], deny: [/v1/log/audit], \
             identities: [\"${{OTHER}}\"] }}"
        );
        server.reload_and_wait(&Config::usual().with("policy", &watcher));
        let mut other = server.client(Who::Other, Protocol::H2).await;
        assert_eq!(other.send("GET", "/v1/log/refusals", "").await.status, 403);
    });
}

#[test]
fn refusals_are_counted_by_api_and_policy() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", POLICY));
        ask(&server).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let value = |api: &str, policy: &str| {
            format!("kes_policy_refusals{{api=\"{api}\",policy=\"{policy}\"}}")
        };
        let before = Exposition::of(&mut admin).await;
        for (api, policy, count) in [
            ("/v1/key/describe/", "minio", 5.0),
            ("/v1/key/decrypt/", "minio", 3.0),
            ("/v1/key/generate/", "minio", 1.0),
            ("/v1/status", "<none>", 3.0),
        ] {
            assert_eq!(before.value(&value(api, policy)), count, "{api}");
        }
        // A reload keeps the count of a policy that stays, and drops one that goes.
        let other = POLICY.replace("  minio:", "  tenant:");
        server.reload_and_wait(&Config::usual().with("policy", &other));
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/v1/status", "").await.status, 403);
        let text = String::from_utf8(admin.send("GET", "/v1/metrics?all", "").await.body.to_vec())
            .unwrap();
        assert!(!text.contains("policy=\"minio\""), "{text}");
        for (api, policy, count) in [("/v1/status", "<none>", 3), ("/v1/status", "tenant", 1)] {
            assert!(text.contains(&format!("{} {count}\n", value(api, policy))), "{text}");
        }
        // MinIO's SDK cannot read labels.
        let sdk =
            String::from_utf8(admin.send("GET", "/v1/metrics", "").await.body.to_vec()).unwrap();
        assert!(!sdk.contains("kes_policy_refusals"), "{sdk}");
    });
}

/// `kes policy suggest` of the admin.
fn suggest(server: &Server, args: &[&str]) -> String {
    let mut command: Command =
        server.command(Who::Admin, &[&["policy", "suggest", "-k"], args].concat());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_suggested_allows_what_was_refused_and_no_more() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", POLICY));
        assert!(suggest(&server, &[]).contains("\n# Nothing.\n"));
        ask(&server).await;

        let text = suggest(&server, &[]);
        let plain: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let patterns: Vec<_> =
            plain[3..].iter().map(|line| line.split("  #").next().unwrap().trim_end()).collect();
        assert_eq!(plain[..3], ["policy:", "  minio:", "    allow:"], "{text}");
        assert_eq!(
            patterns,
            [
                "    - /v1/key/describe/my-key",
                "    - /v1/key/describe/other",
                "    - /v1/key/generate/my-key"
            ],
            "{text}"
        );
        // Neither what is denied on purpose nor strangers are let in by what is printed.
        let denied = "# - /v1/key/decrypt/secret-1 in policy 'minio' by '/v1/key/decrypt/secret-*'";
        assert!(text.contains(denied), "{text}");
        let stranger = format!("#    identities:\n#    - {}\n", server.other.identity);
        assert!(
            text.contains(&stranger) && text.contains("#    - /v1/status  # 3 times"),
            "{text}"
        );

        // What is printed is what the policy lacks.
        let added = patterns.iter().map(|line| line.trim_start_matches([' ', '-']));
        let added = added.collect::<Vec<_>>().join(", ");
        let wider =
            POLICY.replace("allow: [/v1/key/create", &format!("allow: [{added}, /v1/key/create"));
        server.reload_and_wait(&Config::usual().with("policy", &wider));
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for (method, path, status) in [
            ("GET", "/v1/key/describe/my-key", 200),
            ("PUT", "/v1/key/generate/my-key", 200),
            ("GET", "/v1/key/describe/other", 404),
            ("GET", "/v1/key/describe/another", 403),
            ("PUT", "/v1/key/decrypt/secret-1", 403),
        ] {
            assert_eq!(minio.send(method, path, "").await.status, status, "{path}");
        }
        let text = suggest(&server, &["--prefix", "an", "--prefix", "secret-"]);
        let plain: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(plain.len(), 4, "{text}");
        assert!(plain[3].starts_with("    - /v1/key/describe/an*  # once, last "), "{text}");
    });
}
