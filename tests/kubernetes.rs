//! The Helm chart of `deploy/helm/kes` and the manifests of `deploy/kubernetes`: the real Helm renders
//! what is recorded, the schemas of Kubernetes accept it, and the real server starts with the
//! configuration in it. `KES_RECORD=1` records anew.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Authority, Bao, Process, kubernetes, manifests, wait};
use rustix::process::Signal;
use serde_json::Value;

use self::pod::{Pod, Secrets};
use crate::harness::program;

mod pod;
mod rollout;

/// Starts, stops and probes take less on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const CHART: &str = "deploy/helm/kes";

/// Values that the repository shows, and what the chart makes of them.
const SHOWN: [(&str, &str); 3] = [
    ("deploy/helm/kes/examples/approle.yaml", "tests/data/helm/approle.yaml"),
    ("deploy/helm/kes/examples/kubernetes.yaml", "tests/data/helm/kubernetes.yaml"),
    ("deploy/kubernetes/values.yaml", "deploy/kubernetes/kes.yaml"),
];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the chart renders for a release, or what Helm says against it.
pub(crate) fn render(values: &[&str], set: &[&str]) -> Result<String, String> {
    let mut arguments = vec!["template", "myminio-kes", CHART, "--namespace", "minio"];
    arguments.extend(values.iter().flat_map(|file| ["--values", file]));
    arguments.extend(set.iter().flat_map(|value| ["--set-string", value]));
    let output = manifests::helm(root(), &arguments);
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The documents of a file of YAML, checked against the schemas of Kubernetes or of compose files.
pub(crate) fn documents(kind: &str, text: &str) -> Vec<Value> {
    let mut python = Command::new("python3")
        .arg(root().join("tests/kubernetes/manifests.py"))
        .arg(manifests::schemas())
        .arg(kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one document of a kind, with a name if there are several.
pub(crate) fn only<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it =
        |one: &&Value| one["kind"] == kind && (name.is_empty() || one["metadata"]["name"] == name);
    let mut found = documents.iter().filter(is_it);
    let document = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "several {kind} {name}");
    document
}

#[test]
fn nothing_is_wrong_with_the_chart() {
    for (values, _) in SHOWN {
        let output = manifests::helm(root(), &["lint", "--strict", CHART, "--values", values]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("[WARN"), "{values}: {said}");
    }
    let chart = fs::read_to_string(root().join(CHART).join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("\nappVersion: {version}\n")), "the version is {version}");
}

#[test]
fn it_renders_what_is_recorded() {
    for (values, recorded) in SHOWN {
        let rendered = render(&[values], &[]).unwrap();
        let file = root().join(recorded);
        if std::env::var_os("KES_RECORD").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &rendered).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            rendered == expected,
            "{recorded} is not what the chart makes of {values}; if the change is meant: \
             KES_RECORD=1 cargo test --test tests kubernetes\n{rendered}"
        );
    }
}

#[test]
fn kubernetes_would_take_it() {
    let text = |recorded| fs::read_to_string(root().join(recorded)).unwrap();
    for (values, recorded) in SHOWN {
        let documents = documents("kubernetes", &text(recorded));
        let deployment = only(&documents, "Deployment", "myminio-kes");
        assert!(deployment["spec"]["replicas"].as_u64() >= Some(2), "{values}");
        // As MinIO's operator names it, for the tenant `myminio`.
        let headless = only(&documents, "Service", "myminio-kes-hl-svc");
        assert_eq!(headless["spec"]["clusterIP"], "None");
        assert_eq!(headless["spec"]["ports"][0]["name"], "http-kes");
        assert_eq!(headless["spec"]["ports"][0]["port"], 7373);
        only(&documents, "PodDisruptionBudget", "");
        only(&documents, "NetworkPolicy", "");
        only(&documents, "ServiceAccount", "");
        // What selects pods selects those of the deployment.
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let selectors = [
            &headless["spec"]["selector"],
            &deployment["spec"]["selector"]["matchLabels"],
            &only(&documents, "PodDisruptionBudget", "")["spec"]["selector"]["matchLabels"],
            &only(&documents, "NetworkPolicy", "")["spec"]["podSelector"]["matchLabels"],
        ];
        for selector in selectors {
            for (label, value) in selector.as_object().unwrap() {
                assert_eq!(&labels[label], value, "{values}: {label}");
            }
        }
    }
    let full = documents("kubernetes", &text("tests/data/helm/kubernetes.yaml"));
    let endpoint = &only(&full, "ServiceMonitor", "")["spec"]["endpoints"][0];
    assert_eq!(endpoint["relabelings"][0]["targetLabel"], "job");
    assert_eq!(endpoint["relabelings"][0]["replacement"], "kes");
    let certificate = only(&full, "Certificate", "");
    let names = certificate["spec"]["dnsNames"].as_array().unwrap();
    let monitored = only(&full, "ServiceMonitor", "")["spec"]["endpoints"][0]["tlsConfig"].clone();
    assert!(names.contains(&monitored["serverName"]), "{monitored}");
    assert!(names.contains(&Value::from("myminio-kes-hl-svc.minio.svc.cluster.local")));
}

/// The rule of the chart has the alerts of `deploy/prometheus`, each with a runbook at the address that is
/// set.
#[test]
fn the_chart_brings_the_alerts() {
    let rules = fs::read_to_string(root().join("deploy/prometheus/kes.rules.yml")).unwrap();
    let copy = fs::read_to_string(root().join(CHART).join("files/kes.rules.yml")).unwrap();
    assert!(rules == copy, "copy deploy/prometheus/kes.rules.yml to {CHART}/files");
    let rendered = render(&["deploy/helm/kes/examples/kubernetes.yaml"], &[]).unwrap();
    let documents = documents("kubernetes", &rendered);
    let there = "https://docs.example.net/kes/";
    let expected = self::documents(
        "other",
        &rules.replace("runbook_url: docs/", &format!("runbook_url: {there}")),
    );
    let spec = &only(&documents, "PrometheusRule", "")["spec"];
    assert_eq!(*spec, expected[0]);
    assert!(spec.to_string().contains(&format!("{there}alerts.md#kesdown")), "{spec}");
}

#[test]
fn bad_values_are_refused_with_a_sentence() {
    let approle = "deploy/helm/kes/examples/approle.yaml";
    for (set, told) in [
        ("vault.endpoint=", "set vault.endpoint to the URL"),
        ("vault.endpoint=vault.example.net", "does not match pattern"),
        ("vault.endpoint=https://a\\,http://b", "has http://b, where keys and logins"),
        ("vault.endpoint=https://a:${PORT}", "set networkPolicy.vaultPort"),
        ("vault.appRole.existingSecret=", "one of the two logs in to Vault"),
        ("vault.kubernetes.role=kes", "not both"),
        ("vault.version=2", "value must be one of"),
        ("tls.existingSecret=", "set tls.existingSecret"),
        ("replica=3", "'replica' not allowed"),
        ("admin.identity=me", "does not match pattern"),
        ("policy=null", "/policy'"),
        ("policy.minio.identities=null", "/policy/minio/identities'"),
        ("policy.minio.identities[0]=abc", "does not match pattern"),
        ("policy.minio.limits.requests_at_once=0", "/policy/minio/limits/requests_at_once"),
        ("policy.minio.allow[0]=v1/status", "does not match pattern"),
        ("limits.requests_per_second=0", "/limits/requests_per_second"),
        ("cache.expiry.any=5", "/cache/expiry/any"),
        ("cache.expire=5m", "'expire' not allowed"),
        ("log.error=verbose", "/log/error"),
        ("log.format=xml", "value must be one of"),
        ("prometheusRule.runbooks=a b", "/prometheusRule/runbooks"),
        ("keys[0].name=a b", "/keys/0/name"),
        ("vault.prefix=../x", "/vault/prefix"),
        ("vault.endpoint=https://vault:99999", "does not match pattern"),
    ] {
        let error = render(&[approle], &[set]).expect_err(set);
        assert!(error.contains(told), "{set}: {error}");
    }
}

/// Each switch and each field that the shown values leave out.
#[test]
fn kubernetes_would_take_other_values_as_well() {
    let approle = "deploy/helm/kes/examples/approle.yaml";
    let other = tempfile::NamedTempFile::new().unwrap();
    let file = other.path().to_str().unwrap();
    let mut rendered = String::new();
    for values in [
        "{ replicas: 1, preStopSeconds: 0, operations: { enabled: false } }",
        "{ serviceMonitor: { enabled: true }, prometheusRule: { enabled: true, labels: { release: prometheus } } }",
        "{ networkPolicy: { enabled: false }, podDisruptionBudget: { enabled: false },
           serviceAccount: { create: false, name: other }, topologyKeys: [] }",
        "{ imagePullSecrets: [{ name: a }], tolerations: [{ key: a, operator: Exists }],
           nodeSelector: { a: b }, priorityClassName: high, service: { annotations: { a: b } },
           podAnnotations: { a: b }, podLabels: { v1.min.io/kes: myminio },
           affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution:
             { nodeSelectorTerms: [{ matchExpressions: [{ key: a, operator: Exists }] }] } } } }",
        "{ extraEnv: [{ name: ADMIN, value: '0' }], admin: { identity: '${ADMIN}' },
           keys: [{ name: my-key }], limits: { requests_per_second: 5, requests_at_once: unlimited },
           cache: { expiry: { any: 1.5h, offline: '${OFFLINE}' } }, log: { error: INFO+1, audit: 'off' },
           vault: { prefix: 'a: b #c', namespace: team, endpoint: 'https://a:8200,https://b:8200' } }",
    ] {
        fs::write(file, values).unwrap();
        rendered += &render(&[approle, file], &[]).unwrap_or_else(|error| panic!("{error}"));
    }
    let documents = documents("kubernetes", &rendered);
    let count = |kind: &str| documents.iter().filter(|one| one["kind"] == kind).count();
    let kinds = ["Deployment", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"];
    assert_eq!(kinds.map(count), [5, 3, 4, 4]);

    fs::write(file, "prometheusRule: { enabled: true }").unwrap();
    let error = render(&[approle, file], &[]).expect_err("nothing to alert on");
    assert!(error.contains("needs serviceMonitor.enabled"), "{error}");

    fs::write(file, "policy: { minio: { identities: [] } }").unwrap();
    let error = render(&[approle, file], &[]).expect_err("nobody");
    assert!(error.contains("no client could use the server"), "{error}");

    // Kubernetes takes an empty list of peers for everybody.
    for clients in ["[]", "null"] {
        fs::write(file, format!("networkPolicy: {{ clients: {clients} }}")).unwrap();
        let error = render(&[approle, file], &[]).expect_err(clients);
        assert!(error.contains("would let in everybody"), "{error}");
    }
}

/// The client that the policy names.
struct Minio {
    authority: Authority,
    identity: String,
}

impl Minio {
    fn new() -> Self {
        let authority = Authority::new();
        let mut minio = Self { authority, identity: String::new() };
        minio.kes(&["identity", "new", "--key", "minio.key", "--cert", "minio.crt"], "");
        minio.identity = minio.kes(&["identity", "of", "minio.crt"], "").trim().to_owned();
        minio
    }

    fn kes(&self, arguments: &[&str], server: &str) -> String {
        let output = Process::command(&program())
            .args(arguments)
            .current_dir(self.authority.folder())
            .env("KES_SERVER", server)
            .env("KES_CLIENT_KEY", "minio.key")
            .env("KES_CLIENT_CERT", "minio.crt")
            .env("KES_CAPATH", self.authority.certificate())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The secrets and ConfigMaps of a namespace, without Vault's role.
    fn secrets(&self, certificate: &'static str) -> Secrets {
        let pair = self.authority.server("kes");
        let text = |file: &PathBuf| fs::read_to_string(file).unwrap();
        let ca = fs::read_to_string(self.authority.certificate()).unwrap();
        BTreeMap::from([
            (
                certificate,
                BTreeMap::from([
                    ("tls.key", text(&pair.key)),
                    ("tls.crt", text(&pair.certificate)),
                ]),
            ),
            ("vault-ca", BTreeMap::from([("ca.crt", ca)])),
            ("kes-identities", BTreeMap::from([("minio", self.identity.clone())])),
        ])
    }
}

#[test]
fn a_server_with_an_app_role_serves_its_clients() {
    let minio = Minio::new();
    let bao = Bao::start_tls(&minio.authority, false);
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let mut secrets = minio.secrets("kes-server");
    secrets.insert(
        "kes-approle",
        BTreeMap::from([("role-id", role.role_id), ("secret-id", role.secret_id)]),
    );
    serves(&minio, &bao, "deploy/helm/kes/examples/approle.yaml", &secrets, "");
    assert_eq!(bao.root().list("kv/metadata"), ["my-key"]);
}

#[test]
fn a_server_with_a_service_account_serves_its_clients() {
    let minio = Minio::new();
    let bao = Bao::start_tls(&minio.authority, false);
    let cluster = kubernetes::token_review(|subject| subject == "kes");
    let rights = "path \"kv/data/*\" { capabilities = [\"create\", \"read\"] }\n\
                  path \"kv/metadata/*\" { capabilities = [\"list\", \"delete\"] }\n\
                  path \"transit/encrypt/kes\" { capabilities = [\"update\"] }\n\
                  path \"transit/decrypt/kes\" { capabilities = [\"update\"] }\n";
    bao.root().enable_kv("kv", 2);
    bao.root().enable_transit("transit", "kes");
    bao.root().write_policy("kes", rights);
    bao.root().enable_kubernetes("kubernetes", &cluster.url(), "kes", "kes");
    let secrets = minio.secrets("myminio-kes-tls");
    let token = kubernetes::token("kes");
    serves(&minio, &bao, "deploy/helm/kes/examples/kubernetes.yaml", &secrets, &token);
    assert_eq!(bao.root().list("kv/metadata/minio"), ["my-key"]);
}

/// Asks as the kubelet does, which does not verify the certificate.
fn probe(operations: &str, path: &str) -> Result<(), String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--fail", "--max-time", "30"])
        .arg(format!("{operations}{path}"))
        .output()
        .expect("the tests need curl");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A pod of the chart answers its probes and its client, and ends at once when it is told to.
fn serves(minio: &Minio, bao: &Bao, values: &str, secrets: &Secrets, token: &str) {
    let endpoint = format!("vault.endpoint={}", bao.url());
    let rendered = render(&[values], &[&endpoint]).unwrap();
    let documents = documents("kubernetes", &rendered);
    let mut pod = Pod::start(&documents, secrets, token);
    let (server, operations) = (pod.url("Endpoints "), pod.url("Operations "));
    for path in pod.probes.iter().chain([&"/metrics".to_owned()]) {
        assert_eq!(probe(&operations, path), Ok(()), "{path}");
    }
    minio.kes(&["key", "create", "my-key"], &server);
    assert!(minio.kes(&["key", "dek", "my-key"], &server).contains("ciphertext"));
    let log = pod.said("stderr");
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    pod.process.signal(Signal::TERM);
    let mut status = None;
    wait::eventually(LIMIT, "the server ends", || {
        status = pod.process.exit_status();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}
