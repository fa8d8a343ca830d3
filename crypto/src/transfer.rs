//! Secrets on their way from one process to another on the same machine (a server that hands over to
//! its successor): readable for the process that asked for them alone, whoever records what goes
//! between the two.
//!
//! ```text
//! shared     = X25519(receiver, sender)              both keys are made for this transfer alone;
//!                                                    P-256 instead in a build with `fips`
//! transcript = what both sides said before ‖ public key of the receiver ‖ that of the sender
//! key        = HKDF-SHA-256(salt = none, shared, info = LABEL ‖ transcript)
//! message n  = nonce ‖ AES-256-GCM(key, nonce, plaintext, n ‖ transcript)
//! ```
//!
//! The number keeps messages from being left out, repeated or swapped.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand::SystemRandom;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Secret;
use crate::ciphertext::TAG_LEN;

#[cfg(not(feature = "fips"))]
static CURVE: &agreement::Algorithm = &agreement::X25519;
#[cfg(feature = "fips")]
static CURVE: &agreement::Algorithm = &agreement::ECDH_P256;

/// What the key is derived for.
const LABEL: &[u8] = b"kes transfer 1";

/// The longest plaintext of one message in bytes.
pub const MAX_PLAINTEXT: usize = 64 * 1024;

/// How much longer a message is than its plaintext.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// The transfer cannot go on: a key or a message is not what it should be. It does not say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was sent cannot be opened")]
pub struct Unreadable;

/// A hash of a text that both sides have to have in common, such as the place of a key store, in
/// hexadecimal digits.
pub fn fingerprint(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The side that asks for secrets, until it knows who sends them.
pub struct Receiver {
    private: EphemeralPrivateKey,
    public: Vec<u8>,
}

impl Receiver {
    /// Makes a key for one transfer.
    ///
    /// # Errors
    /// [`Unreadable`] if the library cannot make one.
    pub fn new() -> Result<Self, Unreadable> {
        let private = EphemeralPrivateKey::generate(CURVE, &SystemRandom::new());
        let private = private.map_err(|_| Unreadable)?;
        let public = private.compute_public_key().map_err(|_| Unreadable)?.as_ref().to_vec();
        Ok(Self { private, public })
    }

    /// The public key, for the sender.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Opens what a sender with this public key sends. `said` is what both sides have said before.
    ///
    /// # Errors
    /// [`Unreadable`] if it is no public key.
    pub fn open_from(self, sender: &[u8], said: &[u8]) -> Result<Opener, Unreadable> {
        let transcript = transcript(said, &self.public, sender);
        agree(self.private, sender, transcript).map(Opener)
    }
}

/// Opens messages in the order in which they were sealed.
pub struct Opener(Messages);

/// Seals messages for one receiver.
pub struct Sealer {
    messages: Messages,
    public: Vec<u8>,
}

struct Messages {
    key: RandomizedNonceKey,
    /// The number of the next message, then the transcript.
    context: Vec<u8>,
    next: u64,
}

impl Sealer {
    /// For the receiver with this public key. `said` is what both sides have said before.
    ///
    /// # Errors
    /// [`Unreadable`] if it is no public key.
    pub fn new(receiver: &[u8], said: &[u8]) -> Result<Self, Unreadable> {
        let private = EphemeralPrivateKey::generate(CURVE, &SystemRandom::new());
        let private = private.map_err(|_| Unreadable)?;
        let public = private.compute_public_key().map_err(|_| Unreadable)?.as_ref().to_vec();
        let messages = agree(private, receiver, transcript(said, receiver, &public))?;
        Ok(Self { messages, public })
    }

    /// The public key, for the receiver.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Seals a message. The plaintext is overwritten by its ciphertext, and wiped beyond it.
    ///
    /// # Errors
    /// [`Unreadable`] if it is longer than [`MAX_PLAINTEXT`].
    pub fn seal(&mut self, mut plaintext: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, Unreadable> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(Unreadable);
        }
        let context = Aad::from(self.messages.next_context());
        let sealed = self.messages.key.seal_in_place_separate_tag(context, &mut plaintext);
        let (nonce, tag) = sealed.map_err(|_| Unreadable)?;
        let mut message = Vec::with_capacity(plaintext.len() + OVERHEAD);
        message.extend_from_slice(nonce.as_ref());
        message.extend_from_slice(&plaintext);
        message.extend_from_slice(tag.as_ref());
        Ok(message)
    }
}

impl Opener {
    /// Opens the next message.
    ///
    /// # Errors
    /// [`Unreadable`] if it is not the next message that was sealed for this receiver.
    pub fn open(&mut self, message: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        if message.len() > MAX_PLAINTEXT + OVERHEAD {
            return Err(Unreadable);
        }
        let mut message = Zeroizing::new(message);
        let (nonce, body) = message.split_at_mut_checked(NONCE_LEN).ok_or(Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable)?;
        let context = Aad::from(self.0.next_context());
        let opened = self.0.key.open_in_place(nonce, context, body).map_err(|_| Unreadable)?;
        Ok(Zeroizing::new(opened.to_vec()))
    }
}

impl Messages {
    fn next_context(&mut self) -> Vec<u8> {
        let context = [&self.next.to_be_bytes()[..], &self.context].concat();
        self.next += 1;
        context
    }
}

/// The length of the key, for HKDF.
struct KeyLen;

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        Secret::LEN
    }
}

fn agree(
    private: EphemeralPrivateKey,
    peer: &[u8],
    transcript: Vec<u8>,
) -> Result<Messages, Unreadable> {
    let peer = UnparsedPublicKey::new(CURVE, peer);
    agree_ephemeral(private, peer, Unreadable, |shared| {
        let secret = Salt::new(HKDF_SHA256, &[]).extract(shared);
        let mut key = [0; Secret::LEN];
        let info = [LABEL, &transcript];
        let filled = secret.expand(&info, KeyLen).and_then(|key_of| key_of.fill(&mut key));
        let made = filled.and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key));
        key.zeroize();
        let key = made.map_err(|_| Unreadable)?;
        Ok(Messages { key, context: transcript, next: 0 })
    })
}

/// Each part with its length before it, so that no two sets of parts look the same.
fn transcript(said: &[u8], receiver: &[u8], sender: &[u8]) -> Vec<u8> {
    let parts = [said, receiver, sender];
    let with_length = |part: &[u8]| [&(part.len() as u64).to_be_bytes(), part].concat();
    parts.map(with_length).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] = b"hello";

    fn pair() -> (Sealer, Opener) {
        let receiver = Receiver::new().unwrap();
        let sealer = Sealer::new(receiver.public(), SAID).unwrap();
        let opener = receiver.open_from(sealer.public(), SAID).unwrap();
        (sealer, opener)
    }

    fn plain(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(bytes.to_vec())
    }

    #[test]
    fn messages_are_opened_in_their_order_and_hold_nothing_in_plain() {
        let (mut sealer, mut opener) = pair();
        for text in [&b"a secret of some length"[..], b"", &[7; MAX_PLAINTEXT]] {
            let message = sealer.seal(plain(text)).unwrap();
            assert_eq!(message.len(), text.len() + OVERHEAD);
            if text.len() > 16 {
                assert!(!message.windows(16).any(|part| part == &text[..16]));
            }
            assert_eq!(*opener.open(message).unwrap(), text);
        }
        assert!(sealer.seal(plain(&[7; MAX_PLAINTEXT + 1])).is_err());
    }

    #[test]
    fn a_message_is_opened_once_and_in_its_turn() {
        let (mut sealer, mut opener) = pair();
        let [first, second] = [b"one", b"two"].map(|text| sealer.seal(plain(text)).unwrap());
        assert!(opener.open(second.clone()).is_err());
        // The number of the one that failed counts.
        assert!(opener.open(first).is_err());
        let (_, mut other) = pair();
        assert!(other.open(second).is_err());
    }

    #[test]
    fn a_changed_message_or_another_conversation_is_refused() {
        for at in [0, NONCE_LEN, NONCE_LEN + 3] {
            let (mut sealer, mut opener) = pair();
            let mut message = sealer.seal(plain(b"one")).unwrap();
            message[at] ^= 1;
            assert_eq!(opener.open(message).err(), Some(Unreadable), "{at}");
        }
        let receiver = Receiver::new().unwrap();
        let mut sealer = Sealer::new(receiver.public(), SAID).unwrap();
        let mut opener = receiver.open_from(sealer.public(), b"hullo").unwrap();
        assert!(opener.open(sealer.seal(plain(b"one")).unwrap()).is_err());
    }

    #[test]
    fn what_is_no_message_or_no_key_is_refused() {
        for len in [0, 1, NONCE_LEN, OVERHEAD - 1, MAX_PLAINTEXT + OVERHEAD + 1] {
            let (_, mut opener) = pair();
            assert!(opener.open(vec![0; len]).is_err(), "{len}");
        }
        for public in [&[][..], &[0; 31], &[0; 32], &[0; 65], &[4; 1000]] {
            assert!(Sealer::new(public, SAID).is_err(), "{}", public.len());
            assert!(Receiver::new().unwrap().open_from(public, SAID).is_err());
        }
    }
}
