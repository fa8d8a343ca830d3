//! The key of the snapshot is sealed with a TPM, by the real `systemd-creds`, as `docs/snapshot.md` says.

use std::fs;
use std::io::Read as _;

use kes_testkit::Tpm;
use serde_json::{Value, json};

use super::{answer, answers_all, config, has_keys, stop};
use crate::harness::{self, BASE64, Protocol, Server, Who};
use crate::vault::world::{Layout, World};

/// As in the unit: `LoadCredentialEncrypted=snapshot-key:…`
const NAME: &str = "snapshot-key";

/// The folder that stands for what systemd makes for the service, and removes with it.
const CREDENTIALS: &str = "credentials";

/// 32 bytes, as of `openssl rand -base64 32`.
fn key() -> String {
    let mut key = [0; 32];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut key).unwrap();
    BASE64.encode_to_string(key)
}

#[test]
fn a_key_sealed_with_a_tpm_brings_the_keys_through_a_restart_on_this_machine_alone() {
    let (machine, other) = (Tpm::new(), Tpm::new());
    let key = key();
    let sealed = machine.seal(NAME, key.as_bytes());
    let world_config = |world: &World| {
        config(world)
            .with(
                "cache",
                "{ snapshot: { path: keys.snapshot, key: \"${CREDENTIALS_DIRECTORY}/snapshot-key\" } }",
            )
            .env("CREDENTIALS_DIRECTORY", CREDENTIALS)
    };
    // What systemd does before it starts the service.
    let load = |folder: &std::path::Path, tpm: &Tpm| -> Result<(), String> {
        let opened = tpm.open(NAME, &sealed)?;
        fs::create_dir_all(folder.join(CREDENTIALS)).unwrap();
        fs::write(folder.join(CREDENTIALS).join(NAME), opened).unwrap();
        Ok(())
    };

    let mut world = World::new(Layout::V2);
    let mut server =
        Server::prepared(&world_config(&world), |folder| load(folder, &machine).unwrap());
    harness::run(async {
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        answer(&mut admin, "PUT", "/v1/key/create/k", Value::Null).await;
        let body = json!({ "context": "Yw==" });
        let made = answer(&mut admin, "PUT", "/v1/key/generate/k", body).await;
        has_keys(&server, 1).await;
        stop(&mut server);
        fs::remove_dir_all(server.file(CREDENTIALS)).unwrap();
        world.bao.kill();

        // The disk in another machine.
        let refused = load(server.folder(), &other).unwrap_err();
        assert!(refused.contains("integrity check failed"), "{refused}");
        assert!(!server.file(CREDENTIALS).exists());
        // This machine.
        load(server.folder(), &machine).unwrap();
        server.restart();
        server.wait_for_stderr("snapshot: 'keys.snapshot' has 1 key for use");
        answers_all(&server, "k", &made).await;
    });
    let on_disk = [&sealed, &fs::read(server.file("keys.snapshot")).unwrap()]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    for text in on_disk.iter().chain([&server.stderr(), &server.stdout()]) {
        assert!(!text.contains(&key));
    }
}
