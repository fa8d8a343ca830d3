//! The configuration file, the files that it names, and keys in a folder.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

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

/// As after a restore by another user, or by one that broke off.
#[test]
fn keys_that_a_server_could_not_use_are_counted_and_named() {
    let place = place();
    let keys = place.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    private(&keys.join("good"), "text");
    for name in ["bad-1", "bad-2", "bad-3", "bad-4"] {
        private(&keys.join(name), "");
    }
    place.check().fails(&[&[
        "4 of 5 keys cannot be used: 'bad-",
        "': it is empty, ",
        ", ...; the user",
    ]]);

    for name in ["bad-2", "bad-3", "bad-4"] {
        std::fs::remove_file(keys.join(name)).unwrap();
    }
    std::fs::set_permissions(keys.join("good"), Permissions::from_mode(0o000)).unwrap();
    std::fs::write(keys.join("bad-1"), "text").unwrap();
    // Root reads what it likes, except without these capabilities.
    let bounding = "-dac_override,-dac_read_search";
    let kes = place.command(&["check", "--config", "config.yml"]);
    let mut limited = Command::new("setpriv");
    limited.args(["--bounding-set", bounding, "--inh-caps", bounding]).arg(kes.get_program());
    limited.args(kes.get_args()).current_dir(place.path());
    let is_root = rustix::process::geteuid().is_root();
    let output = if is_root {
        limited.output()
    } else {
        place.command(&["check", "--config", "config.yml"]).output()
    };
    let output = output.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let cause = "1 of 2 keys cannot be used: 'good': Permission denied (os error 13); the user of";
    assert!(said.contains(cause) && output.status.code() == Some(1), "{said}");
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
