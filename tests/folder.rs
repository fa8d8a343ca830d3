//! The key folder (contract `crypto-and-storage.md`, In a key store): a server is bound to the
//! folder that it opened, and never takes another one for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kes_testkit::wait::eventually_async;

use crate::harness::{self, Client, Config, Exposition, Protocol, Server, Vectors, Who};

/// For what has to happen: no matter of time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

const MARKER: &str = ".kes-folder";

async fn admin(server: &Server) -> Client {
    server.client(Who::Admin, Protocol::H2).await
}

async fn status(client: &mut Client, method: &str, path: &str) -> u16 {
    client.send(method, path, "").await.status
}

async fn becomes_ready(client: &mut Client, status: u16) {
    eventually_async(PATIENCE, &format!("ready is {status}"), || {
        let mut client = client.share();
        async move { self::status(&mut client, "GET", "/v1/ready").await == status }
    })
    .await;
}

fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn id(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join(MARKER)).unwrap();
    text.lines().find(|line| !line.starts_with('#')).unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

/// A configuration whose folder must have an ID.
fn demanding(id: &str) -> Config {
    Config::usual().with("keystore", &format!("{{ fs: {{ path: keys, id: {id} }} }}"))
}

#[test]
fn an_empty_folder_in_the_place_of_the_keys_is_no_key_store() {
    harness::run(async {
        let server = Server::start();
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 200);
        let (keys, away) = (server.file("keys"), server.file("away"));
        fs::rename(&keys, &away).unwrap();
        fs::create_dir(&keys).unwrap();
        // At once, before any check.
        for (method, path, message) in [
            ("PUT", "/v1/key/create/k", "failed to create key"),
            ("PUT", "/v1/key/create/other", "failed to create key"),
            ("GET", "/v1/key/describe/other", "failed to read key"),
            ("DELETE", "/v1/key/delete/other", "failed to delete key"),
            ("GET", "/v1/key/list/*", "failed to list keys"),
        ] {
            let reply = client.send(method, path, "").await;
            assert_eq!(reply.error(), (502, message.to_owned()), "{method} {path}");
        }
        let import = Vectors::read().stored_keys[0].key.clone();
        let body = format!(r#"{{"key":"{import}","cipher":"AES256"}}"#);
        assert_eq!(client.send("PUT", "/v1/key/import/i", &body).await.status, 502);
        becomes_ready(&mut client, 504).await;
        let reply = client.send("GET", "/v1/status", "").await.json();
        assert_eq!(reply["keystore_unreachable"], true);
        assert_eq!(Exposition::of(&mut client).await.value("kes_keystore_reachable"), 0.0);
        server.wait_for_stderr(
            "not reachable: key store: fs: folder 'keys' is not available: another folder is in its \
             place; mount the folder again or put it back, or restart the server to use the other one",
        );
        assert_eq!(names(&keys), [""; 0]);

        fs::remove_dir(&keys).unwrap();
        fs::rename(&away, &keys).unwrap();
        becomes_ready(&mut client, 200).await;
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 400);
        assert_eq!(names(&keys), [MARKER, "k"]);
    });
}

#[test]
fn a_restart_takes_the_folder_that_is_there_and_says_if_it_has_no_keys() {
    harness::run(async {
        let mut server = Server::start();
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 200);
        let (keys, away) = (server.file("keys"), server.file("away"));
        let first = id(&keys);
        let no_keys = "keystore.fs.path: folder 'keys' has no keys; if keys are \
                       expected, stop the server, and mount or restore the folder";
        server.restart();
        assert_eq!(id(&keys), first);
        assert!(!server.stderr().contains(no_keys));

        fs::rename(&keys, &away).unwrap();
        fs::create_dir(&keys).unwrap();
        server.restart();
        server.wait_for_stderr(no_keys);
        assert_ne!(id(&keys), first);
        fs::remove_dir_all(&keys).unwrap();

        // A backup is a copy of all files of the folder.
        copy(&away, &keys);
        server.restart();
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "GET", "/v1/key/describe/k").await, 200);
        assert_eq!(id(&keys), first);
    });
}

#[test]
fn a_folder_of_the_reference_is_taken_and_marked() {
    harness::run(async {
        let vectors = Vectors::read();
        let server = Server::prepared(&Config::usual(), |folder| vectors.store(folder));
        let keys = server.file("keys");
        server.wait_for_stderr(&format!(
            "has the marker '.kes-folder' now, with the ID {}",
            id(&keys)
        ));
        let mut client = admin(&server).await;
        let listed = client.send("GET", "/v1/key/list/*", "").await.json()["names"].clone();
        assert_eq!(listed.as_array().unwrap().len(), names(&keys).len() - 1, "{listed}");
        assert!(!listed.to_string().contains("kes-folder"), "{listed}");
        assert_eq!(client.send("GET", "/v1/key/describe/.kes-folder", "").await.status, 400);
    });
}

#[test]
fn a_start_demands_the_id_of_the_configuration() {
    harness::run(async {
        let zeros = "0".repeat(32);
        let refused = Server::refused(&demanding(&zeros), |_| {});
        let place = "keystore.fs.path: cannot open folder 'keys' as key store: ";
        let said = format!("{place}No such file or directory (os error 2); it held keys before");
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);

        let refused = Server::refused(&demanding(&zeros), |folder| {
            fs::create_dir(folder.join("keys")).unwrap();
        });
        let said = format!("{place}it has no marker '.kes-folder', and keystore.fs.id demands");
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);

        let store = |id: &str| {
            let id = id.to_owned();
            move |folder: &Path| {
                let keys = folder.join("keys");
                fs::create_dir(&keys).unwrap();
                fs::write(keys.join(MARKER), format!("{id}\n")).unwrap();
            }
        };
        let ones = "1".repeat(32);
        let refused = Server::refused(&demanding(&zeros), store(&ones));
        let said =
            format!("{place}it has the ID {ones}, and keystore.fs.id demands the ID {zeros}");
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);

        let server = Server::prepared(&demanding(&zeros), store(&zeros));
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 200);
        // The ID says that it is the right folder, although it had no keys.
        assert!(!server.stderr().contains("has no keys"), "{}", server.stderr());
    });
}

#[test]
fn a_reload_takes_no_other_folder_at_the_same_path() {
    harness::run(async {
        let server = Server::start();
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 200);
        let (keys, away) = (server.file("keys"), server.file("away"));
        let failures = || server.stderr().matches("reload failed").count();
        let is_refused = |why: &str| {
            let before = failures();
            server.reload(&Config::usual());
            kes_testkit::wait::eventually(PATIENCE, "the reload fails", || failures() > before);
            let stderr = server.stderr();
            let last = stderr.lines().rfind(|line| line.contains("reload failed"));
            assert!(last.unwrap().contains(why), "{}", last.unwrap());
        };
        fs::rename(&keys, &away).unwrap();
        is_refused("it held keys before: mount it or restore it");
        assert!(!keys.exists());
        fs::create_dir(&keys).unwrap();
        let other = "another folder is there than the one that this server has opened before";
        is_refused(other);
        becomes_ready(&mut client, 504).await;

        // To another folder and back: the path is still known.
        let elsewhere = Config::usual().with("keystore", "{ fs: { path: elsewhere } }");
        server.reload(&elsewhere);
        server.wait_for_stderr("a reload makes no folder: correct the path");
        assert!(!server.file("elsewhere").exists());
        becomes_ready(&mut client, 504).await;
        fs::create_dir(server.file("elsewhere")).unwrap();
        server.reload_and_wait(&elsewhere);
        let mut client = admin(&server).await;
        becomes_ready(&mut client, 200).await;
        assert_eq!(status(&mut client, "GET", "/v1/key/describe/k").await, 404);
        is_refused(other);
        assert_eq!(names(&keys), [""; 0]);
        fs::remove_dir(&keys).unwrap();

        // A copy with the marker is taken.
        copy(&away, &keys);
        server.reload_and_wait(&Config::usual());
        let mut client = admin(&server).await;
        assert_eq!(status(&mut client, "GET", "/v1/key/describe/k").await, 200);
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 400);
        assert_eq!(status(&mut client, "PUT", "/v1/key/create/new").await, 200);
        assert!(keys.join("new").exists() && !away.join("new").exists());
    });
}

/// Each would go on to use keys that the other one has deleted or replaced.
#[test]
fn a_second_server_does_not_start_on_the_folder_of_another_one() {
    harness::run(async {
        let mut first = Server::start();
        let keys = first.file("keys").display().to_string();
        let sharing = Config::usual().with("keystore", &format!("{{ fs: {{ path: {keys} }} }}"));
        let in_use = format!(
            "another server, or `kes migrate`, is using it (process {}); a folder is for one server",
            first.process().id()
        );
        let refused = Server::refused(&sharing, |_| {});
        assert_eq!(refused.status, Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains(&in_use), "{}", refused.stderr);

        // Nor does it change to that folder.
        let second = Server::start();
        second.reload(&sharing);
        second.wait_for_stderr(&in_use);
        assert!(second.stderr().contains("still using the previous configuration"));

        // The first one reads its configuration as often as it likes, and is checked beside that.
        first.reload_and_wait(&Config::usual());
        let cache = Config::usual().with("cache", "{ expiry: { unused: 2m } }");
        first.reload_and_wait(&cache);
        let mut check = first.command(Who::Admin, &["check", "--config", "config.yml"]);
        let environment = first.environment().iter().map(|(name, value)| (name, value));
        let check = check.envs(environment).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        assert_eq!(status(&mut admin(&first).await, "PUT", "/v1/key/create/k").await, 200);

        // Once it has ended, however it does, the folder is free.
        first.process().kill();
        second.reload_and_wait(&sharing);
        assert_eq!(status(&mut admin(&second).await, "GET", "/v1/key/describe/k").await, 200);
    });
}
