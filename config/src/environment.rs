//! The environment of the process.

use std::net::IpAddr;

/// The source of `${NAME}` and of variables that replace missing fields. A closure that looks up
/// names is an environment, too, which cannot list its names.
pub trait Environment {
    /// The value of a variable; `None` if it is not set or not UTF-8.
    fn get(&self, name: &str) -> Option<String>;

    /// The names of all variables that are set.
    fn names(&self) -> Vec<String>;

    /// Whether an address is one of this machine, beside the loopback addresses.
    fn is_own_address(&self, address: IpAddr) -> bool;
}

impl<F: Fn(&str) -> Option<String>> Environment for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn is_own_address(&self, _: IpAddr) -> bool {
        false
    }
}

/// The environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }

    fn is_own_address(&self, address: IpAddr) -> bool {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        interfaces.iter().any(|interface| interface.ip() == address)
    }
}
