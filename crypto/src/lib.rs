//! Key material and ciphertexts (contract `crypto-and-storage.md`). Nothing here does I/O or is
//! async, so all of it can be fuzzed and measured alone.
//!
//! # The envelope
//!
//! A [`Key`] is a [`Cipher`] and two secrets of 32 bytes, one for encryption and one for HMAC.
//! Every message is encrypted under a key of its own, derived from a fresh `iv`:
//!
//! ```text
//! random     = 28 bytes of the system's generator
//! iv, nonce  = random[..16], random[16..]
//!
//! AES256     message key = HMAC-SHA256(secret, iv)      AEAD = AES-256-GCM
//! ChaCha20   message key = HChaCha20(secret, iv)        AEAD = ChaCha20-Poly1305
//!
//! ciphertext = AEAD(message key, nonce, plaintext, context) ‖ random
//!              └ as long as the plaintext + 16 bytes of tag ┘  └ 28 ┘
//! ```
//!
//! Two older formats can be decrypted and are never written; see `ciphertext.rs`.
//!
//! Sources: HMAC RFC 2104, HChaCha20 draft-irtf-cfrg-xchacha-03 section 2.2, AES-GCM NIST
//! SP 800-38D, ChaCha20-Poly1305 RFC 8439.
//!
//! # What is wiped, and what is not
//!
//! Secrets, message keys, key schedules, HMAC states and opened plaintexts are overwritten when
//! they are dropped. The stack that the ciphers used, with the states of GCM and Poly1305, is
//! overwritten after each operation. This is best effort: a library cannot reach registers, or
//! copies that the compiler or the kernel (swap, core dumps) makes.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

mod secret;

mod cipher;

mod key;

mod envelope;

mod aead;

mod ciphertext;

mod inspect;

mod mac;

mod stack;

mod wipe;

pub mod random;

pub mod snapshot;

pub mod transfer;

pub use cipher::Cipher;
pub use envelope::{NotAuthentic, OVERHEAD, Plaintext};
pub use inspect::{Format, Inspected, inspect};
pub use key::Key;
pub use secret::Secret;
