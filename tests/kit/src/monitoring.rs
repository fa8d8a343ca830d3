use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::listening::Listening;
use crate::package::Package;
use crate::plain_http;

/// Its two programs are in `/usr/bin`. `PROMETHEUS_BIN` names `prometheus`; `promtool` is beside it.
const PACKAGE: Package = Package {
    name: "prometheus",
    program: None,
    folder: "usr/bin",
    with: &[],
    env: "PROMETHEUS_BIN",
};

/// A real Prometheus. It goes with its owner.
#[derive(Debug)]
pub struct Prometheus(Listening);

impl Prometheus {
    /// Starts Prometheus with a configuration and waits until it is ready. It keeps exemplars.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched, or does not start.
    pub fn start(configuration: &str) -> Self {
        let program = program("prometheus");
        let command = |folder: &Path, address| {
            let config = folder.join("prometheus.yml");
            fs::write(&config, configuration).expect("it can be written");
            let mut command = crate::Process::command(&program);
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .arg("--enable-feature=exemplar-storage")
                .current_dir(folder);
            command
        };
        let is_ready = |folder: &Path| {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            log.contains("Server is ready to receive web requests")
        };
        Self(Listening::start("Prometheus", command, is_ready))
    }

    /// The data that a path of its API answers with, asked with parameters.
    ///
    /// # Errors
    /// What Prometheus says.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let pairs = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value)));
        let query = pairs.collect::<Vec<_>>().join("&");
        let target = format!("/api/v1/{path}?{query}");
        let answer = plain_http::request(self.0.address(), "GET", &target, &[], b"");
        let answer = answer.unwrap_or_else(|error| panic!("{target}: {error}")).json();
        match &answer["status"] {
            status if status == "success" => Ok(answer["data"].clone()),
            _ => Err(format!("{target}: {answer}")),
        }
    }

    /// The series that a query selects, each with its labels in `metric`.
    ///
    /// # Errors
    /// What Prometheus says of the query.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let data = self.ask("query", &[("query", query)])?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }
}

/// Runs `promtool` with a text on its standard input: whether it succeeded, and what it said.
///
/// # Panics
/// If it is not on this machine and cannot be fetched.
pub fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let text = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("promtool ends");
    // A tool that finds a fault need not read the rest.
    let _ = writing.join();
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    (output.status.success(), format!("{said}{errors}"))
}

fn program(name: &str) -> PathBuf {
    match std::env::var_os(PACKAGE.env) {
        Some(prometheus) => Path::new(&prometheus).with_file_name(name),
        None => PACKAGE.file(&format!("usr/bin/{name}")),
    }
}

/// A value of a query.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
