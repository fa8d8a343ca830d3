use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use kes_testkit::wait;

use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who};

/// What "within seconds" may be on a busy machine.
const SECONDS: Duration = Duration::from_secs(15);

async fn serves(server: &Server, credentials: &Credentials) -> bool {
    let admin = Some(&server.admin);
    let trusted = &credentials.certificate;
    match Client::connect(&server.address, trusted, admin, Protocol::H1).await {
        Ok(mut client) => client.send("GET", "/v1/status", "").await.status == 200,
        Err(_) => false,
    }
}

async fn wait_until_served(server: &Server, credentials: &Credentials) {
    wait::eventually_async(SECONDS, "the new certificate is served", || {
        serves(server, credentials)
    })
    .await;
}

fn write(folder: &Path, credentials: &Credentials) {
    fs::write(folder.join("server.key"), &credentials.key_pem).unwrap();
    fs::write(folder.join("server.crt"), &credentials.certificate_pem).unwrap();
}

#[test]
fn files_that_change_in_place_are_served_within_seconds() {
    harness::run(async {
        let server = Server::start();
        let mut standing = server.client(Who::Admin, Protocol::H2).await;
        for _ in 0..2 {
            let fresh = Credentials::new(&["127.0.0.1"]);
            write(server.folder(), &fresh);
            wait_until_served(&server, &fresh).await;
            assert!(!serves(&server, &server.tls).await, "the old certificate is still served");
        }
        assert_eq!(standing.send("GET", "/v1/status", "").await.status, 200);
    });
}

#[test]
fn files_that_are_replaced_by_renaming_are_served_within_seconds() {
    harness::run(async {
        let server = Server::start();
        let fresh = Credentials::new(&["127.0.0.1"]);
        for (name, text) in [("server.key", &fresh.key_pem), ("server.crt", &fresh.certificate_pem)]
        {
            fs::write(server.file("new"), text).unwrap();
            fs::rename(server.file("new"), server.file(name)).unwrap();
        }
        wait_until_served(&server, &fresh).await;
    });
}

/// As a mounted volume of Kubernetes has it: the files are links through `..data`, which is a
/// link to a folder, and is itself replaced.
#[test]
fn a_folder_that_is_swapped_behind_a_link_is_served_within_seconds() {
    harness::run(async {
        let first = Credentials::new(&["127.0.0.1"]);
        let second = Credentials::new(&["127.0.0.1"]);
        let config = Config::usual().with("tls", "{ key: tls/server.key, cert: tls/server.crt }");
        let server = Server::prepared(&config, |folder| {
            let volume = folder.join("tls");
            for (name, credentials) in [("..1", &first), ("..2", &second)] {
                fs::create_dir_all(volume.join(name)).unwrap();
                write(&volume.join(name), credentials);
            }
            symlink("..1", volume.join("..data")).unwrap();
            for name in ["server.key", "server.crt"] {
                symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
            }
            // The harness looks for the server's own certificate here.
            write(folder, &first);
        });
        assert!(serves(&server, &first).await);
        let volume = server.file("tls");
        symlink("..2", volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        fs::remove_dir_all(volume.join("..1")).unwrap();
        wait_until_served(&server, &second).await;
        assert!(!server.stderr().contains("level=ERROR"), "{}", server.stderr());
    });
}

#[test]
fn a_key_that_does_not_fit_keeps_the_old_certificate() {
    harness::run(async {
        let server = Server::start();
        let fresh = Credentials::new(&["127.0.0.1"]);
        fs::write(server.file("server.key"), &fresh.key_pem).unwrap();
        server.wait_for_stderr("the private key does not belong to the certificate");
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains("does not belong")).unwrap();
        assert!(line.contains("level=ERROR"), "{line}");
        assert!(line.contains("server.key") && line.contains("server.crt"), "{line}");
        assert!(serves(&server, &server.tls).await, "{stderr}");
        // The other half comes later.
        fs::write(server.file("server.crt"), &fresh.certificate_pem).unwrap();
        wait_until_served(&server, &fresh).await;
    });
}

#[test]
fn files_that_go_away_or_are_damaged_keep_the_old_certificate() {
    harness::run(async {
        let server = Server::start();
        fs::remove_file(server.file("server.crt")).unwrap();
        server.wait_for_stderr("server.crt: cannot be read");
        assert!(serves(&server, &server.tls).await);
        let half = &server.tls.certificate_pem[..300];
        fs::write(server.file("server.crt"), half).unwrap();
        server.wait_for_stderr("cut off");
        assert!(serves(&server, &server.tls).await);
        write(server.folder(), &server.tls);
        server.wait_for_stderr("the certificate files were read again");
        assert!(serves(&server, &server.tls).await);
    });
}

/// Certificates that change, and a reload of the configuration, do not undo each other.
#[test]
fn a_reload_takes_the_files_as_they_are() {
    harness::run(async {
        let server = Server::start();
        let fresh = Credentials::new(&["127.0.0.1"]);
        write(server.folder(), &fresh);
        server.reload_and_wait(&Config::usual());
        assert!(serves(&server, &fresh).await, "the reload read the old files");
    });
}

#[test]
fn the_files_of_a_new_configuration_are_followed_as_well() {
    harness::run(async {
        let server = Server::start();
        let (second, third) = (Credentials::new(&["127.0.0.1"]), Credentials::new(&["127.0.0.1"]));
        fs::create_dir(server.file("new")).unwrap();
        write(&server.file("new"), &second);
        let tls = "{ key: new/server.key, cert: new/server.crt }";
        server.reload_and_wait(&Config::usual().with("tls", tls));
        assert!(serves(&server, &second).await);
        write(&server.file("new"), &third);
        wait_until_served(&server, &third).await;
    });
}
