//! `kes inspect`.

use std::collections::BTreeMap;

use base64_simd::STANDARD as BASE64;
use serde_json::json;

use super::transcript::{Ran, admin_of, kes, start_server};

const AT_LEAST: &str = "Error: it is no ciphertext: one has at least 44 bytes, and this has 5\n";

#[test]
fn the_key_that_opens_a_ciphertext_is_named_and_the_plaintext_is_not() {
    let server = start_server();
    let mut variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let run = |variables: &BTreeMap<String, String>, args: &[&str]| -> Ran {
        kes(folder.path(), variables, args.iter().map(|arg| (*arg).to_owned()))
    };
    assert_eq!(run(&variables, &["key", "create", "-k", "a", "b", "c"]).status, 0);
    let made = run(&variables, &["key", "dek", "-k", "b", "Y29udGV4dA=="]).out;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let (ciphertext, plaintext) =
        (made["ciphertext"].as_str().unwrap(), made["plaintext"].as_str().unwrap());

    let told = run(&variables, &["inspect", "-k", ciphertext, "Y29udGV4dA=="]);
    assert_eq!(told.status, 0, "{}", told.err);
    for line in
        ["Format      current\n", "Plaintext   32 bytes\n", "Key         b\n", "Fingerprint "]
    {
        assert!(told.out.contains(line), "{line} in {}", told.out);
    }
    assert!(!told.out.contains(plaintext) && !told.err.contains(plaintext));
    let json = run(&variables, &["inspect", "-k", "--json", ciphertext, "Y29udGV4dA=="]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["key"], &json["tried"]), (&"b".into(), &2.into()), "{json}");
    assert!(!json.to_string().contains(plaintext));

    // Without its context, and by other keys, it is not opened.
    let told = run(&variables, &["inspect", "-k", ciphertext]);
    assert_eq!(told.status, 1, "{}", told.out);
    assert!(told.out.contains("Key         none of 3 that were tried\n"), "{}", told.out);
    assert!(
        told.err.contains("no key that was tried opens it without a context; "),
        "{}",
        told.err
    );
    let some = ["--key", "a", "--key", "c", "--key", "nope"];
    let told =
        run(&variables, &[&["inspect", "-k", ciphertext, "Y29udGV4dA=="], &some[..]].concat());
    assert_eq!(told.status, 1, "{}", told.out);
    let expected = "Key         none of 2 that were tried\nNot tried   nope: key does not exist\n";
    assert!(told.out.ends_with(expected), "{}", told.out);
    assert!(
        told.err.contains("no key that was tried opens it with this context\n"),
        "{}",
        told.err
    );

    // Without a server.
    variables.clear();
    let told = run(&variables, &["inspect", "--offline", ciphertext]);
    assert_eq!(told.status, 0, "{}", told.err);
    let expected = "Format      current, if it is a ciphertext\n\
                    Algorithm   AES256 or ChaCha20; the format does not tell\n\
                    Plaintext   32 bytes\n";
    assert_eq!(told.out, expected);
    // Whoever made a ciphertext cannot forge a row.
    let id = "x\nKey         forged";
    let old = json!({
        "aead": "AES-256-GCM-HMAC-SHA-256",
        "id": id,
        "iv": BASE64.encode_to_string([0; 16]),
        "nonce": BASE64.encode_to_string([0; 12]),
        "bytes": BASE64.encode_to_string([0; 40]),
    });
    let old = BASE64.encode_to_string(old.to_string());
    let told = run(&variables, &["inspect", "--offline", &old]);
    let row = "Key ID      x\\nKey         forged (not a name)\n";
    assert!(told.status == 0 && told.out.contains(row), "{} {}", told.out, told.err);
    let short = run(&variables, &["inspect", "--offline", "aGVsbG8="]);
    assert_eq!((short.status, &*short.err), (1, AT_LEAST));
}
