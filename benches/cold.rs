//! What a key costs that is not in memory: one read of a real OpenBao over TLS, with the
//! connections that the key store keeps and with a new one for each read, as the reference makes
//! it; one at a time and 32 at once.
//!
//! `cargo bench --bench cold`. Three clients send the same GET, in turn for several rounds: one
//! that connects anew each time and resumes no TLS session, the key store itself, and a bare
//! client that keeps its connections and throws the answer away. What the last one costs is
//! OpenBao's own, whoever asks. OpenBao has one core, the clients another.
//!
//! Most of that is the policy `default`, which each token has unless its role says otherwise: it
//! has templates, and OpenBao fills them in and parses the whole anew for each request. So there
//! are two roles: one with it and one without.
//!
//! `cargo bench --bench cold -- list` lists keys instead, and `… -- blip` reads keys while OpenBao
//! is away for two seconds.
//!
//! `KES_BENCH_CHECK=1` runs for seconds and fails where the key store saves less than half of what
//! it is recorded to. No absolute time is asserted.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

mod blip;
#[path = "serve/cpu.rs"]
#[allow(dead_code, reason = "the other bench measures memory too")]
mod cpu;
mod list;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use kes_keystore::config::{AppRoleSecret, KvVersion, Login, SecretText, Vault, VaultTls};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore as _, Value};
use kes_testkit::bao::RoleCredentials;
use kes_testkit::{Authority, Bao};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;

/// Reads at once.
const AT_ONCE: [usize; 2] = [1, 32];

/// Time and OpenBao's CPU of a new connection each, as multiples of the key store's: a row for
/// each role, in it a pair for each of [`AT_ONCE`].
const RECORDED: [[(f64, f64); 2]; 2] = [[(2.8, 2.0), (3.7, 1.8)], [(3.9, 3.3), (4.8, 3.2)]];

/// What the policy `default` grants, and the key store makes use of.
const OWN_TOKEN: &str = r#"
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"#;

const KEY: &str = "bench";

const HOUR: Duration = Duration::from_secs(3600);

/// Who reads.
#[derive(Clone)]
enum Reader {
    /// With a new connection each time or not.
    Http {
        client: reqwest::Client,
        url: String,
        token: String,
    },
    Store(Arc<VaultStore>),
}

/// What one read costs.
struct Cell {
    name: &'static str,
    /// Median and 99th percentile of the time of a read, µs.
    p50: u32,
    p99: u32,
    /// From one read to the next with as many at once, µs: the median of the rounds.
    each_us: f64,
    /// OpenBao's CPU time, µs: the median of the rounds.
    cpu_us: f64,
}

fn main() -> ExitCode {
    let check = std::env::var_os("KES_BENCH_CHECK").is_some();
    if std::env::args().any(|argument| argument == "list") {
        let good = list::run(check);
        return if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if std::env::args().any(|argument| argument == "blip") {
        let good = blip::run();
        return if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let authority = Authority::new();
    cpu::pin(0);
    let bao = Bao::start_tls(&authority, false);
    cpu::pin(1);
    let space = bao.root();
    let usual = space.set_up().kv("kv", 1).granting(OWN_TOKEN).token_ttl(HOUR).app_role();
    let lean = space.create_role("approle", "lean", "kes", HOUR);
    let roles = [("with the policy `default`", usual), ("without it", lean)];
    let fields = json!({ "token_no_default_policy": true });
    space.change_role("approle", "lean", &fields);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let good = runtime.block_on(async {
        let mut good = true;
        for ((what, role), recorded) in roles.iter().zip(RECORDED) {
            let readers = readers(&bao, &authority, role).await;
            println!("A role {what}:\n");
            for (at_once, recorded) in AT_ONCE.into_iter().zip(recorded) {
                let cells = measure(&bao, &readers, at_once, check).await;
                let saved = print(&cells, at_once);
                good &= saved.0 > recorded.0 / 2.0 && saved.1 > recorded.1 / 2.0;
            }
        }
        good
    });
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All of them, and the key that they read.
async fn readers(
    bao: &Bao,
    authority: &Authority,
    role: &RoleCredentials,
) -> [(&'static str, Reader); 3] {
    let ca = Some(authority.certificate().to_path_buf());
    let settings = settings(&bao.url(), KvVersion::V1, role, ca);
    let store = VaultStore::open(settings).await.unwrap();
    // As long as a stored key is.
    let value = Value::new("A".repeat(200));
    match store.create(&KeyName::parse(KEY).unwrap(), &value).await {
        Ok(()) | Err(Error::Exists { .. }) => {}
        Err(error) => panic!("{error}"),
    }

    let login = json!({ "role_id": role.role_id, "secret_id": role.secret_id });
    let answer = bao.root().must("POST", "auth/approle/login", Some(&login)).json();
    let token = answer["auth"]["client_token"].as_str().unwrap();
    let http = |max_idle| Reader::Http {
        client: client(authority, max_idle),
        url: format!("{}/v1/kv/{KEY}", bao.url()),
        token: token.to_owned(),
    };
    [
        ("new connection each", http(0)),
        ("kes", Reader::Store(Arc::new(store))),
        ("bare, kept", http(64)),
    ]
}

/// What an operator writes.
fn settings(url: &str, version: KvVersion, role: &RoleCredentials, ca: Option<PathBuf>) -> Vault {
    Vault {
        endpoints: vec![url.parse().unwrap()],
        engine: "kv".to_owned(),
        engine_place: None,
        version,
        namespace: String::new(),
        prefix: String::new(),
        transit: None,
        login: Login::AppRole {
            engine: "approle".to_owned(),
            namespace: None,
            id: role.role_id.clone(),
            secret: AppRoleSecret::Literal(SecretText::new(role.secret_id.clone())),
        },
        tls: VaultTls { client: None, ca: ca.map(Into::into), ..VaultTls::default() },
        proxies: Vec::new(),
        ping: Duration::from_secs(15),
    }
}

fn client(authority: &Authority, max_idle: usize) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.certificate()).unwrap()).unwrap();
    let mut tls = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = Resumption::disabled();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(max_idle)
        .build()
        .unwrap()
}

impl Reader {
    async fn read(&self) {
        match self {
            Self::Http { client, url, token } => {
                let answer = client.get(url).header("x-vault-token", token).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
            }
            Self::Store(store) => {
                store.read(&KeyName::parse(KEY).unwrap()).await.unwrap();
            }
        }
    }

    /// Reads for a while; the time of each read in µs.
    async fn load(&self, at_once: usize, time: Duration) -> Vec<u32> {
        let end = Instant::now() + time;
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let reader = self.clone();
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    while Instant::now() < end {
                        let start = Instant::now();
                        reader.read().await;
                        took.push(u32::try_from(start.elapsed().as_micros()).unwrap());
                    }
                    took
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    }
}

async fn measure(
    bao: &Bao,
    readers: &[(&'static str, Reader); 3],
    at_once: usize,
    brief: bool,
) -> Vec<Cell> {
    let rounds = if brief { 3 } else { 7 };
    let time = Duration::from_millis(if brief { 300 } else { 1_500 });
    let mut figures = [(); 3].map(|()| (Vec::new(), Vec::new(), Vec::new()));
    for (_, reader) in readers {
        // Connections are made, and what is read is in OpenBao's memory.
        reader.load(at_once, time / 3).await;
    }
    for _ in 0..rounds {
        for ((_, reader), (each, cpu, all)) in readers.iter().zip(&mut figures) {
            let (start, before) = (Instant::now(), cpu::time_ns(bao.process_id()));
            let took = reader.load(at_once, time).await;
            let spent = cpu::time_ns(bao.process_id()) - before;
            each.push(start.elapsed().as_secs_f64() * 1e6 / took.len() as f64);
            cpu.push(spent as f64 / 1e3 / took.len() as f64);
            all.extend(took);
        }
    }
    let cells = readers.iter().zip(figures);
    cells
        .map(|((name, _), (mut each, mut cpu, mut all))| {
            all.sort_unstable();
            Cell {
                name,
                p50: all[all.len() / 2],
                p99: all[all.len() * 99 / 100],
                each_us: median(&mut each),
                cpu_us: median(&mut cpu),
            }
        })
        .collect()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints a table; time and CPU of the first row as multiples of the second.
fn print(cells: &[Cell], at_once: usize) -> (f64, f64) {
    let (first, ours) = (&cells[0], &cells[1]);
    println!(
        "{:22} {:>10} {:>10} {:>10} {:>7} {:>12} {:>7}",
        format!("{at_once} at once"),
        "p50",
        "p99",
        "each",
        "ratio",
        "OpenBao CPU",
        "ratio"
    );
    for cell in cells {
        println!(
            "{:22} {:>7} µs {:>7} µs {:>7.0} µs {:>7.2} {:>9.0} µs {:>7.2}",
            cell.name,
            cell.p50,
            cell.p99,
            cell.each_us,
            first.each_us / cell.each_us,
            cell.cpu_us,
            first.cpu_us / cell.cpu_us,
        );
    }
    println!();
    (first.each_us / ours.each_us, first.cpu_us / ours.cpu_us)
}
