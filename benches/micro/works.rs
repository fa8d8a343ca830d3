//! What is measured, each through the public functions of its crate.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::STANDARD;
use futures_util::FutureExt as _;
use kes_api::body::{
    DecryptRequest, EncryptRequest, GenerateRequest, ciphertext_json, generate_json, plaintext_json,
};
use kes_api::certificate::Certificate;
use kes_api::{Identity, KeyName, Operation, Route, Timestamp};
use kes_crypto::{Cipher, Key, Secret};
use kes_keys::{Expiry, Keys, Observer, Order, Refresh, SystemClock};
use kes_keystore::memory::MemoryStore;
use kes_keystore::record::Record;
use kes_policy::{Policies, Policy};

/// Something that is measured.
pub(crate) struct Work {
    /// Unique.
    pub(crate) name: String,
    /// What Go took on another machine, in nanoseconds.
    pub(crate) go_ns: Option<f64>,
    /// How often it is done to count its instructions: enough to make up for what differs from one
    /// time to the next.
    pub(crate) count: u64,
    /// Makes what is done over and over; what this takes is not measured.
    pub(crate) prepare: Prepare,
}

type Prepare = Box<dyn FnOnce() -> Box<dyn FnMut()>>;

/// Sizes of plaintexts, and what Go took to seal them on another machine, in nanoseconds: derivation
/// and AEAD of both ciphers.
const SIZES: [(&str, usize, [f64; 2]); 4] = [
    ("32 B", 32, [997.0, 265.0]),
    ("1 KiB", 1 << 10, [1_016.0, 602.0]),
    ("64 KiB", 1 << 16, [12_200.0, 26_000.0]),
    ("1 MiB", 1 << 20, [181_000.0, 412_000.0]),
];

/// A bulk of bytes that just fits into a body.
const BULK: usize = 700_000;

const CONTEXT: &[u8] = b"bucket/object-0123456789abcdef";

pub(crate) fn all() -> Vec<Work> {
    let mut works = envelope();
    works.push(in_memory());
    works.extend(policies());
    works.extend(identities());
    works.extend(records());
    works.extend(bodies());
    works
}

/// What `prepare` makes gives its result back, so that none of it is thought to be of no use.
fn work<R, F: FnMut() -> R + 'static>(
    name: impl Into<String>,
    count: u64,
    prepare: impl FnOnce() -> F + 'static,
) -> Work {
    let prepare = Box::new(|| {
        let mut once = prepare();
        Box::new(move || drop(black_box(once()))) as Box<dyn FnMut()>
    });
    Work { name: name.into(), go_ns: None, count, prepare }
}

fn key(cipher: Cipher) -> Key {
    Key::import(cipher, Secret::generate())
}

fn envelope() -> Vec<Work> {
    let random = work("28 random bytes", 1_000, || {
        || {
            let mut bytes = [0; 28];
            kes_crypto::random::fill(&mut bytes);
            bytes
        }
    });
    let mut works = vec![random];
    for (column, cipher) in [Cipher::Aes256, Cipher::ChaCha20].into_iter().enumerate() {
        let name = cipher.name();
        for (size, len, go_ns) in SIZES {
            let count = if len > 10_000 { 10 } else { 1_000 };
            let seal = work(format!("{name} seal {size}"), count, move || {
                let (key, plaintext) = (key(cipher), vec![1; len]);
                move || key.seal(black_box(&plaintext), CONTEXT)
            });
            works.push(Work { go_ns: Some(go_ns[column]), ..seal });
            works.push(work(format!("{name} open {size}"), count, move || {
                let key = key(cipher);
                let ciphertext = key.seal(&vec![1; len], CONTEXT);
                move || key.open(black_box(&ciphertext), CONTEXT).unwrap()
            }));
        }
        works.push(work(format!("{name} data key"), 1_000, move || {
            let key = key(cipher);
            move || key.data_key(black_box(CONTEXT))
        }));
    }
    works.push(work("HMAC of 32 B", 1_000, || {
        let key = key(Cipher::Aes256);
        move || key.hmac(black_box(&[1; 32]))
    }));
    works
}

/// What is around the envelope: the permit is checked, the key is found in memory, and its use is
/// noted.
fn in_memory() -> Work {
    struct Nobody;

    impl Observer for Nobody {
        fn cache_hit(&self) {}
        fn cache_miss(&self) {}
        fn invalid_record(&self) {}
        fn negative_hit(&self) {}
        fn refreshed(&self, _: Refresh) {}
        fn snapshot_hit(&self) {}
        fn snapshot_written(&self) {}
        fn snapshot_failed(&self) {}
        fn snapshot_refused(&self) {}
    }

    work("HMAC of 32 B, key in memory", 1_000, || {
        let day = Duration::from_hours(24);
        let expiry = Expiry { any: day, unused: day, offline: Duration::ZERO };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (name, policies) = (KeyName::parse("k").unwrap(), Policies::of_admin(identity(0)));
        let permit = move |operation: Operation, path| {
            policies.permit(Some(&identity(0)), operation, path).unwrap()
        };
        let keys = runtime.block_on(async {
            let store = MemoryStore::new();
            let keys = Keys::new(store, Order::default(), expiry, Arc::new(Nobody), SystemClock);
            let permit = permit(Operation::CreateKey, "/v1/key/create/k");
            let unheard = || |_: &Result<(), kes_keys::Error>| None;
            keys.create(&permit, name, unheard).await.unwrap();
            keys
        });
        let permit = permit(Operation::Hmac, "/v1/key/hmac/k");
        move || {
            let _runtime = &runtime;
            keys.hmac(&permit, name, black_box(&[1; 32])).now_or_never().unwrap().unwrap()
        }
    })
}

/// One policy for one identity, and a thousand for ten identities each.
fn policies() -> Vec<Work> {
    let mut works = Vec::new();
    for (of, count, each) in [("1 policy", 1, 1), ("1,000 policies", 1_000, 10)] {
        for (what, path) in [
            ("exact", "generate/key-N"),
            ("with *", "decrypt/key-N-0"),
            ("refused", "import/key-N"),
        ] {
            let (route, _) = Route::find(&format!("/v1/key/{path}")).unwrap();
            let name = format!("decision by {of}, {what}");
            works.push(work(name, 20_000, move || {
                let policies = Policies::new(None, listed(count, each)).unwrap();
                let path =
                    |i: usize| format!("/v1/key/{path}").replace('N', &(i / each).to_string());
                let asked: Vec<(Identity, String)> =
                    (0..count * each).map(|i| (identity(i), path(i))).collect();
                let is_allowed = what != "refused";
                let mut next = 0;
                move || {
                    // Not the neighbour, which memory would have at hand.
                    next = (next + 7_919) % asked.len();
                    let (identity, path) = &asked[next];
                    let decided = policies.permit(
                        Some(black_box(identity)),
                        black_box(route.operation),
                        black_box(path),
                    );
                    assert_eq!(decided.is_ok(), is_allowed);
                }
            }));
        }
    }
    works
}

fn listed(count: usize, each: usize) -> Vec<(Policy, Vec<Identity>)> {
    let policy = |i: usize| {
        let allow = [
            format!("/v1/key/create/key-{i}"),
            format!("/v1/key/generate/key-{i}"),
            format!("/v1/key/decrypt/key-{i}*"),
        ];
        let deny = [format!("/v1/key/delete/key-{i}*")];
        let name = format!("policy-{i}");
        let policy = Policy::new(&name, allow.iter().map(|p| &**p), deny.iter().map(|p| &**p));
        (policy, (i * each..(i + 1) * each).map(identity).collect())
    };
    (0..count).map(policy).collect()
}

fn identity(i: usize) -> Identity {
    Identity::of_public_key(&i.to_le_bytes())
}

fn identities() -> Vec<Work> {
    let certificate = || {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let mut params = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
        params.serial_number = Some(1_u64.into()); // of the same length each time
        params.self_signed(&key).unwrap().der().to_vec()
    };
    vec![
        work("identity of a certificate", 1_000, move || {
            let der = certificate();
            move || Identity::of_peer([black_box(&*der)]).unwrap()
        }),
        work("identity of a public key", 1_000, move || {
            let der = certificate();
            let public_key = Certificate::parse(&der).unwrap().public_key().to_vec();
            move || Identity::of_public_key(black_box(&public_key))
        }),
    ]
}

fn records() -> Vec<Work> {
    let record = || Record {
        key: key(Cipher::Aes256),
        created_at: Timestamp::parse("2024-05-06T07:08:09Z").unwrap(),
        created_by: identity(1).to_string(),
    };
    vec![
        work("stored key, decode", 1_000, move || {
            let value = record().encode();
            move || Record::decode(black_box(&value)).unwrap()
        }),
        work("stored key, encode", 1_000, move || {
            let record = record();
            move || black_box(&record).encode()
        }),
    ]
}

fn bodies() -> Vec<Work> {
    let base64 = |len| STANDARD.encode_to_string(vec![1_u8; len]);
    let context = STANDARD.encode_to_string(CONTEXT);
    let generate = format!(r#"{{"context":"{context}"}}"#);
    let mut works = vec![
        work("body of generate, decode", 1_000, move || {
            move || GenerateRequest::from_json(black_box(generate.as_bytes())).unwrap()
        }),
        work("answer of generate, encode", 1_000, || {
            || generate_json(black_box(&[1; 32]), black_box(&[1; 76]))
        }),
    ];
    for (size, len, count) in [("32 B", 32, 1_000), ("700 kB", BULK, 10)] {
        let encrypt = format!(r#"{{"plaintext":"{}","context":"{context}"}}"#, base64(len));
        let decrypt = format!(r#"{{"ciphertext":"{}","context":"{context}"}}"#, base64(len + 44));
        works.push(work(format!("body of encrypt, decode {size}"), count, move || {
            move || EncryptRequest::from_json(black_box(encrypt.as_bytes())).unwrap()
        }));
        works.push(work(format!("answer of encrypt, encode {size}"), count, move || {
            let ciphertext = vec![1; len + 44];
            move || ciphertext_json(black_box(&ciphertext))
        }));
        works.push(work(format!("body of decrypt, decode {size}"), count, move || {
            move || DecryptRequest::from_json(black_box(decrypt.as_bytes())).unwrap()
        }));
        works.push(work(format!("answer of decrypt, encode {size}"), count, move || {
            let plaintext = vec![1; len];
            move || plaintext_json(black_box(&plaintext))
        }));
    }
    works
}
