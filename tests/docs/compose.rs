//! `deploy/compose`, started as `deploy/README.md` says, without a container engine: the containers'
//! files are those of the volumes, and OpenBao, its set-up and the server run as processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use kes_testkit::{Bao, certs};
use serde_json::Value;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use crate::kubernetes::documents;

const FOLDER: &str = "deploy/compose";

#[test]
fn the_server_starts_with_what_the_compose_file_gives_it() {
    let mut session = Session::new();
    session.install_kes();
    let folder = session.file(FOLDER);
    fs::create_dir_all(&folder).unwrap();
    for name in ["compose.yaml", "config.yml", "setup.sh"] {
        fs::copy(root().join(FOLDER).join(name), folder.join(name)).unwrap();
    }
    session.add_program("docker", "echo \"docker $*\" >>\"$NOTES\"\n");
    for host in ["openbao", "kes"] {
        session.fill(&format!("--dns {host}"), &format!("--dns {host} --ip 127.0.0.1"));
    }
    for block in Book::read().blocks_of(Runner::Compose) {
        session.run(block);
    }
    assert!(session.notes().contains(&"docker compose up --detach".to_owned()));
    println!("not run: `docker compose up`, because a test has no container engine");

    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let compose = &documents("compose", &text)[0];
    let volumes = tempfile::tempdir().unwrap();
    let service = |name| Service::read(compose, name, &folder, volumes.path());

    // OpenBao with the certificate that its container has, set up twice, as after a restart.
    let openbao = service("openbao");
    let file = |path: &str| PathBuf::from(openbao.here(path));
    let (key, certificate) = (file("/certs/openbao.key"), file("/certs/openbao.crt"));
    let bao = Bao::start_uninitialised_tls(certs::Pair { key, certificate });
    let setup = service("setup");
    for _ in 0..2 {
        run_setup(&setup, &bao, volumes.path());
    }

    let kes = service("kes");
    let config = kes.here(&fs::read_to_string(kes.here("/etc/kes/config.yml")).unwrap());
    let config =
        config.replace("https://openbao:8200", &bao.url()).replace("0.0.0.0:7373", "127.0.0.1:0");
    fs::write(volumes.path().join("config.yml"), config).unwrap();
    let arguments = kes.arguments.join(" ").replace("/etc/kes/config.yml", "$CONFIG");
    session.export("CONFIG", volumes.path().join("config.yml").to_str().unwrap());
    let variables = fs::read_to_string(folder.join(".env")).unwrap();
    let identity = kes.variable("MINIO_IDENTITY", &variables);
    session
        .start_server("compose.yaml", &format!("MINIO_IDENTITY={identity} exec kes {arguments}"));
    let warnings = session.output();
    assert!(!warnings.contains("level=WARN"), "{warnings}");

    let minio = service("minio");
    assert_eq!(minio.variable("MINIO_KMS_KES_ENDPOINT", ""), "https://kes:7373");
    assert!(!minio.variable("MINIO_ROOT_PASSWORD", &variables).is_empty());
    session.export("KES_SERVER", "https://127.0.0.1:7373");
    for (own, of_minio) in [
        ("KES_CLIENT_CERT", "MINIO_KMS_KES_CERT_FILE"),
        ("KES_CLIENT_KEY", "MINIO_KMS_KES_KEY_FILE"),
        ("KES_CAPATH", "MINIO_KMS_KES_CAPATH"),
    ] {
        session.export(own, &minio.here(&minio.variable(of_minio, "")));
    }
    let key = minio.variable("MINIO_KMS_KES_KEY_NAME", "");
    session.run_line("MinIO", &format!("kes key create {key}"));
    let made = session.run_line("MinIO", &format!("kes key dek {key}")).stdout;
    assert!(made.contains("ciphertext"), "{made}");
}

/// The script of the container, with the real command line of OpenBao.
fn run_setup(setup: &Service, bao: &Bao, volumes: &Path) {
    assert_eq!(setup.entry_point, ["/bin/sh", "/setup.sh"]);
    let script = volumes.join("setup.sh");
    let text = fs::read_to_string(setup.here("/setup.sh")).unwrap();
    fs::write(&script, setup.here(&text)).unwrap();
    let programs = tempfile::tempdir().unwrap();
    symlink(format!("/proc/{}/exe", bao.process_id()), programs.path().join("bao")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("/bin/sh")
        .arg(&script)
        .env_clear()
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .env("HOME", volumes)
        .env("BAO_ADDR", bao.url())
        .env("BAO_CACERT", setup.here(&setup.variable("BAO_CACERT", "")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "setup.sh: {said}");
}

/// A service of the compose file.
struct Service {
    arguments: Vec<String>,
    entry_point: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Paths in the container, the longest first, and where they are here.
    volumes: Vec<(String, String)>,
}

impl Service {
    fn read(compose: &Value, name: &str, folder: &Path, volumes: &Path) -> Self {
        let service = &compose["services"][name];
        let texts = |field: &str| -> Vec<String> {
            let values = service[field].as_array().into_iter().flatten();
            values.map(|value| value.as_str().unwrap().to_owned()).collect()
        };
        let mut mounted: Vec<(String, String)> = texts("volumes")
            .iter()
            .map(|volume| {
                let mut parts = volume.split(':');
                let (from, to) = (parts.next().unwrap(), parts.next().unwrap());
                let here = match from.strip_prefix("./") {
                    Some(file) => folder.join(file),
                    None => {
                        assert!(!compose["volumes"][from].is_boolean(), "{name}: {from}");
                        fs::create_dir_all(volumes.join(from)).unwrap();
                        volumes.join(from)
                    }
                };
                assert!(here.exists(), "{name}: {volume} is not there");
                (to.to_owned(), here.to_str().unwrap().to_owned())
            })
            .collect();
        mounted.sort_by_key(|(to, _)| std::cmp::Reverse(to.len()));
        let environment = service["environment"].as_object().into_iter().flatten();
        let environment = environment
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let (arguments, entry_point) = (texts("command"), texts("entrypoint"));
        Self { arguments, entry_point, environment, volumes: mounted }
    }

    /// A text with the paths of the container as they are here.
    fn here(&self, text: &str) -> String {
        self.volumes.iter().fold(text.to_owned(), |text, (to, here)| text.replace(to, here))
    }

    /// The value of a variable, which may be one of the file `.env`.
    fn variable(&self, name: &str, env_file: &str) -> String {
        let value = &self.environment[name];
        let Some(reference) = value.strip_prefix("${") else { return value.clone() };
        let reference = reference.split([':', '}']).next().unwrap();
        let mut lines = env_file.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(name, _)| *name == reference);
        found.unwrap_or_else(|| panic!(".env has no {reference}")).1.to_owned()
    }
}
