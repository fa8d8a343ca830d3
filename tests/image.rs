//! The container image, as `deploy/image/build` makes it.
//!
//! The image is that of the program under test, with the libraries that it needs here. `KES_IMAGE` names
//! an archive to test instead, for example the one of a release.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kes_testkit::wait;
use serde_json::Value;

use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who, program};

/// Runs the image as Kubernetes does where a tenant of MinIO's operator has a key server: user 1000, the
/// root cannot be written to, all files are in one volume. What it is told to run is what the operator
/// tells it; the harness's own arguments are not looked at.
///
/// The user namespace makes it possible without root. The shell mounts, and then becomes `/kes`.
const POD: &str = r#"#!/bin/sh
exec unshare --user --map-root-user --mount sh -euc '
mount --bind "$ROOT_OF_IMAGE" "$ROOT_OF_IMAGE"
mount -o remount,bind,ro "$ROOT_OF_IMAGE"
if touch "$ROOT_OF_IMAGE/tmp/written" 2>/dev/null; then echo "the root can be written to" >&2; exit 1; fi
mount --rbind /proc "$ROOT_OF_IMAGE/proc"
mount --bind volume "$ROOT_OF_IMAGE/tmp/kes"
mount -o remount,bind,ro "$ROOT_OF_IMAGE/tmp/kes"
mount --bind keys "$ROOT_OF_IMAGE/keys"
exec unshare --user --map-user=1000 --map-group=1000 --root="$ROOT_OF_IMAGE" \
    /kes server --config=/tmp/kes/server-config.yaml --auth=off
'
"#;

/// The files of the volume.
const FILES: [&str; 3] = ["server-config.yaml", "server.crt", "server.key"];

/// An archive of the image.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    /// Makes the image and unpacks the archive, not the image.
    fn made() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = match std::env::var_os("KES_IMAGE") {
            Some(file) => repository().join(file),
            None => make(&folder.path().join("image.tar")),
        };
        untar(&file, folder.path());
        Self { folder }
    }

    /// A file of the archive, by its descriptor.
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.folder.path().join("blobs").join(digest.replace(':', "/"))
    }

    fn json(&self, descriptor: &Value) -> Value {
        read(&self.blob(descriptor))
    }

    /// The descriptors of the image and of its bill of materials.
    fn manifests(&self) -> [Value; 2] {
        let index = read(&self.folder.path().join("index.json"));
        let manifests = index["manifests"].as_array().unwrap().clone();
        manifests.try_into().unwrap()
    }

    /// The root file system of a container, with what a runtime adds: the points where it mounts.
    fn unpacked(&self) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let [image, _] = self.manifests();
        for layer in self.json(&image)["layers"].as_array().unwrap() {
            untar(&self.blob(layer), root.path());
        }
        for folder in ["proc", "tmp/kes", "keys"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        root
    }
}

/// Makes the image of the program under test.
fn make(file: &Path) -> PathBuf {
    let output = Command::new(repository().join("deploy/image/build"))
        .arg("--program")
        .arg(program())
        .arg(file)
        .env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()))
        .env("CARGO_NET_OFFLINE", "true")
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file.to_owned()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn untar(file: &Path, folder: &Path) {
    let status = Command::new("tar").arg("-xf").arg(file).arg("-C").arg(folder).status().unwrap();
    assert!(status.success(), "{}", file.display());
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Writes the files of a version of the volume, and makes them those that are seen: as Kubernetes does,
/// by exchanging the link `..data`.
fn publish(volume: &Path, version: &str, config: &str, tls: &Credentials) {
    let folder = volume.join(version);
    fs::create_dir(&folder).unwrap();
    for (name, text) in FILES.iter().zip([config, &tls.certificate_pem, &tls.key_pem]) {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o440)).unwrap();
    }
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

/// The status that an admin gets who trusts one certificate only; nothing if it is not the server's.
async fn status(server: &Server, tls: &Credentials, protocol: Protocol) -> Option<u16> {
    let trusted = &tls.certificate;
    let client = Client::connect(&server.address, trusted, Some(&server.admin), protocol).await;
    Some(client.ok()?.send("GET", "/v1/status", "").await.status)
}

#[test]
fn the_image_runs_as_a_key_server_of_minios_operator() {
    harness::run(async {
        let archive = Archive::made();
        let root = archive.unpacked();
        let pod = root.path().with_extension("pod");
        fs::write(&pod, POD).unwrap();
        fs::set_permissions(&pod, fs::Permissions::from_mode(0o755)).unwrap();

        let [first, second] = [(); 2].map(|()| Credentials::new(&["127.0.0.1"]));
        let config = Config::usual()
            .with("tls", "{ key: /tmp/kes/server.key, cert: /tmp/kes/server.crt }")
            .with("keystore", "{ fs: { path: /keys } }")
            .under(&[pod.to_str().unwrap()])
            .env("ROOT_OF_IMAGE", root.path().to_str().unwrap());
        let server = Server::prepared(&config, |folder| {
            fs::create_dir(folder.join("keys")).unwrap();
            let volume = folder.join("volume");
            fs::create_dir(&volume).unwrap();
            publish(&volume, "..1", &config.text(), &first);
            for name in FILES {
                symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
            }
        });
        fs::remove_file(&pod).unwrap();

        let minio = server.credentials(Who::Minio);
        let mut client = Client::connect(&server.address, &first.certificate, minio, Protocol::H2)
            .await
            .unwrap();
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
        assert!(server.file("keys/k").is_file(), "the key is not in the volume of keys");

        publish(&server.file("volume"), "..2", &config.text(), &second);
        wait::eventually_async(
            Duration::from_secs(30),
            "the renewed certificate is served",
            || async { status(&server, &second, Protocol::H1).await == Some(200) },
        )
        .await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200);
    });
}

#[test]
fn the_image_is_nothing_but_the_program() {
    let archive = Archive::made();
    let root = archive.unpacked();
    let own: BTreeSet<&str> = [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "kes",
        "usr/bin/kes",
    ]
    .into();
    let found = files(root.path(), root.path());
    let others: Vec<_> = found.iter().filter(|name| !own.contains(name.as_str())).collect();
    assert!(own.iter().all(|name| found.contains(*name)), "{found:?}");
    // The libraries of a program that is not linked statically.
    let is_library = |name: &str| {
        let name = name.rsplit('/').next().unwrap();
        name.starts_with("lib") || name.starts_with("ld-linux")
    };
    assert!(others.iter().all(|name| is_library(name)), "{others:?}");
    assert_eq!(fs::read_link(root.path().join("usr/bin/kes")).unwrap(), Path::new("/kes"));
    let certificates = fs::read_to_string(root.path().join("etc/ssl/certs/ca-certificates.crt"));
    assert!(certificates.unwrap().contains("BEGIN CERTIFICATE"));
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert_eq!(passwd.lines().collect::<Vec<_>>(), ["kes:x:1000:1000:KES key server:/:/kes"]);

    let [image, sbom] = archive.manifests();
    let config = archive.json(&archive.json(&image)["config"])["config"].clone();
    assert_eq!(config["Entrypoint"], serde_json::json!(["/kes"]));
    assert_eq!(config["User"], "1000:1000");
    assert_eq!(config["Cmd"], Value::Null);
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");

    // The bill of materials refers to this image.
    let attached = archive.json(&sbom);
    assert_eq!(attached["subject"]["digest"], image["digest"]);
    let bill = archive.json(&attached["layers"][0]);
    assert_eq!(
        (&bill["bomFormat"], attached["artifactType"].as_str()),
        (&"CycloneDX".into(), Some("application/vnd.cyclonedx+json"),)
    );
}

/// The paths of what is no folder, from a root.
fn files(root: &Path, folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(root, &path));
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}
