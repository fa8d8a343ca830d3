//! A rollout replaces no pod that works by one that does not reach Vault, and the pods may reach Vault.

use std::collections::BTreeMap;
use std::fs;

use kes_testkit::{Bao, wait};

use super::pod::Pod;
use super::{LIMIT, Minio, documents, only, probe, render};

const APPROLE: &str = "deploy/helm/kes/examples/approle.yaml";

#[test]
fn a_pod_that_vault_refuses_stops_the_rollout() {
    let minio = Minio::new();
    let bao = Bao::start_tls(&minio.authority, false);
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let mut secrets = minio.secrets("kes-server");
    let wrong = BTreeMap::from([("role-id", role.role_id), ("secret-id", "wrong".to_owned())]);
    secrets.insert("kes-approle", wrong);
    let endpoint = format!("vault.endpoint={}", bao.url());
    let documents = documents("kubernetes", &render(&[APPROLE], &[&endpoint]).unwrap());
    let deployment = only(&documents, "Deployment", "");
    // The old pods stay until the new one has started.
    let update = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!((&update["maxUnavailable"], &update["maxSurge"]), (&0.into(), &1.into()));

    let mut pod = Pod::start(&documents, &secrets, "");
    let operations = pod.url("Operations ");
    let [startup, live, ready] = &pod.probes[..] else { panic!("{:?}", pod.probes) };
    wait::eventually(LIMIT, "the pod serves", || probe(&operations, ready).is_ok());
    let refused = probe(&operations, startup).expect_err("the pod counts as started");
    assert!(refused.contains("503"), "{refused}");
    assert_eq!(probe(&operations, live), Ok(()));
    // It waits longer than the longest pause between two restarts.
    let startup = &deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"];
    let seconds = |field: &str| startup[field].as_u64().unwrap();
    assert!(seconds("periodSeconds") * seconds("failureThreshold") >= 600, "{startup}");
}

#[test]
fn the_pods_may_reach_each_port_of_vault() {
    for (endpoint, set, expected) in [
        ("https://a:8200\\,https://[::1]:8300/x\\,https://b:8200", "0", &[8200, 8300][..]),
        ("https://[::1]\\,https://b/v:1", "0", &[443]),
        ("https://a:8200", "9000", &[9000]),
    ] {
        let endpoint = format!("vault.endpoint={endpoint}");
        let values = tempfile::NamedTempFile::new().unwrap();
        fs::write(values.path(), format!("networkPolicy: {{ vaultPort: {set} }}")).unwrap();
        let files = [APPROLE, values.path().to_str().unwrap()];
        let documents = documents("kubernetes", &render(&files, &[&endpoint]).unwrap());
        let rules = &only(&documents, "NetworkPolicy", "")["spec"]["egress"];
        let ports = rules[1]["ports"].as_array().unwrap();
        let ports: Vec<_> = ports.iter().map(|port| port["port"].as_u64().unwrap()).collect();
        assert_eq!(ports, expected, "{endpoint}");
    }
    let plain = tempfile::NamedTempFile::new().unwrap();
    let values = "vault: { endpoint: 'http://a', allowPlainHTTP: true }";
    fs::write(plain.path(), values).unwrap();
    let rendered = render(&[APPROLE, plain.path().to_str().unwrap()], &[]).unwrap();
    assert!(rendered.contains("- port: 80\n"), "{rendered}");
}
