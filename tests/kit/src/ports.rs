use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self as unix, UnixDatagram};

/// Below those that a system gives to whoever asks for none (Linux: from 32768 on).
const STABLE: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 for a server that is told where to listen, and that may end and come back:
/// no connection takes it by chance while nobody listens, and no other test of this machine gets
/// it for as long as this value lives. Some other program may take it all the same, so that
/// whoever starts a server tries again with another one.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// Sockets in Linux's abstract namespace, whose names say which ports are taken. They go with
    /// the process, however that ends, and leave nothing behind.
    taken: Vec<UnixDatagram>,
}

impl Port {
    /// Takes one that is free now.
    ///
    /// # Panics
    /// If there is none.
    pub fn free() -> Self {
        (0..1000).find_map(|_| Self::take(random())).expect("a port is free on 127.0.0.1")
    }

    /// Takes one that is free now, and the one that follows it.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn with_next() -> Self {
        let both = |number| {
            let mut port = Self::take(number)?;
            port.taken.extend(Self::take(number + 1)?.taken);
            Some(port)
        };
        (0..1000).find_map(|_| both(random())).expect("two ports are free on 127.0.0.1")
    }

    fn take(number: u16) -> Option<Self> {
        let name = format!("kes-testkit-port-{number}");
        let name = unix::SocketAddr::from_abstract_name(name).expect("the name is short");
        let taken = UnixDatagram::bind_addr(&name).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, taken: vec![taken] })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

fn random() -> u16 {
    let count = u64::from(STABLE.end - STABLE.start);
    let random = RandomState::new().hash_one(()) % count;
    STABLE.start + u16::try_from(random).expect("it is below the number of ports")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_port_is_taken_once_until_it_is_given_back() {
        let port = Port::free();
        assert!(STABLE.contains(&port.number()));
        assert!(Port::take(port.number()).is_none());
        let number = port.number();
        drop(port);
        // A program that another test starts at this moment holds a copy of the socket until it
        // runs.
        let is_free = || Port::take(number).is_some();
        crate::wait::eventually(Duration::from_secs(30), "the port is free again", is_free);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_taken() {
        let port = Port::free();
        let number = port.number();
        let listener = TcpListener::bind(port.address()).unwrap();
        drop(port);
        assert!(Port::take(number).is_none());
        drop(listener);
    }
}
