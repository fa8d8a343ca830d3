//! `kes server`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kes_config::{Address, ConfiguredAddress};
use kes_server::{BuildInfo, Error, Info, Options, PassedSockets, Predecessor, Server, Source};

use super::about::{COMMIT, VERSION, runtime};
use crate::args::ServerArgs;
use crate::error::usage;
use crate::output::{self, Output};
use crate::{file, obsolete};

pub(super) mod dev;

/// How long the end of the process waits for blocking calls: a key that is being written to its
/// folder gets there, and a file on a network mount that hangs does not keep the process.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Runs a server until it is told to stop.
pub(super) fn run(args: ServerArgs) -> Result<()> {
    const COMMAND: &str = "kes server";
    for warning in obsolete::server_flags(&args.old)? {
        output::warning(warning);
    }
    if args.dev == args.config.is_some() {
        let what = match args.config {
            Some(_) => "--config and --dev are both specified",
            None => "no configuration file specified: --config",
        };
        return Err(usage(what, COMMAND));
    }
    if cfg!(feature = "fips") && !kes_tls::is_fips() {
        bail!("this FIPS build runs without the approved mode of its module");
    }
    // Before any secret is in memory.
    let locked = kes_server::harden();
    kes_server::check_files()?;
    // Before other threads read the environment.
    let listens = (PassedSockets::take()?, Predecessor::take()?);
    match args.config {
        Some(path) => {
            file::check_unless_pipe(&path)?;
            serve(Source::File(path), args.addr, listens, |info| {
                announce(info, locked)?;
                announce_end()
            })
        }
        None => {
            let dev = dev::Credentials::new(&machine_addresses())?;
            serve(dev.source(), args.addr, listens, |info| {
                announce(info, locked)?;
                dev.announce(client_address(&info.addresses))?;
                announce_end()
            })
        }
    }
}

/// Starts a server, prints the start-up message, and serves.
fn serve(
    source: Source,
    address: Option<Address>,
    (passed, predecessor): (PassedSockets, Option<Predecessor>),
    announce: impl FnOnce(&Info) -> Result<()>,
) -> Result<()> {
    let build = BuildInfo { version: VERSION, commit: COMMIT };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(async {
        let address = address.map(|address| ConfiguredAddress::of_flag(address, "--addr"));
        let server =
            match Server::start(Options { source, address, passed, predecessor, build }).await {
                // As a server that is told to stop later.
                Err(Error::Stopped) => return Ok(()),
                started => started?,
            };
        // The server also runs if nobody reads its output.
        if let Err(error) = announce(server.info()) {
            output::warning(&format!("{error:#}"));
        }
        server.run().await;
        Ok(())
    });
    runtime.shutdown_timeout(LAST_CALLS);
    result
}

/// The start-up message (contract `cli.md`, Start-up message): lines of a label, blanks and a
/// value. Scripts parse it.
fn announce(info: &Info, memory_locked: bool) -> Result<()> {
    let machine = machine_addresses();
    let mut endpoints: Vec<String> = Vec::new();
    for url in info.addresses.iter().flat_map(|address| urls(*address, &machine)) {
        if !endpoints.contains(&url) {
            endpoints.push(url);
        }
    }
    let admin = info.admin.map_or_else(|| "<disabled>".to_owned(), |admin| admin.to_string());
    let memory = if memory_locked {
        "locked"
    } else {
        "not locked: it may be swapped to disk; set LimitMEMLOCK=infinity or grant CAP_IPC_LOCK"
    };
    let mut lines = vec![
        ("Version", format!("{VERSION}  commit={COMMIT}")),
        ("Runtime", runtime()),
        ("Key Store", info.keystore.clone()),
        ("Endpoints", endpoints.join("\n")),
        ("Admin", admin),
        ("Error Log", format!("stderr level={}", info.error_level)),
        ("Audit Log", format!("stdout level={}", info.audit_level)),
        ("Memory", memory.to_owned()),
    ];
    if kes_tls::is_fips() {
        lines.insert(
            2,
            ("Crypto", "FIPS 140-3 module of AWS-LC, approved algorithms only".to_owned()),
        );
    }
    if let Some(url) = &info.operations {
        lines.insert(lines.len() - 4, ("Operations", url.clone()));
    }
    Output::new().table(&lines)
}

/// The last line, which scripts wait for. Connections are accepted from now on.
fn announce_end() -> Result<()> {
    Output::new().print("\n=> Server is up and running...\n")
}

/// The server's URLs: one for each address of the machine if it listens on all of them.
fn urls(listens: SocketAddr, machine: &[IpAddr]) -> Vec<String> {
    let url = |ip: IpAddr| format!("https://{}", SocketAddr::new(ip, listens.port()));
    let urls: Vec<String> = machine
        .iter()
        // A socket for all of IPv6 accepts IPv4 too.
        .filter(|ip| listens.is_ipv6() || ip.is_ipv4())
        .map(|ip| url(*ip))
        .collect();
    if listens.ip().is_unspecified() && !urls.is_empty() { urls } else { vec![url(listens.ip())] }
}

/// The server's address for a client on this machine.
fn client_address(listens: &[SocketAddr]) -> SocketAddr {
    let unknown = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let mut address = listens.first().copied().unwrap_or(unknown);
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// The addresses of this machine that a client can connect to, loopback first. Link-local IPv6
/// addresses are left out, because a URL cannot name the link.
fn machine_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    addresses.sort_by_key(|ip| (!ip.is_loopback(), ip.is_ipv6()));
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_that_clients_can_use() {
        let machine: Vec<IpAddr> =
            ["127.0.0.1", "::1", "10.0.0.7"].map(|ip| ip.parse().unwrap()).into();
        for (listens, expected) in [
            ("127.0.0.1:7373", &["https://127.0.0.1:7373"] as &[_]),
            ("0.0.0.0:7373", &["https://127.0.0.1:7373", "https://10.0.0.7:7373"]),
            ("[::]:1", &["https://127.0.0.1:1", "https://[::1]:1", "https://10.0.0.7:1"]),
            ("[::1]:1", &["https://[::1]:1"]),
        ] {
            assert_eq!(urls(listens.parse().unwrap(), &machine), expected, "{listens}");
        }
        assert_eq!(urls("0.0.0.0:1".parse().unwrap(), &[]), ["https://0.0.0.0:1"]);
    }
}
