use std::time::Duration;

use super::{RoleCredentials, Space, minimal_kv_policy, minimal_transit_policy};

/// The name of the policy and of the role.
const NAME: &str = "kes";

/// How long a token lives, as the guide for operators sets it.
const TOKEN_TTL: Duration = Duration::from_secs(20 * 60);

/// What an operator sets up for a key server: engines, a policy named `kes` for them, and a login.
/// [`Space::set_up`] begins it, and [`SetUp::app_role`] completes it:
///
/// ```no_run
/// # use kes_testkit::Bao;
/// let bao = Bao::start();
/// let role = bao.root().set_up().kv("kv", 2).transit("transit", "wrap").app_role();
/// ```
#[derive(Debug)]
#[must_use = "the policy and the login are made in the end"]
pub struct SetUp<'a> {
    space: &'a Space<'a>,
    policy: String,
    login_engine: &'a str,
    token_ttl: Duration,
}

impl Space<'_> {
    /// Sets this namespace up for a key server.
    pub fn set_up(&self) -> SetUp<'_> {
        let (policy, login_engine) = (String::new(), "approle");
        SetUp { space: self, policy, login_engine, token_ttl: TOKEN_TTL }
    }
}

impl<'a> SetUp<'a> {
    /// Mounts a KV engine of version 1 or 2, with the rights that operators are told to grant.
    pub fn kv(self, engine: &str, version: u8) -> Self {
        self.space.enable_kv(engine, version);
        self.granting(&minimal_kv_policy(engine, version))
    }

    /// Mounts a transit engine with a key, and the right to use it.
    pub fn transit(self, engine: &str, key: &str) -> Self {
        self.space.enable_transit(engine, key);
        self.granting(&minimal_transit_policy(engine, key))
    }

    /// Grants more rights.
    pub fn granting(mut self, rights: &str) -> Self {
        self.policy += rights;
        self
    }

    /// Grants these rights, and none of before.
    pub fn granting_only(mut self, policy: &str) -> Self {
        policy.clone_into(&mut self.policy);
        self
    }

    /// Mounts the login engine at this path instead of `approle`.
    pub fn login_engine(mut self, engine: &'a str) -> Self {
        self.login_engine = engine;
        self
    }

    /// Lets tokens live for this long, for ever if it is zero, instead of 20 minutes.
    pub fn token_ttl(mut self, ttl: Duration) -> Self {
        self.token_ttl = ttl;
        self
    }

    /// Writes the policy, mounts AppRole logins, and makes the role `kes` of that policy.
    pub fn app_role(self) -> RoleCredentials {
        let Self { space, policy, login_engine, token_ttl } = self;
        space.write_policy(NAME, &policy);
        space.enable_app_role(login_engine);
        space.create_role(login_engine, NAME, NAME, token_ttl)
    }
}
