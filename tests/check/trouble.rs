//! A Vault that is not there, is closed, hangs, or refuses the login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_testkit::faulty::{Faulty, Reply, Request};
use kes_testkit::{Process, wait};
use rustix::process::Signal;
use serde_json::json;

use super::Place;
use super::world::{HEAD, World, keystore};

const SECRET: &str = "a-secret-of-a-role";

/// A stub of KV version 2 that takes everything and has nothing.
fn well(request: &Request) -> Reply {
    let nothing = || Reply::Proper { status: 204, headers: Vec::new(), body: Vec::new() };
    match (request.method.as_str(), request.path()) {
        (_, "/v1/sys/health") => Reply::healthy(),
        (_, "/v1/auth/approle/login") => Reply::login("s.token", 3600),
        (_, "/v1/sys/internal/ui/mounts/kv") => {
            Reply::json(200, json!({ "data": { "options": { "version": "2" } } }))
        }
        ("GET", _) => Reply::json(404, json!({ "errors": [] })),
        ("POST", path) if path.starts_with("/v1/kv/") && request.body == b"{}" => {
            Reply::json(400, json!({ "errors": ["no data provided"] }))
        }
        _ => nothing(),
    }
}

fn place(url: &str) -> Place {
    let mut place = Place::new(&format!("{HEAD}{}", keystore(url, 2, "")));
    place.env.push(("ID".to_owned(), "role".to_owned()));
    place.env.push(("SECRET".to_owned(), SECRET.to_owned()));
    place.secrets.extend([SECRET.to_owned(), "s.token".to_owned()]);
    place
}

#[test]
fn a_refused_login_says_what_to_look_at() {
    let world = World::new(1, false);
    let mut place = place(&world.bao.url());
    place.env.push(("ID".to_owned(), world.role.role_id.clone()));
    place.check().fails(&[&["keystore: login: ", "AppRole", "`approle.secret`"]]);
    world.is_untouched();
}

#[test]
fn a_vault_that_is_sealed_or_away_is_told_so() {
    let mut world = World::new(2, false);
    let url = world.bao.url();
    world.bao.seal();
    world.place.check().fails(&[&[&format!("keystore: connection: {url} is sealed")]]);
    world.bao.kill();
    let ran = world.place.check();
    ran.fails(&[&[&format!("keystore: connection: no connection to {url}"), "refused"]]);
    // The rest was looked at all the same.
    ran.tells("tls: server.crt");
}

#[test]
fn one_endpoint_of_several_that_is_away_is_a_warning() {
    let world = World::new(2, false);
    let away = "http://127.0.0.1:1";
    let both = format!("{away},{}", world.bao.url());
    world.place.write(&format!("{HEAD}{}", keystore(&both, 2, "")));
    let ran = world.place.check();
    assert_eq!((ran.status, ran.failures()), (0, vec![]), "{ran:#?}");
    let [warning] = ran.warnings()[..] else { panic!("{ran:#?}") };
    assert!(warning.starts_with(&format!("keystore: connection: no connection to {away}")));
    ran.tells(&format!("connection: {} serves", world.bao.url()));
    world.is_untouched();
}

#[test]
fn a_vault_that_hangs_ends_the_check_in_time() {
    let world = World::new(2, false);
    world.bao.freeze();
    let ran = world.place.check();
    ran.fails(&[&["keystore: connection: no answer", "no data arrived within 2 s"]]);

    // It hangs at the login, and at every write.
    let login = Faulty::start(|request: &Request| match request.path() {
        "/v1/auth/approle/login" => Reply::Hang,
        _ => well(request),
    });
    place(&login.url()).check().fails(&[&["keystore: login: ", "no data arrived within 5 s"]]);
}

#[test]
fn a_write_that_hangs_ends_the_check_in_time_and_is_cleaned_up() {
    let write = Faulty::start(|request: &Request| match request.method.as_str() {
        "POST" if request.path().starts_with("/v1/kv/data/") && request.body != b"{}" => {
            Reply::Hang
        }
        _ => well(request),
    });
    let ran = place(&write.url()).check();
    ran.fails(&[&["keystore: scratch key: cannot create it: "]]);
    let requests = write.requests();
    let written =
        requests.iter().rposition(|request| request.body.windows(7).any(|w| w == b"scratch"));
    let deleted = requests.iter().rposition(|request| {
        request.method == "DELETE" && request.path().starts_with("/v1/kv/metadata/kes-check-")
    });
    assert!(written.is_some() && deleted > written, "{requests:#?}");
}

/// What was written goes also when a later step fails.
#[test]
fn a_scratch_key_goes_when_it_cannot_be_read() {
    let world = World::new(2, false);
    let address = world.bao.admin_address();
    let is_written = AtomicBool::new(false);
    let relay = Faulty::start(move |request: &Request| match request.method.as_str() {
        "POST" if request.path().starts_with("/v1/kv/data/") && request.body != b"{}" => {
            is_written.store(true, Ordering::Relaxed);
            Reply::Forward(address)
        }
        "GET" if is_written.load(Ordering::Relaxed) && request.target.contains("version=1") => {
            Reply::json(500, json!({ "errors": ["no space left on device"] }))
        }
        _ => Reply::Forward(address),
    });
    world.place.write(&format!("{HEAD}{}", keystore(&relay.url(), 2, "")));
    world
        .place
        .check()
        .fails(&[&["keystore: scratch key: cannot read it", "no space left on device"]]);
    let wrote = relay.requests().iter().any(|request| {
        request.method == "POST" && request.path().starts_with("/v1/kv/data/kes-check-")
    });
    assert!(wrote);
    world.is_untouched();
}

#[test]
fn a_check_that_is_stopped_ends_soon() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/auth/approle/login" => Reply::Hang,
        _ => well(request),
    });
    let place = place(&node.url());
    let mut command = place.command(&["check", "--config", "config.yml"]);
    command.stdout(std::fs::File::create(place.path().join("stdout")).unwrap());
    let mut process = Process::start(command);
    wait::eventually(Duration::from_secs(30), "the check logs in", || {
        node.requests().iter().any(|request| request.path() == "/v1/auth/approle/login")
    });
    let start = Instant::now();
    process.signal(Signal::INT);
    let mut status = None;
    wait::eventually(Duration::from_secs(30), "the check ends", || {
        status = process.exit_status();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let printed = std::fs::read_to_string(place.path().join("stdout")).unwrap();
    assert!(printed.contains("FAILED   keystore: login: the check was stopped"), "{printed}");
}
