use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;

use crate::package::Package;
use crate::process::Process;
use crate::{Port, wait};

const PACKAGE: Package = Package { name: "nginx", env: "NGINX_BIN" };

/// The module that passes on TCP.
const MODULE: Package = Package { name: "libnginx-mod-stream", env: "NGINX_BIN" };

/// It listens within milliseconds; a machine that is busy with a build may need far more.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A real nginx. It goes with its owner.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    folder: TempDir,
    port: Port,
}

impl Nginx {
    /// Starts nginx with what its block `http` holds for an address, and waits until it listens
    /// there.
    ///
    /// # Panics
    /// If it is not on this machine and cannot be fetched, or does not start.
    pub fn with(http: impl Fn(SocketAddr) -> String) -> Self {
        Self::start(|folder, address| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|what| format!("    {what}_temp_path {}/{what};\n", folder.display()))
                .concat();
            format!("http {{\n    access_log off;\n{temporary}\n{}\n}}\n", http(address))
        })
    }

    /// The same with what its block `stream` holds. The module for that is a package of its own.
    ///
    /// # Panics
    /// As [`Nginx::with`].
    pub fn with_stream(stream: impl Fn(SocketAddr) -> String) -> Self {
        let module = MODULE.file("usr/lib/nginx/modules/ngx_stream_module.so");
        Self::start(|_, address| {
            format!("load_module {};\nstream {{\n{}\n}}\n", module.display(), stream(address))
        })
    }

    fn start(blocks: impl Fn(&Path, SocketAddr) -> String) -> Self {
        let program = PACKAGE.program();
        let mut said = String::new();
        // A port that was free may be taken before it is bound.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let port = Port::free();
            let config = folder.path().join("nginx.conf");
            let blocks = blocks(folder.path(), port.address());
            fs::write(&config, configuration(folder.path(), &blocks)).expect("it can be written");
            let log = File::create(folder.path().join("log")).expect("the log can be made");
            let mut command = program.command();
            command
                .args(["-e", "stderr", "-p"])
                .arg(folder.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log);
            let mut process = Process::start(command);
            let mut is_running = true;
            // Its file of process IDs is there as soon as it has bound its port.
            let bound = folder.path().join("pid");
            wait::eventually(START_LIMIT, "nginx listens", || {
                is_running = process.is_running();
                bound.exists() && TcpStream::connect(port.address()).is_ok() || !is_running
            });
            let nginx = Self { _process: process, folder, port };
            if is_running {
                return nginx;
            }
            said = nginx.log();
        }
        panic!("nginx does not start: {said}")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// If its log cannot be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("it has a log")
    }
}

/// What a test needs of nginx itself: one process, which ends whenever it is killed, and which
/// writes nowhere but into its folder.
fn configuration(folder: &Path, blocks: &str) -> String {
    // Modules are loaded before anything else is said.
    let (modules, blocks) = match blocks.split_once('\n') {
        Some((module, rest)) if module.starts_with("load_module ") => (module, rest),
        _ => ("", blocks),
    };
    let folder = folder.display();
    format!(
        "\
{modules}
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{
    worker_connections 500;
}}
{blocks}"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn it_does_what_its_configuration_says() {
        let nginx = Nginx::with(|address| {
            format!("server {{ listen {address}; location / {{ return 418; }} }}")
        });
        let mut socket = TcpStream::connect(nginx.address()).unwrap();
        socket.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
        assert_eq!(nginx.log(), "");
    }
}
