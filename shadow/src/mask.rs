//! Messages of servers without what a client has sent: names of keys stand in them, and an unknown
//! server may repeat anything. So the words of the contract's messages are told, and no others.

/// The words of the messages of the contract (`docs/contract/api.md`, Errors), and of those that
/// proxies and other servers have.
const WORDS: &str = "a algorithm already an and approved at audit authentic authorized available bad \
    be been bodies body by bytes calls cannot certificate changed characters cipher ciphertext client \
    clients closed connection contains create data database decrypt decryption delete denied does \
    empty encrypt error escape exist exists expected failed fips follow for forbidden found from \
    gateway has have hmac identity import in insufficient internal invalid is it key keys large list \
    listing log long many message method missing more must name names no not of on one only or out \
    page path pattern per permission permissions plaintext policy prohibited provided reachable read \
    received request requests required route second server service size store such support supported \
    the than this time timed timeout tls to too try unauthorized unavailable unknown unreachable \
    unsupported value was were with wrong";

/// The longest message, in characters.
const LONGEST: usize = 200;

/// What stands in place of what is left out.
const MASK: &str = "…";

/// A message without what stands in quotes, and without words that are not of messages.
pub(crate) fn masked(message: &str) -> String {
    let mut text = message.to_owned();
    for quote in ['\'', '"', '`'] {
        // From the first to the last: a name may have quotes itself.
        if let (Some(first), Some(last)) = (text.find(quote), text.rfind(quote))
            && let (Some(before), Some(after)) = (text.get(..=first), text.get(last..))
            && first < last
        {
            text = format!("{before}{MASK}{after}");
        }
    }
    let words: Vec<&str> = text.split_whitespace().map(word_of).collect();
    words.join(" ").chars().take(LONGEST).collect()
}

fn word_of(word: &str) -> &str {
    let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
    let is_message = WORDS.split_whitespace().any(|known| known.eq_ignore_ascii_case(bare));
    if is_message || word.trim_matches(['\'', '"', '`', ',', ':', '.']) == MASK {
        word
    } else {
        MASK
    }
}

/// The name of a field, if it is one that a program has: a key of a map may be the pattern of a
/// policy.
pub(crate) fn field(name: &str) -> &str {
    let is_field = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_field { name } else { MASK }
}

#[cfg(test)]
mod tests {
    use kes_api::message::{self, Message};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_of_the_contract_stay_whole() {
        let fixed = [
            message::NOT_AUTHORIZED,
            message::KEY_NOT_FOUND,
            message::KEY_EXISTS,
            message::POLICY_NOT_FOUND,
            message::IDENTITY_NOT_FOUND,
            message::NOT_AUTHENTIC,
            message::NO_HMAC,
            message::INVALID_BODY,
            message::INVALID_IMPORT_BODY,
            message::BODY_TOO_LARGE,
            message::INVALID_ESCAPE,
            message::CREATE_FAILED,
            message::READ_FAILED,
            message::DELETE_FAILED,
            message::LIST_FAILED,
            message::STORE_UNREACHABLE,
            message::STORE_UNAVAILABLE,
            message::TIMEOUT,
            message::TOO_MANY_STREAMS,
            message::TOO_MANY_BODIES,
            message::TOO_MANY_REQUESTS_PER_SECOND,
            message::TOO_MANY_REQUESTS_AT_ONCE,
            message::TOO_MANY_STORE_CALLS,
            message::NOT_RECORDED,
            message::INTERNAL,
        ];
        for Message { text, .. } in fixed {
            assert_eq!(masked(&text), text);
        }
    }

    #[test]
    fn what_a_client_has_sent_goes() {
        for (message, expected) in [
            (
                &*message::invalid_key_name("a/'b").text,
                "key name '…' is empty, too long or contains invalid characters",
            ),
            (&*message::cipher_not_supported("secret").text, "algorithm '…' is not supported"),
            ("no key my-key here", "no key … …"),
            ("my-key: not found", "… not found"),
            ("bad value dGhlIHNlY3JldA==", "bad value …"),
            ("client 3ecfcdf38fcb refused", "client … …"),
            ("404 page not found", "… page not found"),
        ] {
            assert_eq!(masked(message), expected);
        }
        assert_eq!(field("created_at"), "created_at");
        assert_eq!(field("/v1/key/*"), "…");
    }

    proptest! {
        #[test]
        fn every_word_that_is_told_is_one_of_messages(text in "\\PC{0,200}") {
            for word in masked(&text).split_whitespace() {
                let bare = word.trim_matches(|c: char| c.is_ascii_punctuation() || c == '…');
                prop_assert!(
                    bare.is_empty() || WORDS.split_whitespace().any(|w| w.eq_ignore_ascii_case(bare)),
                    "{word}"
                );
            }
        }
    }
}
