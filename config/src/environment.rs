//! The environment of the process.

/// Where `${NAME}` comes from, and what the client of a key store takes from its surroundings.
/// A closure that looks names up is an environment whose other names are not known.
pub trait Environment {
    /// The value of a variable; `None` if it is not set, or no text.
    fn get(&self, name: &str) -> Option<String>;

    /// The names of all variables that are set.
    fn names(&self) -> Vec<String>;
}

impl<F: Fn(&str) -> Option<String>> Environment for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
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
}
