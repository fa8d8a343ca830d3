//! What a client sends.

use serde::Serialize;

use super::lenient::{self, InvalidBody, Object, Slot};
use crate::SecretBytes;

/// At most this many ciphertexts in one bulk decryption (contract `api.md`, Bulk decrypt).
pub const MAX_BULK: usize = 1_000;

/// The body of an import.
#[derive(Default, Serialize)]
pub struct ImportRequest {
    /// The key; a valid one has 32 bytes.
    pub key: SecretBytes,
    /// The cipher's name, as the client wrote it.
    pub cipher: String,
}

/// The body of a data key generation.
#[derive(Default, Serialize)]
pub struct GenerateRequest {
    /// Bound to the ciphertext; empty for none.
    pub context: SecretBytes,
}

/// The body of an encryption.
#[derive(Default, Serialize)]
pub struct EncryptRequest {
    /// What to encrypt.
    pub plaintext: SecretBytes,
    /// Bound to the ciphertext; empty for none.
    pub context: SecretBytes,
}

/// The body of a decryption.
#[derive(Default, Serialize)]
pub struct DecryptRequest {
    /// What to decrypt.
    pub ciphertext: SecretBytes,
    /// The context it was encrypted with.
    pub context: SecretBytes,
}

/// The body of an HMAC computation.
#[derive(Default, Serialize)]
pub struct HmacRequest {
    /// What to authenticate.
    pub message: SecretBytes,
}

macro_rules! from_json {
    ($($request:ty),*) => {$(
        impl $request {
            /// Reads a body.
            ///
            /// # Errors
            /// [`InvalidBody`] if it does not start with a JSON object of the right form.
            pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
                lenient::object(body)
            }
        }
    )*};
}

from_json!(ImportRequest, GenerateRequest, EncryptRequest, DecryptRequest, HmacRequest);

/// Reads the body of a bulk decryption: an array of at most [`MAX_BULK`] decryptions.
///
/// # Errors
/// [`InvalidBody`] if it does not start with such an array.
pub fn bulk_decrypt_from_json(body: &[u8]) -> Result<Vec<DecryptRequest>, InvalidBody> {
    lenient::array(body, MAX_BULK)
}

impl Object for ImportRequest {
    fn field(&mut self, name: &str) -> Option<Slot<'_>> {
        match name {
            "key" => Some(Slot::Bytes(&mut self.key)),
            "cipher" => Some(Slot::Text(&mut self.cipher)),
            _ => None,
        }
    }
}

impl Object for GenerateRequest {
    fn field(&mut self, name: &str) -> Option<Slot<'_>> {
        (name == "context").then_some(Slot::Bytes(&mut self.context))
    }
}

impl Object for EncryptRequest {
    fn field(&mut self, name: &str) -> Option<Slot<'_>> {
        match name {
            "plaintext" => Some(Slot::Bytes(&mut self.plaintext)),
            "context" => Some(Slot::Bytes(&mut self.context)),
            _ => None,
        }
    }
}

impl Object for DecryptRequest {
    fn field(&mut self, name: &str) -> Option<Slot<'_>> {
        match name {
            "ciphertext" => Some(Slot::Bytes(&mut self.ciphertext)),
            "context" => Some(Slot::Bytes(&mut self.context)),
            _ => None,
        }
    }
}

impl Object for HmacRequest {
    fn field(&mut self, name: &str) -> Option<Slot<'_>> {
        (name == "message").then_some(Slot::Bytes(&mut self.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plaintext(body: &str) -> Option<Vec<u8>> {
        let request = EncryptRequest::from_json(body.as_bytes()).ok()?;
        Some(request.plaintext.expose().to_vec())
    }

    #[test]
    fn bodies_are_read_leniently() {
        for (body, expected) in [
            (r#"{"plaintext":"aGk="}"#, b"hi".as_slice()),
            (r#"{"PlainText":"aGk="}"#, b"hi"),
            (r#"{"plaintext":"AAAA","PLAINTEXT":"aGk="}"#, b"hi"),
            (r#"{"plaintext":"aG\nk="}"#, b"hi"),
            (r#"{"plaintext":"\u0061Gk="}"#, b"hi"),
            (r#"{"version":1,"x":{"y":[null,{}]},"plaintext":"aGk="}"#, b"hi"),
            (r#"{"plaintext":"aGk=","plaintext":null}"#, b""),
            (r#"{"plaintext":"aGk="} and more"#, b"hi"),
            ("{}", b""),
            ("null", b""),
        ] {
            assert_eq!(plaintext(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn an_unknown_name_may_be_no_text() {
        let body = b"{\"\xff\":1,\"\\ud800\":2,\"plaintext\":\"aGk=\"}";
        assert_eq!(EncryptRequest::from_json(body).unwrap().plaintext.expose(), b"hi");
    }

    #[test]
    fn other_json_is_refused() {
        for body in [
            "",
            "  ",
            "nope",
            "[]",
            "\"x\"",
            "1",
            "true",
            "{",
            r#"{"plaintext":"aGk="#,
            r#"{"plaintext":1}"#,
            r#"{"plaintext":"***"}"#,
            r#"{"plaintext":[104,105]}"#,
            r#"{"plaintext":{}}"#,
            r#"{"plaintext":true}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(plaintext(body), None, "{body}");
        }
    }

    #[test]
    fn bulk_has_a_limit() {
        let body = |n| format!("[{}]", vec![r#"{"ciphertext":"aGk="}"#; n].join(","));
        assert_eq!(bulk_decrypt_from_json(body(1_000).as_bytes()).unwrap().len(), 1_000);
        assert!(bulk_decrypt_from_json(body(1_001).as_bytes()).is_err());
        assert!(bulk_decrypt_from_json(b"[]").unwrap().is_empty());
        assert!(bulk_decrypt_from_json(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = ImportRequest::from_json(&body);
            let _ = bulk_decrypt_from_json(&body);
        }

        #[test]
        fn json_like_bytes_are_read_or_refused(body in r#"[\[\]{}",:a-z0-9\\]{0,60}"#) {
            let _ = DecryptRequest::from_json(body.as_bytes());
            let _ = bulk_decrypt_from_json(body.as_bytes());
        }
    }
}
