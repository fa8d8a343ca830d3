//! `kes rehearse`: what an exchange of the reference would meet, told without a change of anything.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use kes_testkit::bao::minimal_transit_policy;
use serde_json::json;

use super::world::{HEAD, World, keystore};
use super::{Place, private};
use crate::migrate::stored;

/// A key as the oldest servers stored it.
const JSON: &str =
    r#"{"bytes":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","algorithm":"AES256"}"#;

/// All that can be seen of a folder and its files, but the times of reading.
fn seen(folder: &Path) -> Vec<(String, u32, u64, i64, i64, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .chain([folder.to_owned()])
        .map(|path| {
            let found = fs::symlink_metadata(&path).unwrap();
            let content = fs::read(&path).unwrap_or_default();
            let times = (found.mtime() * 1_000_000_000 + found.mtime_nsec(), found.ctime());
            let name = path.display().to_string();
            (name, found.mode(), found.ino(), times.0, times.1, content)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_folder_that_is_in_order_is_read_and_left_as_it_is() {
    let place = Place::new(&format!(
        "{HEAD}policy: {{ app: {{ allow: [/v1/key/create/*], identities: [{}] }} }}\n\
         keys: [ {{ name: key-1 }}, {{ name: new }} ]\nkeystore: {{ fs: {{ path: keys }} }}\n",
        "ab".repeat(32)
    ));
    let keys = place.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for number in 0..1_100 {
        private(&keys.join(format!("key-{number}")), &stored(number));
    }
    private(&keys.join("old"), JSON);
    let before = seen(&keys);
    let ran = place.rehearse();
    ran.is_good();
    for text in [
        "config.yml: can be read",
        "policies: 1 policy for 1 identity",
        "tls: the private key belongs to the certificate",
        "1101 keys can be read by a server",
        "keys: 1101 for AES256",
        "keys: stored: 1100 as servers write them today, 1 as JSON of the oldest servers",
        "keys: 'new' is not there, and a start creates it",
        "differs: a listing has all 1101 names; that of MinIO's KES ends after 1024",
        "same: 1 key cannot compute HMACs, here as with MinIO's KES",
    ] {
        ran.tells(text);
    }
    assert!(!ran.lines.iter().any(|line| line.contains("'key-1'")), "{ran:#?}");
    assert_eq!(seen(&keys), before, "no marker, no lock, no other time");
}

/// The folder of a server that runs is locked, which keeps nobody from reading it.
#[test]
fn what_is_to_be_seen_to_is_named_and_the_status_says_so() {
    let place = Place::new(&format!(
        "{HEAD}root: disabled\n\
         policy: {{ app: {{ allow: [/v1/key/creat/*], identities: [{}] }}, empty: {{ allow: [/v1/status] }} }}\n\
         keystore: {{ fs: {{ path: keys }} }}\n",
        "ab".repeat(32)
    ));
    let keys = place.path().join("keys");
    fs::create_dir(&keys).unwrap();
    private(&keys.join("good"), &stored(1));
    private(&keys.join("cut"), &stored(2)[..40]);
    private(&keys.join("empty"), "");
    private(&keys.join("a.key"), &stored(3));
    symlink("nowhere", keys.join("link")).unwrap();
    let before = seen(&keys);
    let ran = place.rehearse();
    assert_eq!(ran.status, 1, "{ran:#?}");
    for text in [
        "config.yml:4: root: ",
        "'/v1/key/creat/*' matches no request",
        "policies: 'empty' is for no identity: nobody has its rights",
        "keys: 'cut' is not a stored key: ",
        "keys: 'empty' is not a stored key: ",
        "keys: 'a.key' has a name that no key can have",
        "keys: 'link' is neither a file nor a link to one",
    ] {
        assert!(ran.warnings().iter().any(|line| line.contains(text)), "{text}: {ran:#?}");
    }
    assert_eq!(ran.failures(), [""; 0], "{ran:#?}");
    ran.tells("1 key can be read by a server");
    assert!(ran.stderr.ends_with("to be seen to before the exchange\n"), "{ran:#?}");
    assert_eq!(seen(&keys), before);
}

#[test]
fn a_folder_that_is_missing_is_not_made() {
    let place = Place::new(&format!("{HEAD}keystore: {{ fs: {{ path: keys }} }}\n"));
    let ran = place.rehearse();
    assert_eq!((ran.status, ran.failures().len()), (1, 1), "{ran:#?}");
    assert!(ran.failures()[0].starts_with("keystore: "), "{ran:#?}");
    assert!(!place.path().join("keys").exists());
    assert!(ran.stderr.contains("1 failure to be mended before the exchange"), "{ran:#?}");
}

#[test]
fn a_pinned_key_that_is_another_or_missing_is_a_failure() {
    let pin = "00".repeat(16);
    let place = Place::new(&format!(
        "{HEAD}keys: [ {{ name: a, fingerprint: \"{pin}\" }}, {{ name: b, fingerprint: \"{pin}\" }} ]\n\
         keystore: {{ fs: {{ path: keys }} }}\n"
    ));
    fs::create_dir(place.path().join("keys")).unwrap();
    private(&place.path().join("keys/a"), &stored(1));
    let ran = place.rehearse();
    assert_eq!(
        ran.failures(),
        [
            "keys: 'a' has another fingerprint than the configuration demands",
            "keys: 'b' is pinned by the configuration and is not there",
        ],
        "{ran:#?}"
    );
}

/// To read and to list is enough, and nothing else is done with Vault.
#[test]
fn a_role_that_may_only_read_is_enough() {
    for (version, transit) in [(1, false), (2, false), (2, true)] {
        let rights = match version {
            1 => "path \"kv/*\" { capabilities = [\"read\", \"list\"] }\n",
            _ => {
                "path \"kv/data/*\" { capabilities = [\"read\"] }\n\
                 path \"kv/metadata/*\" { capabilities = [\"list\"] }\n"
            }
        };
        let wraps = "path \"transit/decrypt/wrap\" { capabilities = [\"update\"] }\n";
        let all = minimal_transit_policy("transit", "wrap");
        assert!(all.contains(wraps.trim()), "{all}");
        let policy = format!("{rights}{}", if transit { wraps } else { "" });
        let world = World::with_policy(version, transit, &policy);
        let root = world.bao.root();
        for number in 0..3 {
            let name = format!("key-{number}");
            let mut text = stored(number);
            if transit {
                let body = json!({ "plaintext": crate::harness::BASE64.encode_to_string(&text) });
                let answer = root.must("POST", "transit/encrypt/wrap", Some(&body)).json();
                text = answer["data"]["ciphertext"].as_str().unwrap().to_owned();
            }
            let fields = json!({ &name: text });
            match version {
                1 => root.write(&format!("kv/{name}"), &fields),
                _ => root.write(&format!("kv/data/{name}"), &json!({ "data": fields })),
            }
        }
        let (names, role) = (world.names(), &world.role);
        let more = if transit { ", transit: { engine: transit, key: wrap }" } else { "" };
        world.place.write(&format!(
            "admin: {{ identity: {} }}\naddress: 127.0.0.1:0\n\
             tls: {{ key: server.key, cert: server.crt }}\n{}",
            "cd".repeat(32),
            keystore(&world.bao.url(), version, more)
        ));
        let ran = world.place.rehearse();
        assert_eq!(ran.failures(), [""; 0], "{version} {transit} {}: {ran:#?}", role.role_id);
        ran.tells("3 keys can be read by a server");
        ran.tells("keys: stored: 3 as servers write them today");
        ran.is_good();
        assert_eq!(world.names(), names, "{version} {transit}");
    }
}

#[test]
fn a_vault_that_refuses_is_a_failure_with_its_reason() {
    let world = World::with_policy(2, false, "path \"kv/data/*\" { capabilities = [\"read\"] }\n");
    let ran = world.place.rehearse();
    assert_eq!(ran.status, 1, "{ran:#?}");
    let [failure] = ran.failures()[..] else { panic!("{ran:#?}") };
    assert!(failure.starts_with("keystore: cannot list the keys of the source"), "{ran:#?}");
    assert!(failure.contains("\"list\""), "{ran:#?}");
}
