//! `tag = HMAC-SHA256(secret, message)` (RFC 2104, FIPS 198-1), with the secret prepared once.
//!
//! Danger: the prepared state is as secret as the secret itself. It is boxed, so that moves leave
//! no copy, and wiped when dropped.

use crate::{Secret, stack};

/// HMAC-SHA256 under one secret. The two blocks of the padded secret are hashed in advance, which
/// saves half of the work for a short message.
pub(crate) struct Mac(Box<State>);

impl Mac {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(stack::wiped(|| prepared(secret)))
    }

    /// Writes the tag of `message` to the caller's buffer, because it may be a key. The caller has
    /// to wipe the stack.
    pub(crate) fn tag_into(&self, message: &[u8], tag: &mut [u8; 32]) {
        tag_into(&self.0, message, tag);
    }
}

#[cfg(not(feature = "fips"))]
use rust_crypto::{State, prepared, tag_into};

#[cfg(feature = "fips")]
use fips_module::{State, prepared, tag_into};

/// By the crates `hmac` and `sha2`.
#[cfg(not(feature = "fips"))]
mod rust_crypto {
    use hmac::block_api::HmacCore;
    use hmac::digest::FixedOutput as _;
    use hmac::digest::block_api::CoreProxy as _;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;
    use zeroize::ZeroizeOnDrop;

    use crate::Secret;

    /// Without the buffer for message blocks: that buffer would be copied to the heap
    /// uninitialised, with old contents of the stack such as the padded secret.
    pub(super) type State = HmacCore<Sha256>;

    #[expect(clippy::expect_used, reason = "HMAC takes secrets of any length (RFC 2104)")]
    pub(super) fn prepared(secret: &Secret) -> Box<State> {
        State::new_from_slice(secret.expose()).expect("HMAC takes secrets of any length").into()
    }

    pub(super) fn tag_into(state: &State, message: &[u8], tag: &mut [u8; 32]) {
        let mut mac = Hmac::compose(state.clone(), Default::default());
        mac.update(message);
        mac.finalize_into(tag.into());
    }

    /// Fails the build if the crate feature that wipes the state is missing. `Hmac` has no marker
    /// trait of its own, but consists of the core and the block buffer that the marker of `Sha256`
    /// covers.
    const _: () = {
        const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
        wiped_on_drop::<Sha256>();
    };
}

/// By AWS-LC's FIPS module, which wipes its contexts (`HMAC_CTX_cleanup`).
#[cfg(feature = "fips")]
mod fips_module {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign_to_buffer};

    use crate::Secret;

    pub(super) type State = Key;

    pub(super) fn prepared(secret: &Secret) -> Box<State> {
        Box::new(Key::new(HMAC_SHA256, secret.expose()))
    }

    #[expect(clippy::expect_used, reason = "the buffer has the length of a tag")]
    pub(super) fn tag_into(state: &State, message: &[u8], tag: &mut [u8; 32]) {
        sign_to_buffer(state, message, tag).expect("the buffer has the length of a tag");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(text.get(i..i + 2).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 4231, test cases 1 to 3. Secrets here have 32 bytes and HMAC pads shorter ones with
    /// zeros to the block, so that the RFC's shorter keys are tested padded.
    #[test]
    fn known_answers_of_rfc_4231() {
        for (key, message, tag) in [
            (
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                vec![0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                (1..=25).collect(),
                vec![0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
        ] {
            let mut secret = key.clone();
            secret.resize(32, 0);
            let mac = Mac::new(&Secret::from_slice(&secret).unwrap());
            for _ in 0..2 {
                let mut computed = [0; 32];
                mac.tag_into(&message, &mut computed);
                assert_eq!(computed[..], unhex(tag), "key {key:?}");
            }
        }
    }

    /// Those of Project Wycheproof whose keys have at most the length of a secret: HMAC pads shorter
    /// ones with zeros. A shortened tag is the start of the whole one.
    #[test]
    fn wycheproof_hmac_sha256() {
        use wycheproof::TestResult;
        use wycheproof::mac::{TestName, TestSet};

        let groups = TestSet::load(TestName::HmacSha256).unwrap().test_groups.into_iter();
        let groups = groups.filter(|group| group.key_size <= 8 * Secret::LEN);
        let (mut right, mut wrong) = (0, 0);
        for case in groups.flat_map(|group| group.tests) {
            let mut secret = case.key.to_vec();
            secret.resize(Secret::LEN, 0);
            let mut tag = [0; 32];
            Mac::new(&Secret::from_slice(&secret).unwrap()).tag_into(&case.msg, &mut tag);
            let is_right = case.result == TestResult::Valid;
            assert_eq!(tag.starts_with(&case.tag), is_right, "case {}", case.tc_id);
            if is_right { right += 1 } else { wrong += 1 }
        }
        assert!(right > 20 && wrong > 20, "{right} right, {wrong} wrong");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_wiped_of_the_stack_is_all_that_was_used() {
        use stack::tests::depth;

        let secret = Secret::generate();
        let mac = Mac::new(&secret);
        let mut tag = [0; 32];
        assert!(depth(|| drop(prepared(&secret))) <= stack::DEPTH);
        for len in [0, 16, 64, 1000, 100_000] {
            let message = vec![7; len];
            assert!(depth(|| mac.tag_into(&message, &mut tag)) <= stack::DEPTH, "{len} bytes");
        }
    }
}
