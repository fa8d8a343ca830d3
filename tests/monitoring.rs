//! What `deploy/` has for Prometheus and Grafana, checked by a real Prometheus that reads the metrics
//! of a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kes_testkit::faulty::{Faulty, Reply};
use kes_testkit::wait::{eventually, eventually_async};
use kes_testkit::{Authority, Prometheus, SelfSigned, promtool};
use rustix::process::Signal;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::harness::{
    self, Client, Config, Credentials, Exposition, Protocol, Server, Who, slow_generate,
    tls_config, tls_connect,
};

/// What an expression of PromQL refers to.
mod expression;

use expression::Reference;

const PATIENCE: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The trace of the slow request.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The lines of a YAML file that give a field, without the field.
fn fields(path: &str, field: &str) -> Vec<String> {
    let text = fs::read_to_string(file(path)).unwrap();
    let start = format!("{field}: ");
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    lines.filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

#[test]
fn each_alert_fires_when_it_should_and_has_a_section_in_the_documentation() {
    let rules = file("deploy/prometheus/kes.rules.yml");
    let (is_good, said) = promtool(&["check", "rules", rules.to_str().unwrap()], "");
    assert!(is_good && said.contains("rules found"), "{said}");
    let tests = file("deploy/prometheus/kes.rules.test.yml");
    let (is_good, said) = promtool(&["test", "rules", tests.to_str().unwrap()], "");
    assert!(is_good && said.contains("SUCCESS"), "{said}");

    let alerts = fields("deploy/prometheus/kes.rules.yml", "alert");
    let tested = fields("deploy/prometheus/kes.rules.test.yml", "alertname");
    let text = fs::read_to_string(file("docs/alerts.md")).unwrap();
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, sections);
    let runbooks = fields("deploy/prometheus/kes.rules.yml", "runbook_url");
    for (alert, runbook) in alerts.iter().zip(&runbooks) {
        assert_eq!(*runbook, format!("docs/alerts.md#{}", alert.to_lowercase()));
        // Once where it fires, and once where all is well.
        assert_eq!(tested.iter().filter(|tested| *tested == alert).count(), 2, "{alert}");
    }
    assert_eq!((alerts.len(), tested.len()), (runbooks.len(), 2 * alerts.len()));
    for section in text.split("\n## ").skip(1) {
        for part in ["Severity `", "**Meaning**: ", "**Cause**: ", "**Mend**: "] {
            assert!(section.contains(part), "no {part} in {section}");
        }
    }
}

/// The expressions of the dashboard as Grafana sends them.
fn dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(expression)) = fields.get("expr") {
                    found.push(expression.clone());
                }
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(file("deploy/grafana/kes.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    collect(&dashboard["panels"], &mut found);
    let replaced = [("$job", "kes"), ("$instance", ".*"), ("$__rate_interval", "5m")];
    for expression in &mut found {
        for (variable, value) in replaced {
            *expression = expression.replace(variable, value);
        }
        assert!(!expression.contains('$'), "{expression}");
    }
    let mut ids: Vec<_> = dashboard["panels"].as_array().unwrap().iter().collect();
    let count = ids.len();
    ids.dedup_by_key(|panel| &panel["id"]);
    assert_eq!(ids.len(), count, "panels with the same ID");
    found
}

/// A Vault in little, to which the server logs in. It has no keys.
fn vault() -> Faulty {
    Faulty::start(|request| match request.path() {
        "/v1/sys/health" => Reply::healthy(),
        "/v1/auth/approle/login" => Reply::login("t", 1000),
        _ => Reply::json(404, json!({ "errors": [] })),
    })
}

/// Where the server's operations listener is.
fn operations(server: &Server) -> String {
    let mut address = None;
    eventually(PATIENCE, "the message tells where", || {
        let printed = server.stdout();
        let line = printed.lines().find_map(|line| line.strip_prefix("Operations "));
        address = line.and_then(|line| line.trim().strip_prefix("http://")).map(str::to_owned);
        address.is_some()
    });
    address.unwrap()
}

/// A server that has all metrics: keys in a Vault with certificates, an audit file, a reload, and a
/// client whose certificate expires soon.
async fn busy_server(vault: &Faulty, authority: &Authority, soon: &Credentials) -> Server {
    let (ca, own) = (authority.certificate().display(), authority.client("kes"));
    let (key, certificate) = (own.key.display(), own.certificate.display());
    let keystore = format!(
        "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: s }}, \
         tls: {{ ca: '{ca}', key: '{key}', cert: '{certificate}' }} }} }}",
        vault.url()
    );
    let policies = format!(
        "\n  minio:\n    allow: [/v1/key/generate/*]\n    identities: [\"${{MINIO}}\"]\n  \
         soon:\n    allow: [/version]\n    identities: [\"{}\"]",
        soon.identity
    );
    let config = Config::usual()
        .with("keystore", &keystore)
        .with("policy", &policies)
        .with("operations", "{ address: '127.0.0.1:0' }");
    let server = Server::with(&config);
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    let tls = tls_config(&server.tls.certificate, Some(soon), Protocol::H2);
    let tls = tls_connect(&server.address, tls).await.unwrap();
    let mut client = Client::over(tls, Protocol::H2, &server.address).await.unwrap();
    assert_eq!(client.send("GET", "/version", "").await.status, 200);
    let mut minio = server.client(Who::Minio, Protocol::H2).await;
    assert_eq!(minio.send("GET", "/v1/key/list/*", "").await.status, 403);
    server.signal(Signal::HUP);
    let trace = format!("00-{TRACE}-b7ad6b7169203331-01");
    assert_eq!(slow_generate(&server, &admin, Who::Minio, &trace).await, 404);
    assert_eq!(admin.send("GET", "/v1/key/list/*", "").await.status, 200);
    eventually_async(PATIENCE, "the login and the reload are counted", || {
        let mut admin = admin.share();
        async move {
            let metrics = Exposition::of(&mut admin).await;
            metrics.value(r#"kes_keystore_logins{result="success"}"#) > 0.0
                && metrics.kind("kes_config_reloads").is_some()
        }
    })
    .await;
    server
}

#[test]
fn a_real_prometheus_reads_all_that_dashboard_and_rules_name() {
    harness::run(async {
        let (vault, authority) = (vault(), Authority::new());
        let now = OffsetDateTime::now_utc();
        let soon =
            SelfSigned::builder(&["soon"]).valid((now - DAY * 90).into(), (now + DAY * 9).into());
        let soon = Credentials::of(soon.make());
        let server = busy_server(&vault, &authority, &soon).await;

        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let plain = [("accept", "text/plain;version=0.0.4")];
        let text = admin.try_send("GET", "/v1/metrics", &plain, "".into()).await.unwrap();
        lint(std::str::from_utf8(&text.body).unwrap());

        let prometheus = Prometheus::start(&format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n- job_name: kes\n  static_configs: [{{ targets: ['{}'] }}]\n",
            file("deploy/prometheus/kes.rules.yml").canonicalize().unwrap().display(),
            operations(&server)
        ));
        eventually(PATIENCE, "Prometheus has read the metrics", || {
            let targets = prometheus.ask("targets", &[]).unwrap();
            let target = &targets["activeTargets"][0];
            assert!(target.is_null() || target["lastError"] == "", "{targets}");
            prometheus.query("kes_system_up_time").unwrap().len() == 1
        });
        // It has read OpenMetrics.
        let known = prometheus.ask("targets/metadata", &[("metric", "kes_cache_hits")]).unwrap();
        assert_eq!(known[0]["type"], "unknown", "{known}");

        let mut rules = Value::Null;
        eventually(PATIENCE, "all rules were evaluated", || {
            rules = prometheus.ask("rules", &[]).unwrap()["groups"][0]["rules"].clone();
            rules.as_array().unwrap().iter().all(|rule| rule["health"] != "unknown")
        });
        let rules = rules.as_array().unwrap();
        let mut expressions = dashboard();
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            let expression = rule["query"].as_str().unwrap();
            // All is well, apart from that certificate.
            let is_due = rule["name"] == "KesClientCertificateExpires";
            let due = prometheus.query(expression).unwrap();
            assert_eq!(due.len(), usize::from(is_due), "{rule}: {due:?}");
            expressions.push(expression.to_owned());
        }
        assert!(rules.len() > 20 && expressions.len() > rules.len() + 40, "{}", expressions.len());
        check(&prometheus, &expressions);

        let identity = prometheus.query("kes_tls_client_certificate_expiry").unwrap();
        assert_eq!(identity.len(), 1, "only the certificate that expires soon: {identity:?}");
        assert_eq!(identity[0]["metric"]["identity"], soon.identity.as_str());

        let slow = "kes_api_response_time_bucket";
        let range =
            [("query", slow), ("start", "2000-01-01T00:00:00Z"), ("end", "2100-01-01T00:00:00Z")];
        let exemplars = prometheus.ask("query_exemplars", &range).unwrap();
        let of_buckets = exemplars.as_array().unwrap();
        assert_eq!(of_buckets.len(), 1, "{exemplars}");
        assert_eq!(of_buckets[0]["exemplars"][0]["labels"], json!({ "trace_id": TRACE }));
        assert_eq!(of_buckets[0]["seriesLabels"]["api"], "/v1/key/generate/");
    });
}

/// Has `promtool` read the text. What it advises of names cannot be followed: the names of the
/// reference are as they are.
fn lint(text: &str) {
    let (_, said) = promtool(&["check", "metrics"], text);
    let advice =
        ["counter metrics should have \"_total\" suffix", "non-counter metrics should not have"];
    let is_of_names = |line: &str| advice.iter().any(|advice| line.contains(advice));
    let other: Vec<_> = said.lines().filter(|line| !is_of_names(line)).collect();
    assert_eq!(other, [""; 0]);
    assert!(said.contains("kes_cache_hits"), "it has read the text: {said}");
}

/// Every expression can be evaluated, and each metric and label in it is there.
fn check(prometheus: &Prometheus, expressions: &[String]) {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for expression in expressions {
        prometheus.query(expression).unwrap_or_else(|error| panic!("{error}"));
        for Reference { metric, labels } in expression::references(expression) {
            metrics.entry(metric).or_default().extend(labels);
        }
    }
    // Nothing was overlooked.
    for name in ["up", "kes_tls_client_certificate_expiry", "kes_api_response_time_bucket"] {
        assert!(metrics.contains_key(name), "{name}: {metrics:?}");
    }
    for (metric, labels) in metrics {
        let series = prometheus.query(&metric).unwrap();
        // A status that has not occurred has no series, and its metric has another one.
        assert!(!series.is_empty(), "the server has no {metric}");
        for label in labels {
            let has_it = |one: &Value| one["metric"].get(&label).is_some();
            assert!(series.iter().all(has_it), "{metric} has no label {label}: {series:?}");
        }
    }
}
