use base64_simd::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::faulty::{Faulty, Reply};

/// A stub of the one call that Vault's Kubernetes login makes: it confirms the tokens for which
/// `valid` holds, given the subject they were made with (see [`token`]).
pub fn token_review(valid: impl Fn(&str) -> bool + Send + Sync + 'static) -> Faulty {
    Faulty::start(move |request| {
        let review: serde_json::Value =
            serde_json::from_slice(&request.body).unwrap_or(serde_json::Value::Null);
        let token = review["spec"]["token"].as_str().unwrap_or_default();
        let subject = subject(token);
        let status = if subject.as_deref().is_some_and(&valid) {
            let user = json!({
                "username": "system:serviceaccount:minio:kes",
                "uid": "0b5d6c2e-0000-4000-8000-000000000001",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:minio"],
            });
            json!({ "authenticated": true, "user": user })
        } else {
            json!({ "authenticated": false, "error": "token is not valid" })
        };
        let body = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status,
        });
        Reply::json(201, body)
    })
}

/// A token of the service account `kes` in the namespace `minio`. Its signature is none: only
/// the stub ever looks at it.
pub fn token(subject: &str) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode_to_string(text);
    let head = part(json!({ "alg": "RS256", "typ": "JWT" }).to_string());
    let claims = json!({
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "minio",
        "kubernetes.io/serviceaccount/secret.name": "kes-token",
        "kubernetes.io/serviceaccount/service-account.name": "kes",
        "kubernetes.io/serviceaccount/service-account.uid": "0b5d6c2e-0000-4000-8000-000000000001",
        "sub": subject,
    });
    format!("{head}.{}.{}", part(claims.to_string()), part("no signature".to_owned()))
}

fn subject(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode_to_vec(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["sub"].as_str().map(str::to_owned)
}
