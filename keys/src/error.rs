use kes_keystore::StoreOperation;
use kes_policy::{StoreLimited, WrongPermit};

/// Why an operation on keys failed. The texts are for the log; none of them holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A bug: the permit is for something else than what was asked for. Nothing was done.
    #[error(transparent)]
    WrongPermit(#[from] WrongPermit),

    /// There is no such cipher.
    #[error("cipher '{}' is not supported", name.escape_debug())]
    Cipher {
        /// What was asked for.
        name: String,
    },

    /// A cipher that a FIPS build refuses.
    #[error("cipher '{}' is not approved (FIPS 140-3)", name.escape_debug())]
    UnapprovedCipher {
        /// What was asked for.
        name: String,
    },

    /// The imported key has the wrong size for its cipher.
    #[error("the key has not the size that cipher '{}' needs", cipher.escape_debug())]
    KeySize {
        /// The cipher, as it was asked for.
        cipher: String,
    },

    /// The ciphertext and its context are not what the key has encrypted.
    #[error("the ciphertext is not authentic")]
    NotAuthentic,

    /// The key is too old to have an HMAC key.
    #[error("the key has no HMAC key")]
    NoHmac,

    /// The key store failed, or the key does not exist, or exists already.
    #[error("a call to the key store failed")]
    Store {
        /// What the key store was to do.
        operation: StoreOperation,
        /// Why it did not.
        source: kes_keystore::Error,
    },

    /// The caller makes more calls to the key store than it may. Nothing was done.
    #[error(transparent)]
    StoreLimited(#[from] StoreLimited),

    /// A bug: the task that changes the key store panicked.
    #[error("the operation panicked")]
    Panicked,
}
