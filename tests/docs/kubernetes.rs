//! `docs/kubernetes.md`: Helm takes the values, and the secrets that the commands make are those that
//! the pods want. `kubectl` alone is a stand-in: a test has no cluster.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use kes_testkit::manifests;
use serde_json::Value;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use crate::kubernetes::{documents as read, only, render};

/// `helm install` shows what it would install.
const HELM: &str = r#"[ "$1" != install ] || { shift; set -- template "$@"; }
exec REAL "$@"
"#;

#[test]
fn the_chart_is_installed_as_the_document_says() {
    let book = Book::read();
    let mut session = Session::new();
    session.install_kes();
    symlink(root().join("deploy"), session.file("deploy")).unwrap();
    let helm = manifests::binary();
    session.add_program("helm", &HELM.replace("REAL", helm.to_str().unwrap()));
    session.add_program("kubectl", "echo \"kubectl $*\" >>\"$NOTES\"\n");
    session.export("APPROLE_ID", "a-role");
    session.export("APPROLE_SECRET", "a-secret");
    fs::write(session.file("vault-ca.crt"), "a CA").unwrap();

    let (mut installed, mut minio) = (None, None);
    for block in book.blocks_of(Runner::Kubernetes) {
        match (&*block.language, block.heading()) {
            ("yaml", "Install") => session.write(&block.place(), "my-values.yaml", &block.text),
            ("yaml", _) => {
                let file = session.file("other-values.yaml");
                fs::write(&file, &block.text).unwrap();
                let rendered = render(&[file.to_str().unwrap()], &[]).unwrap();
                only(&read("kubernetes", &rendered), "ServiceMonitor", "");
            }
            ("sh", "MinIO") => minio = Some(block),
            ("sh", "Image") => println!("not run: `{}`: tests/image.rs does", block.text.trim()),
            _ => {
                for ran in session.run(block) {
                    if ran.command.starts_with("helm install") {
                        installed = Some(ran.stdout);
                    }
                }
            }
        }
    }

    let documents = read("kubernetes", &installed.expect("the document installs the chart"));
    let made = names_made_by(&session.notes());
    let wanted = names_wanted_by(only(&documents, "Deployment", ""));
    assert!(wanted.len() >= 5 && wanted.is_subset(&made), "{wanted:?} of {made:?}");
    for document in &documents {
        assert_eq!(document["metadata"]["namespace"], "minio");
    }

    // MinIO finds a service at its address, under a name of the certificate.
    let minio = &minio.expect("the document has MinIO's variables").text;
    let (_, address) = minio.split_once("MINIO_KMS_KES_ENDPOINT=https://").unwrap();
    let host = address.split(':').next().unwrap();
    let name = host.split('.').next().unwrap();
    only(&documents, "Service", name);
    let names = session.run_line("the test", "openssl x509 -in server.crt -noout -text").stdout;
    assert!(names.contains(&format!("DNS:{host}")), "{names}");

    // The plain manifests want the same.
    let plain = fs::read_to_string(root().join("deploy/kubernetes/kes.yaml")).unwrap();
    let plain = read("kubernetes", &plain);
    let wanted = names_wanted_by(only(&plain, "Deployment", ""));
    assert!(wanted.is_subset(&made), "{wanted:?} of {made:?}");
    let applied = "kubectl -n minio apply -f deploy/kubernetes/kes.yaml";
    assert!(session.notes().iter().any(|note| note == applied));
}

/// The secrets and ConfigMaps that were made, each with a key.
fn names_made_by(notes: &[String]) -> BTreeSet<(String, String)> {
    let mut made = BTreeSet::new();
    for note in notes {
        let words: Vec<&str> = note.split(' ').collect();
        let ["kubectl", "-n", "minio", "create", what @ ..] = &words[..] else { continue };
        let (name, options) = match what {
            ["secret", "tls", name, options @ ..] => {
                assert!(options.iter().any(|option| option.starts_with("--key=")), "{note}");
                made.extend(["tls.crt", "tls.key"].map(|key| ((*name).to_owned(), key.to_owned())));
                continue;
            }
            ["secret", "generic", name, options @ ..] => (name, options),
            ["configmap", name, options @ ..] => (name, options),
            _ => panic!("{note}"),
        };
        for option in options {
            let (_, key) = option.split_once("--from-").unwrap().1.split_once('=').unwrap();
            let (key, value) = key.split_once('=').unwrap();
            assert!(!value.is_empty(), "{note}");
            made.insert(((*name).to_owned(), key.to_owned()));
        }
    }
    made
}

/// The secrets and ConfigMaps that the pods of a deployment name and that are not of the chart.
fn names_wanted_by(deployment: &Value) -> BTreeSet<(String, String)> {
    let spec = &deployment["spec"]["template"]["spec"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut wanted = BTreeSet::new();
    for source in spec["volumes"][0]["projected"]["sources"].as_array().unwrap() {
        for item in source["secret"]["items"].as_array().into_iter().flatten() {
            wanted.insert((text(&source["secret"]["name"]), text(&item["key"])));
        }
    }
    for variable in spec["containers"][0]["env"].as_array().into_iter().flatten() {
        for kind in ["secretKeyRef", "configMapKeyRef"] {
            let from = &variable["valueFrom"][kind];
            if from.is_object() {
                wanted.insert((text(&from["name"]), text(&from["key"])));
            }
        }
    }
    wanted
}
