use kes_api::Identity;

/// Proof that somebody decided that an operation may run. It is neither `Clone` nor `Copy`, and
/// the three ways to get one all stand in this file.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    identity: Option<Identity>,
}

impl Permit {
    /// Of a request that the policies allow. Only [`Policies::decide`](crate::Policies::decide)
    /// makes it.
    pub(crate) const fn decided(identity: Identity) -> Self {
        Self { identity: Some(identity) }
    }

    /// Of a request to an API that the configuration exempts from authentication (`skip_auth`),
    /// with the identity of a caller that showed a certificate all the same.
    pub const fn exempt(identity: Option<Identity>) -> Self {
        Self { identity }
    }

    /// Of work of the server itself, such as the keys to create at start. No request may get it.
    pub const fn internal() -> Self {
        Self { identity: None }
    }

    /// Who asked; `None` for the server itself and for callers without a certificate.
    pub const fn identity(&self) -> Option<Identity> {
        self.identity
    }
}
