use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::listening::Listening;
use crate::package::Package;

const PACKAGE: Package =
    Package { name: "nginx", program: None, folder: "usr/sbin", with: &[], env: "NGINX_BIN" };

/// The module that passes on TCP.
const MODULE: Package = Package {
    name: "libnginx-mod-stream",
    program: None,
    folder: "usr/sbin",
    with: &[],
    env: "NGINX_BIN",
};

/// A real nginx. It goes with its owner.
#[derive(Debug)]
pub struct Nginx(Listening);

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
        let command = |folder: &Path, address| {
            let config = folder.join("nginx.conf");
            let text = configuration(folder, &blocks(folder, address));
            fs::write(&config, text).expect("it can be written");
            let mut command = program.command();
            command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(&config);
            command
        };
        // Its file of process IDs is there as soon as it has bound its port.
        Self(Listening::start("nginx", command, |folder| folder.join("pid").exists()))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// If its log cannot be read.
    pub fn log(&self) -> String {
        self.0.log()
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
    use std::net::TcpStream;

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
