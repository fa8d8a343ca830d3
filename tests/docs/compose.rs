//! `deploy/compose`, started as `deploy/README.md` says, without a container engine: the containers'
//! files are those of the volumes, and OpenBao, its set-up and the server run as processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kes_testkit::{Port, Process, bao, wait};
use serde_json::Value;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use crate::kubernetes::documents;

const FOLDER: &str = "deploy/compose";

/// A start of OpenBao takes less on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

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
    let certs = folder.join("certs");
    assert_eq!(mode(&certs), 0o700);
    assert_eq!(mode(&certs.join("minio.key")), 0o600);
    assert_eq!(mode(&folder.join(".env")), 0o600);
    assert!(session.notes().contains(&"docker compose up --detach".to_owned()));
    println!("not run: `docker compose up`, because a test has no container engine");

    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let compose = &documents("compose", &text)[0];
    let volumes = tempfile::tempdir().unwrap();
    let service = |name| Service::read(compose, name, &folder, volumes.path());

    // OpenBao is set up twice, the second time after a restart, which leaves it sealed.
    let (openbao, setup) = (service("openbao"), service("setup"));
    let (mut bao, ports) = (0..5)
        .find_map(|_| {
            // A port that was free may be taken before the server binds it.
            let ports = [Port::free(), Port::free()];
            Some((start_openbao(&openbao, &ports, volumes.path())?, ports))
        })
        .expect("OpenBao starts");
    let url = format!("https://{}", ports[0].address());
    run_setup(&setup, &url, volumes.path(), "").expect("the first set-up");
    bao.kill();
    let _bao = start_openbao(&openbao, &ports, volumes.path()).expect("OpenBao starts again");
    // The first requests are refused: that does not count as "not initialised".
    let file = volumes.path().join("unseal/init");
    let secrets = fs::read_to_string(&file).unwrap();
    run_setup(&setup, &url, volumes.path(), REFUSED_TWICE).expect("the second set-up");
    assert_eq!(fs::read_to_string(&file).unwrap(), secrets);
    assert_eq!(mode(&file), 0o600);

    // The secrets of an OpenBao that has lost its storage are not overwritten, and none is made up.
    let error = run_setup(&setup, &url, volumes.path(), NOT_INITIALISED).expect_err("a file");
    assert!(error.contains("has the unseal key of an earlier one"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), secrets);
    // A run that was killed before it renamed the file is finished by the next one.
    fs::rename(&file, volumes.path().join("unseal/init.new")).unwrap();
    run_setup(&setup, &url, volumes.path(), KEY_IS_NO_ARGUMENT).expect("the third set-up");
    assert_eq!(fs::read_to_string(&file).unwrap(), secrets);
    fs::remove_file(&file).unwrap();
    let error = run_setup(&setup, &url, volumes.path(), "").expect_err("no file");
    assert!(error.contains("restore the file"), "{error}");
    fs::write(&file, secrets).unwrap();

    let kes = service("kes");
    let config = kes.here(&fs::read_to_string(kes.here("/etc/kes/config.yml")).unwrap());
    let config =
        config.replace("https://openbao:8200", &url).replace("0.0.0.0:7373", "127.0.0.1:0");
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

/// The real OpenBao, with the configuration that its container has in a variable.
fn start_openbao(openbao: &Service, ports: &[Port; 2], volumes: &Path) -> Option<Process> {
    assert_eq!(openbao.arguments, ["server"]);
    let [api, cluster] = ports.each_ref().map(|port| port.address().to_string());
    let config = openbao.here(&openbao.variable("BAO_LOCAL_CONFIG", ""));
    let config = config
        .replace("0.0.0.0:8200", &api)
        .replace("openbao:8200", &api)
        .replace("0.0.0.0:8201", &cluster)
        .replace("openbao:8201", &cluster);
    let (file, log) = (volumes.join("openbao.json"), volumes.join("openbao.log"));
    fs::write(&file, config).unwrap();
    let mut command = Process::command(&bao::binary());
    command.arg("server").arg("-config").arg(&file).env("HOME", volumes);
    command.stdin(Stdio::null()).stdout(File::create(&log).unwrap());
    command.stderr(File::create(volumes.join("openbao.err")).unwrap());
    let mut process = Process::start(command);
    let mut is_running = true;
    wait::eventually(LIMIT, "OpenBao starts or ends", || {
        is_running = process.is_running();
        !is_running || fs::read_to_string(&log).unwrap().contains("OpenBao server started!")
    });
    let said = fs::read_to_string(volumes.join("openbao.err")).unwrap();
    let is_taken = said.contains("address already in use");
    assert!(is_running || is_taken, "{said}{}", fs::read_to_string(&log).unwrap());
    is_running.then_some(process)
}

/// Lines of a wrapper of OpenBao's command line: the first two calls reach nobody.
const REFUSED_TWICE: &str = r#"
if [ ! -e "$0.second" ]; then
    [ ! -e "$0.first" ] || : >"$0.second"
    : >"$0.first"
    export BAO_ADDR=https://127.0.0.1:1
fi
"#;

/// OpenBao says that it has no storage.
const NOT_INITIALISED: &str = r#"
if [ "$1" = status ]; then echo 'Initialized        false'; exit 2; fi
"#;

/// The unseal key is in no argument.
const KEY_IS_NO_ARGUMENT: &str = r#"
key=$(sed -n 's/^Unseal Key 1: //p' "$UNSEAL"/init)
case " $* " in *"${key:-no key yet}"*) echo "the unseal key is an argument" >&2; exit 3 ;; esac
"#;

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// The script of the container, with the real command line of OpenBao, behind lines of a wrapper.
/// Gives what the script says if it fails.
fn run_setup(setup: &Service, url: &str, volumes: &Path, wrapper: &str) -> Result<(), String> {
    assert_eq!(setup.entry_point, ["/bin/sh", "/setup.sh"]);
    let script = volumes.join("setup.sh");
    let text = fs::read_to_string(setup.here("/setup.sh")).unwrap();
    // `sys/unseal` is a path of OpenBao, and no file.
    let text = text.replace("sys/unseal", "sys/UNSEAL");
    fs::write(&script, setup.here(&text).replace("sys/UNSEAL", "sys/unseal")).unwrap();
    let programs = tempfile::tempdir().unwrap();
    let program = programs.path().join("bao");
    let wrapper = format!("#!/bin/sh\n{wrapper}exec {} \"$@\"\n", bao::binary().display());
    fs::write(&program, wrapper).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("/bin/sh")
        .arg(&script)
        .env_clear()
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .env("HOME", volumes)
        .env("BAO_ADDR", url)
        .env("UNSEAL", volumes.join("unseal"))
        .env("BAO_CACERT", setup.here(&setup.variable("BAO_CACERT", "")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
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
