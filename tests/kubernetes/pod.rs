//! A pod of the chart without a cluster: a process with its files, variables and arguments.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::process::Stdio;

use kes_testkit::{Process, wait};
use serde_json::Value;

use super::{LIMIT, only};
use crate::harness::program;

/// Where the chart puts the files of a pod.
const MOUNTED: &str = "/etc/kes";

/// A pod as the kubelet makes it of a deployment: its files, variables and arguments.
pub(super) struct Pod {
    folder: tempfile::TempDir,
    pub(super) process: Process,
    pub(super) probes: Vec<String>,
}

/// Secrets and ConfigMaps by name, each with its keys.
pub(super) type Secrets = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

impl Pod {
    pub(super) fn start(documents: &[Value], secrets: &Secrets, token: &str) -> Self {
        let spec = &only(documents, "Deployment", "")["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        fs::create_dir(&files).unwrap();
        // The pod's own addresses, and its paths, are here those of the test.
        let here = |text: &str| {
            text.replace("0.0.0.0:7373", "127.0.0.1:0")
                .replace("0.0.0.0:7374", "127.0.0.1:0")
                .replace(MOUNTED, files.to_str().unwrap())
        };
        assert_eq!(container["volumeMounts"][0]["mountPath"], MOUNTED);
        for source in spec["volumes"][0]["projected"]["sources"].as_array().unwrap() {
            if let Some(name) = source["configMap"]["name"].as_str() {
                let data = only(documents, "ConfigMap", name)["data"].as_object().unwrap();
                for (file, text) in data {
                    fs::write(files.join(file), here(text.as_str().unwrap())).unwrap();
                }
            } else if let Some(name) = source["secret"]["name"].as_str() {
                for item in source["secret"]["items"].as_array().unwrap() {
                    let key = item["key"].as_str().unwrap();
                    let file = files.join(item["path"].as_str().unwrap());
                    fs::write(file, &secrets[name][key]).unwrap();
                }
            } else {
                let path = source["serviceAccountToken"]["path"].as_str().unwrap();
                fs::write(files.join(path), token).unwrap();
            }
        }
        let mut command = Process::command(&program());
        for argument in container["args"].as_array().unwrap() {
            command.arg(here(argument.as_str().unwrap()));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let from = &variable["valueFrom"];
            let from = [&from["secretKeyRef"], &from["configMapKeyRef"]];
            let from = from.into_iter().find(|from| from.is_object()).unwrap();
            let value = &secrets[from["name"].as_str().unwrap()][from["key"].as_str().unwrap()];
            command.env(variable["name"].as_str().unwrap(), value);
        }
        let output = |name: &str| File::create(folder.path().join(name)).unwrap();
        command.current_dir("/").stdin(Stdio::null());
        command.stdout(output("stdout")).stderr(output("stderr"));
        let process = Process::start(command);
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| {
            let get = &container[probe]["httpGet"];
            assert_eq!((&get["port"], &get["scheme"]), (&"operations".into(), &"HTTPS".into()));
            get["path"].as_str().unwrap().to_owned()
        });
        Self { folder, process, probes: probes.into() }
    }

    /// A URL of its start-up message.
    pub(super) fn url(&mut self, line: &str) -> String {
        let mut url = None;
        wait::eventually(LIMIT, "the server says where it listens", || {
            let stdout = self.said("stdout");
            assert!(self.process.is_running(), "{stdout}{}", self.said("stderr"));
            let mut lines = stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            url = lines.find_map(|one| one.strip_prefix(line)).map(|url| url.trim().to_owned());
            url.is_some()
        });
        url.unwrap()
    }

    pub(super) fn said(&self, stream: &str) -> String {
        fs::read_to_string(self.folder.path().join(stream)).unwrap()
    }
}
