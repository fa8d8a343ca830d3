//! Encryption of stored keys by Vault's transit engine.

use std::sync::Arc;

use base64ct::{Base64, Encoding};
use http::Method;
use zeroize::Zeroizing;

use super::call::{Call, Capability, MAX_VALUE_ANSWER};
use super::fault::Fault;
use super::paths;
use super::session::Session;
use crate::config;
use crate::remote::{ANSWER_LIMIT, Field, Request, text_at, to_json};

/// A key of a transit engine.
pub(super) struct Transit {
    session: Arc<Session>,
    encrypt: String,
    decrypt: String,
}

impl Transit {
    pub(super) fn new(session: Arc<Session>, config: &config::Transit) -> Self {
        let path = |verb| paths::encode(&[&config.engine, verb, &config.key]);
        Self { session, encrypt: path("encrypt"), decrypt: path("decrypt") }
    }

    /// Encrypts a text; the result is `vault:v<N>:…`, with N the version of the transit key.
    pub(super) async fn wrap(&self, text: &str) -> Result<Zeroizing<String>, Fault> {
        let plaintext = Zeroizing::new(Base64::encode_string(text.as_bytes()));
        self.call(&self.encrypt, ("plaintext", plaintext.as_str()), "ciphertext").await
    }

    /// Decrypts a result of [`Transit::wrap`], of any version of the transit key.
    pub(super) async fn unwrap(&self, wrapped: &str) -> Result<Zeroizing<String>, Fault> {
        let text = self.call(&self.decrypt, ("ciphertext", wrapped), "plaintext").await?;
        let bytes = Base64::decode_vec(&text).map_err(|_| bad("the plaintext is not base64"))?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| bad("the plaintext is not text"))?;
        Ok(Zeroizing::new(text.to_owned()))
    }

    async fn call(
        &self,
        path: &str,
        (field, text): (&str, &str),
        wanted: &str,
    ) -> Result<Zeroizing<String>, Fault> {
        let call = Call {
            request: Request {
                method: Method::POST,
                path: path.to_owned(),
                query: None,
                body: Some(to_json(&Field(field, text))),
                repeatable: true,
                max_len: MAX_VALUE_ANSWER,
                limit: ANSWER_LIMIT,
                sends: None,
            },
            right: Capability::Update,
            judges_denial: false,
            shown_path: None,
            consistent: false,
        };
        let answer = self.session.call(&call).await?;
        text_at(answer.body.expose(), &["data", wanted])
            .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?
            .ok_or_else(|| bad("it contains no text"))
    }
}

/// Whether a stored text is encrypted: it begins with `vault:v`, a number and `:`. A stored key
/// never does, because base64 and JSON have no `:` there.
pub(super) fn is_wrapped(text: &str) -> bool {
    text.strip_prefix("vault:v").and_then(|rest| rest.split_once(':')).is_some_and(
        |(version, _)| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()),
    )
}

fn bad(reason: &str) -> Fault {
    Fault::BadAnswer { endpoint: "the transit engine".to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_text_of_any_version_is_known() {
        for text in ["vault:v1:abc", "vault:v2:", "vault:v123456:x:y"] {
            assert!(is_wrapped(text), "{text}");
        }
        for text in
            ["", "vault:", "vault:v:abc", "vault:v1", "vault:vx:abc", "Cg==", "{\"vault:v1:\""]
        {
            assert!(!is_wrapped(text), "{text}");
        }
    }
}
