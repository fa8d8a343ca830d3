//! What goes wrong, one after the other and over each other.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kes_testkit::faulty::{Mode, Relay};

use super::super::world::World;
use super::{Soak, config};
use crate::harness::Credentials;

/// What has happened, and what it happened to.
pub(super) struct Faults {
    pub(super) world: World,
    counts: BTreeMap<&'static str, usize>,
}

impl Faults {
    pub(super) fn told(&self) -> String {
        format!("faults: {:?}", self.counts)
    }
}

/// Lets faults happen for a time, then leaves all as it should be and ends the soak.
pub(super) fn happen(
    soak: &Soak,
    mut world: World,
    relay: &Relay,
    endpoint: &str,
    seed: u64,
    lasts: Duration,
) -> Faults {
    let begun = Instant::now();
    let mut random = Rng::with_seed(seed);
    let mut counts = BTreeMap::new();
    while begun.elapsed() < lasts {
        pause(&mut random, 50..1_000);
        let name = one(soak, &mut world, relay, endpoint, &mut random);
        *counts.entry(name).or_default() += 1;
    }
    soak.ended.store(true, Ordering::Relaxed);
    Faults { world, counts }
}

fn pause(random: &mut Rng, milliseconds: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.u64(milliseconds)));
}

/// How long a fault lasts: most are blips, one in twelve is an outage.
fn lasts(random: &mut Rng) {
    if random.u8(0..12) == 0 { pause(random, 5_000..8_000) } else { pause(random, 50..2_000) }
}

/// One fault, from its begin to its end.
fn one(
    soak: &Soak,
    world: &mut World,
    relay: &Relay,
    endpoint: &str,
    random: &mut Rng,
) -> &'static str {
    let kind = random.u32(0..15);
    match kind {
        0 => {
            world.bao.seal();
            lasts(random);
            world.bao.unseal();
            "sealed"
        }
        1 => {
            world.bao.kill();
            lasts(random);
            world.bao.start_again();
            world.bao.unseal();
            "killed"
        }
        2 => {
            world.bao.freeze();
            lasts(random);
            world.bao.thaw();
            "frozen"
        }
        3..10 => {
            let (mode, name) = [
                (Mode::Hold, "held"),
                (Mode::HoldOpen, "open connections held"),
                (Mode::Cut, "reset"),
                (Mode::Refuse, "refused"),
                (Mode::Answer(429), "429"),
                (Mode::Answer(500), "500"),
                (Mode::Answer(503), "503"),
            ][kind as usize - 3];
            relay.set(mode);
            lasts(random);
            relay.set(Mode::Pass);
            name
        }
        10 | 11 => {
            world.space().revoke_tokens("approle");
            "tokens revoked"
        }
        12 => {
            let life = ["50ms", "300ms", "2s"][random.usize(0..3)];
            soak.server.reload(&config(world, endpoint, life));
            "reload"
        }
        13 => {
            soak.server.reload(&config(world, endpoint, "not a time"));
            pause(random, 0..300);
            soak.server.reload(&config(world, endpoint, "300ms"));
            "broken reload"
        }
        _ => {
            exchange_certificate(soak, random);
            "certificate"
        }
    }
}

/// Exchanges the server's certificate; sometimes the first that is written is none.
fn exchange_certificate(soak: &Soak, random: &mut Rng) {
    let path = |name: &str| soak.server.file(name);
    if random.bool() {
        std::fs::write(path("server.crt"), "not a certificate").unwrap();
        soak.server.signal(rustix::process::Signal::HUP);
        pause(random, 0..300);
    }
    let next = Credentials::new(&["127.0.0.1", "localhost"]);
    soak.trusted.lock().unwrap().push(next.certificate.clone());
    std::fs::write(path("server.key"), &next.key_pem).unwrap();
    std::fs::write(path("server.crt"), &next.certificate_pem).unwrap();
    soak.server.signal(rustix::process::Signal::HUP);
}
