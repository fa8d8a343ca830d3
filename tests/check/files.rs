//! The configuration file, the files that it names, and keys in a folder.

use std::process::Output;

use super::world::HEAD;
use super::{Place, private};
use crate::harness::Openssl;

const FS: &str = "keystore: { fs: { path: keys } }\n";

fn place() -> Place {
    Place::new(&format!("{HEAD}{FS}"))
}

#[test]
fn a_folder_is_proved_and_stays_as_it_was() {
    let place = place();
    let keys = place.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    private(&keys.join("mine"), "text");
    let ran = place.check();
    ran.is_good();
    ran.tells(
        "keystore: open: folder 'keys' is there and has no marker yet: the server will write one",
    );
    ran.tells("keystore: scratch key: created, read, listed and deleted");
    let names: Vec<_> = keys.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mine"]);
}

/// The marker tells the folder from others.
#[test]
fn the_id_of_a_folder_is_told_and_proved() {
    let place = place();
    let (keys, id) = (place.path().join("keys"), "0123456789abcdef".repeat(2));
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join(".kes-folder"), format!("{id}\n")).unwrap();
    let ran = place.check();
    ran.is_good();
    ran.tells(&format!("folder 'keys' is there, has no keys, and has the ID {id}"));

    let demands = |id: &str| {
        place.write(&format!("{HEAD}keystore: {{ fs: {{ path: keys, id: \"{id}\" }} }}\n"));
        place.check()
    };
    demands(&id).is_good();
    let other = "f".repeat(32);
    let opening = ": keystore.fs.path: cannot open folder 'keys' as key store: ";
    demands(&other)
        .fails(&[&[opening, &format!("it has the ID {id}, and keystore.fs.id demands")]]);
    std::fs::write(keys.join(".kes-folder"), "damaged").unwrap();
    demands(&id).fails(&[&[opening, "its marker '.kes-folder' is damaged", "restore it"]]);
    std::fs::remove_dir_all(&keys).unwrap();
    demands(&id).fails(&[&[opening, "it held keys before: mount it or restore it"]]);
    assert!(!keys.exists());
}

/// Whoever checks may be root, and the server is not: it could not use a folder of root's.
#[test]
fn a_missing_folder_is_not_made() {
    let place = place();
    place.write(&format!("{HEAD}keystore: {{ fs: {{ path: new/keys }} }}\n"));
    let ran = place.check();
    ran.is_good();
    ran.tells("keystore: open: folder 'new/keys' can be made");
    assert!(!place.path().join("new").exists());
}

#[test]
fn a_folder_that_cannot_be_used_fails() {
    let place = place();
    std::fs::write(place.path().join("keys"), "a file").unwrap();
    place.check().fails(&[&[
        "keystore: open: config.yml:",
        ": keystore.fs.path: cannot open folder 'keys' as key store: it is a file",
    ]]);
    place.write(&format!("{HEAD}keystore: {{ fs: {{ path: keys/below }} }}\n"));
    place.check().fails(&[&[": keystore.fs.path: cannot open folder 'keys/below'"]]);
    assert_eq!(std::fs::read(place.path().join("keys")).unwrap(), b"a file");
}

#[test]
fn mistakes_of_the_file_are_told_as_the_server_tells_them() {
    let place = place();
    place.write(
        "admin: {}\ntls: { key: k, cert: c, auth: maybe }\nlog: { error: loud }\nkeystore: {}\n",
    );
    let run = |args: &[&str]| {
        let Output { status, stdout, stderr } = place.command(args).output().unwrap();
        assert_eq!((status.code(), stdout.as_slice()), (Some(1), &b""[..]));
        String::from_utf8(stderr).unwrap()
    };
    let said = run(&["check", "--config", "config.yml"]);
    assert_eq!(said, run(&["server", "--config", "config.yml"]));
    for text in ["Error: config.yml:", "tls.auth", "log.error", "admin.identity"] {
        assert!(said.contains(text), "{text}: {said}");
    }
    let said = run(&["check", "--config", "nope.yml"]);
    assert_eq!(said, "Error: open nope.yml: no such file or directory\n");
    let said = run(&["check"]);
    assert_eq!(said, "Error: no configuration file specified: --config. See 'kes check --help'\n");
}

#[test]
fn warnings_have_file_line_and_path_and_fail_if_they_are_to() {
    let place = place();
    let identity = "1".repeat(64);
    place.write(&format!(
        "admin: {{ identity: disabled }}\n\
         tls:\n  key: server.key\n  cert: server.crt\n  ca: server.crt\n  \
         proxy: {{ identities: [{identity}] }}\n\
         cach: {{}}\n\
         policy:\n  minio:\n    allow: [/v1/key/generate/*, /v1/key/decrypt/*]\n    \
         deny: [/v1/key/*/x, /v1/nothing]\n\
         {FS}"
    ));
    let ran = place.check();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let starts = [
        "config.yml:7: cach: ",
        "config.yml:9: policy.minio: allows generate and decrypt but not",
        "config.yml:11: policy.minio.deny[0]: ",
        "config.yml:11: policy.minio.deny[1]: '/v1/nothing' matches",
        "tls: ca is not used, since auth is off",
    ];
    let warnings = ran.warnings();
    assert_eq!(warnings.len(), starts.len(), "{ran:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{start}: {ran:#?}");
    }
    let strict = place.check_with(&["--strict"]);
    assert_eq!(strict.lines, ran.lines);
    assert_eq!(
        (strict.status, strict.stderr.as_str()),
        (1, "Error: --strict forbids 5 warnings\n")
    );
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn the_servers_certificate_is_looked_at() {
    let place = place();
    let openssl = Openssl::new();
    openssl.key("ca", "P-256");
    openssl.certificate("ca", "-addext basicConstraints=critical,CA:TRUE");
    openssl.issue("ca", "past", -1, "subjectAltName=IP:127.0.0.1");
    openssl.issue("ca", "nameless", 90, "basicConstraints=CA:FALSE");
    openssl.issue("ca", "good", 90, "subjectAltName=IP:127.0.0.1");
    let section = |key: &str, cert: &str, more: &str| {
        let path = |file: &str| openssl.path(file).display().to_string();
        let (key, cert) = (path(key), path(cert));
        place.write(&format!(
            "admin: {{ identity: disabled }}\ntls: {{ key: \"{key}\", cert: \"{cert}\"{more} }}\n{FS}"
        ));
        place.check()
    };
    section("good.key", "good.crt", "").is_good();
    section("past.key", "past.crt", "").fails(&[&["tls: ", "past.crt: expired at 20"]]);
    section("nameless.key", "nameless.crt", "").fails(&[&[
        "config.yml:2: tls.cert: ",
        "nameless.crt",
        "alternative name",
    ]]);
    section("past.key", "good.crt", "").fails(&[&["private key does not belong"]]);
    section("nope.key", "good.crt", "").fails(&[&[
        "config.yml:2: tls.key: ",
        "nope.key",
        "cannot be read",
    ]]);
    section("good.key", "good.crt", ", auth: on, ca: nope.pem")
        .fails(&[&["config.yml:2: tls.ca: nope.pem"]]);

    openssl.run("pkey -in good.key -aes256 -passout pass:hunter2 -out locked.key");
    section("locked.key", "good.crt", "").fails(&[&["encrypted", "no password"]]);
    section("locked.key", "good.crt", ", password: hunter2").is_good();
    let wrong = section("locked.key", "good.crt", ", password: hunter3");
    wrong.fails(&[&["the password is wrong"]]);
    assert!(!wrong.lines.concat().contains("hunter3"));

    // A chain with a CA that has ended.
    let chain = openssl.read("good.crt") + &openssl.read("past.crt");
    openssl.write("chain.crt", &chain);
    section("good.key", "chain.crt", "")
        .fails(&[&["certificate number 2 of ", "chain.crt: expired at"]]);
}
