//! Each server decrypts what the other one has encrypted: the proof that both have the same keys, and
//! that one can take the place of the other at any time.

use bytes::Bytes;
use kes_api::body::{
    Ciphertext, DataKey, DecryptRequest, EncryptRequest, GenerateRequest, Plaintext,
};
use kes_api::{Operation, SecretBytes};
use kes_client::Relayed;

use crate::compare::is_same;
use crate::exchange::{Exchange, json};
use crate::plan::Reason;
use crate::sides::{Side, Sides};
use crate::verdict::{Difference, Differs, Seen, Verdict};

/// What a server has encrypted.
struct Encrypted {
    plaintext: SecretBytes,
    ciphertext: SecretBytes,
}

/// Both servers decrypt, in the name of the client. `None` if there is nothing to decrypt.
pub(crate) async fn decrypt_crosswise(
    exchange: &Exchange,
    answers: &Sides<Relayed>,
) -> Option<Verdict> {
    let body = &exchange.request.body;
    let old = encrypted(exchange.operation?, body, &answers.old.body)?;
    let new = encrypted(exchange.operation?, body, &answers.new.body)?;
    let (of_old, of_new) =
        tokio::join!(decrypt(exchange, Side::New, old), decrypt(exchange, Side::Old, new));
    Some(match (of_old, of_new) {
        (Verdict::Equal, verdict) | (verdict @ Verdict::Differs(_), _) => verdict,
        (_, verdict @ Verdict::Differs(_)) => verdict,
        (verdict, _) => verdict,
    })
}

/// What the answer of a server has encrypted.
fn encrypted(operation: Operation, request: &Bytes, answer: &Bytes) -> Option<Encrypted> {
    match operation {
        Operation::GenerateKey => {
            let DataKey { plaintext, ciphertext } = serde_json::from_slice(answer).ok()?;
            Some(Encrypted { plaintext, ciphertext })
        }
        Operation::EncryptKey => {
            let Ciphertext { ciphertext } = serde_json::from_slice(answer).ok()?;
            let EncryptRequest { plaintext, .. } = EncryptRequest::from_json(request).ok()?;
            Some(Encrypted { plaintext, ciphertext })
        }
        _ => None,
    }
}

/// The context that was bound to a ciphertext.
fn context(operation: Option<Operation>, request: &Bytes) -> Option<SecretBytes> {
    match operation? {
        // A request without a body has none.
        Operation::GenerateKey if request.is_empty() => Some(SecretBytes::new(Vec::new())),
        Operation::GenerateKey => Some(GenerateRequest::from_json(request).ok()?.context),
        Operation::EncryptKey => Some(EncryptRequest::from_json(request).ok()?.context),
        _ => None,
    }
}

/// One server decrypts what the other one has encrypted.
async fn decrypt(exchange: &Exchange, decrypting: Side, encrypted: Encrypted) -> Verdict {
    let Encrypted { plaintext, ciphertext } = encrypted;
    let Some(context) = context(exchange.operation, &exchange.request.body) else {
        return Verdict::Not(Reason::NoAnswer);
    };
    let body = json(&DecryptRequest { ciphertext, context });
    let request = exchange.another(Operation::DecryptKey, body);
    let Ok(answer) = request.ask(decrypting).await else {
        return Verdict::Not(Reason::NoAnswer);
    };
    match answer.status.as_u16() {
        200 => {
            let decrypted: Option<Plaintext> = serde_json::from_slice(&answer.body).ok();
            let is_equal =
                decrypted.is_some_and(|decrypted| is_same(&decrypted.plaintext, &plaintext));
            if is_equal { Verdict::Equal } else { differs(decrypting, &answer) }
        }
        403 => Verdict::Not(Reason::NotAllowed),
        429 => Verdict::Not(Reason::Limit),
        500.. => Verdict::Not(Reason::NoAnswer),
        _ => differs(decrypting, &answer),
    }
}

fn differs(decrypting: Side, answer: &Relayed) -> Verdict {
    let detail = match decrypting {
        Side::Old => "old_decrypts_what_new_encrypted",
        Side::New => "new_decrypts_what_old_encrypted",
    };
    let encrypted = Seen { status: 200, message: None };
    let seen = Sides::of(decrypting, Seen::of(answer), encrypted);
    let detail = detail.to_owned();
    Verdict::Differs(Difference { differs: Differs::CrossDecryption, detail, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_is_its_own_plaintext_and_a_message_that_of_the_request() {
        let answer = Bytes::from_static(br#"{"plaintext":"YWJj","ciphertext":"eHl6"}"#);
        let request = Bytes::from_static(br#"{"plaintext":"MTIz","context":"Y3R4"}"#);
        let of = |operation| encrypted(operation, &request, &answer);
        let key = of(Operation::GenerateKey).unwrap();
        assert_eq!((key.plaintext.expose(), key.ciphertext.expose()), (&b"abc"[..], &b"xyz"[..]));
        let message = of(Operation::EncryptKey).unwrap();
        assert_eq!(message.plaintext.expose(), b"123");
        assert_eq!(message.ciphertext.expose(), b"xyz");
        assert!(of(Operation::DecryptKey).is_none());
    }

    #[test]
    fn the_context_is_that_of_the_request() {
        let request = Bytes::from_static(br#"{"Context":"Y3R4"}"#);
        for operation in [Operation::GenerateKey, Operation::EncryptKey] {
            assert_eq!(context(Some(operation), &request).unwrap().expose(), b"ctx");
        }
        let none = context(Some(Operation::GenerateKey), &Bytes::new()).unwrap();
        assert!(none.expose().is_empty());
        assert!(context(Some(Operation::EncryptKey), &Bytes::new()).is_none());
    }
}
