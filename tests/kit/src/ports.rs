use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below those that a system gives to whoever asks for none (Linux: from 32768 on).
const STABLE: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is free now, and that no connection takes by chance while its server
/// is away: for a server that ends and comes back.
///
/// # Panics
/// If there is none.
pub fn stable_port() -> u16 {
    for attempt in 0..1000_u64 {
        let random = RandomState::new().hash_one(attempt) % u64::from(STABLE.end - STABLE.start);
        let port = STABLE.start + u16::try_from(random).expect("it is below the number of ports");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free on 127.0.0.1");
}
