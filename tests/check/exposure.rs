//! What a configuration gives to people who were hardly meant: files that others can read or change,
//! APIs without authentication, keys that are sent unencrypted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::HEAD;
use super::{Place, Ran};

const FS: &str = "keystore: { fs: { path: keys } }\n";

fn place() -> Place {
    let place = Place::new(&format!("{HEAD}{FS}"));
    fs::create_dir(place.path().join("keys")).unwrap();
    place.mode("keys", 0o700);
    place
}

impl Place {
    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A warning that has all these parts, and no other; `--strict` fails because of it.
    fn warns_of(&self, parts: &[&str]) {
        let ran = self.check();
        assert_eq!((ran.status, ran.failures()), (0, vec![]), "{ran:#?}");
        ran.warns(&[parts]);
        let Ran { status, stderr, .. } = self.check_with(&["--strict"]);
        assert_eq!((status, stderr.as_str()), (1, "Error: --strict forbids 1 warning\n"));
    }
}

#[test]
fn files_that_others_can_read_or_change_are_told() {
    let place = place();
    let key = place.path().join("keys/k");
    super::private(&key, "text");
    for (name, sound, mode, parts) in [
        ("config.yml", 0o600, 0o644, ["config.yml can be read by everybody", "(mode 0644)"]),
        ("config.yml", 0o600, 0o666, ["config.yml can be read and changed by", "`chmod go-rwx"]),
        ("server.key", 0o600, 0o644, ["config.yml:3: tls.key: server.key can be", "(mode 0644)"]),
        ("server.crt", 0o644, 0o646, ["config.yml:3: tls.cert: server.crt can be", "changed by"]),
        ("keys", 0o700, 0o777, ["config.yml:4: keystore.fs.path: keys can be", "changed by"]),
        ("keys", 0o700, 0o1777, ["config.yml:4: keystore.fs.path: keys can be", "changed by"]),
        (".", 0o700, 0o777, ["config.yml can be replaced: folder ", "(mode 0777)"]),
    ] {
        place.mode(name, mode);
        place.warns_of(&parts);
        place.mode(name, sound);
    }
    let ran = place.check_with(&["--strict"]);
    ran.is_good();
    ran.tells("files: nobody else can read the secrets, or change what the server trusts");

    // A key in a folder that others may enter.
    place.mode("keys", 0o755);
    place.check_with(&["--strict"]).is_good();
    // The marker of the folder is no secret.
    super::private(&place.path().join("keys/.kes-folder"), &"0".repeat(32));
    place.mode("keys/.kes-folder", 0o644);
    place.check_with(&["--strict"]).is_good();
    place.mode("keys/.kes-folder", 0o666);
    place.warns_of(&["keystore.fs.path: keys/.kes-folder can be changed by everybody"]);
    place.mode("keys/.kes-folder", 0o644);
    place.mode("keys/k", 0o644);
    place.warns_of(&["keystore.fs.path: keys/k can be read by everybody"]);
}

/// Those of Vault as well, whether or not it is there.
#[test]
fn files_of_vault_that_others_can_read_are_told() {
    let mut place = place();
    place.secrets.push("the-secret-id".to_owned());
    super::private(&place.path().join("vault.key"), "text");
    super::private(&place.path().join("secret"), "the-secret-id");
    fs::copy(place.path().join("server.crt"), place.path().join("vault.crt")).unwrap();
    place.write(&format!(
        "{HEAD}keystore:\n  vault:\n    endpoint: https://127.0.0.1:1\n    approle: {{ id: a, \
         secret_file: secret }}\n    tls: {{ key: vault.key, cert: vault.crt, ca: vault.crt }}\n"
    ));
    let told = |place: &Place| {
        let ran = place.check();
        ran.warnings().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&place), [""; 0]);
    for (name, field) in [
        ("secret", "config.yml:7: keystore.vault.approle.secret_file: secret can be read by"),
        ("vault.key", "config.yml:8: keystore.vault.tls.key: vault.key can be read by"),
    ] {
        place.mode(name, 0o644);
        let found = told(&place);
        assert!(found.len() == 1 && found[0].starts_with(field), "{found:?}");
        place.mode(name, 0o600);
    }
    place.mode("vault.crt", 0o666);
    let found = told(&place);
    assert!(
        found.len() == 1 && found[0].contains("tls.cert: vault.crt can be changed"),
        "{found:?}"
    );
}

#[test]
fn an_api_without_authentication_and_plain_http_are_told() {
    let place = place();
    place.write(&format!("{HEAD}{FS}api: {{ /v1/ready: {{ skip_auth: true }} }}\n"));
    place.check_with(&["--strict"]).is_good();
    place.write(&format!("{HEAD}{FS}api: {{ /v1/key/decrypt/: {{ skip_auth: true }} }}\n"));
    place.warns_of(&["config.yml:5: api./v1/key/decrypt/.skip_auth: anybody who can connect may"]);
    place.write(&format!(
        "{HEAD}keystore: {{ vault: {{ endpoint: \"http://vault.invalid:1\", \
         approle: {{ id: a, secret: b }} }} }}\n"
    ));
    let ran = place.check();
    ran.warns(&[&["config.yml:4: keystore.vault.endpoint: http://vault.invalid:1 is on another"]]);
}

/// What the documentation tells an operator to do passes.
#[test]
fn what_identity_new_makes_is_sound() {
    let place = place();
    for expiry in ["1h", "24h", "720h", "8760h"] {
        let args = ["identity", "new", "-f", "--key", "server.key", "--cert", "server.crt", "--ip"];
        let args = [&args[..], &["127.0.0.1", "--expiry", expiry]].concat();
        assert!(place.command(&args).output().unwrap().status.success());
        place.check_with(&["--strict"]).is_good();
    }
}
