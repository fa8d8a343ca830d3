//! SIGKILL at any moment: no key is lost or torn that a client was told of, and none that was
//! deleted comes back (contract `crypto-and-storage.md`, In a key store).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Sender};

use crate::harness::{self, BASE64, Client, Protocol, Server, Who, figure};

/// How often the server is killed: `KES_KILLS` sets another number.
const KILLS: usize = 15;

/// Clients that change keys at the same time.
const CLIENTS: usize = 4;

/// What a client was told.
enum Told {
    Created(String),
    /// A data key: its plaintext and its ciphertext.
    Sealed(String, [Value; 2]),
    Deleting(String),
    Deleted(String),
}

/// What is known of a key.
enum Key {
    /// It must be there, and open this data key.
    Alive(Option<[Value; 2]>),
    /// Its deletion was asked for.
    Unsure,
    Gone,
}

/// Creates, imports, uses and deletes keys until the server is gone.
async fn change(mut client: Client, names: String, told: Sender<Told>) -> Option<()> {
    let import = json!({ "key": BASE64.encode_to_string([7; 32]), "cipher": "AES256" }).to_string();
    for count in 0.. {
        let name = format!("{names}-{count}");
        let mut send = async |method: &str, api: &str, body: &str| {
            let path = format!("/v1/key/{api}/{name}");
            let reply = client.try_send(method, &path, &[], body.to_owned().into()).await.ok()?;
            assert_eq!(reply.status, 200, "{method} {path}");
            Some(reply)
        };
        let (api, body) = if count % 2 == 0 { ("create", "") } else { ("import", &*import) };
        send("PUT", api, body).await?;
        told.send(Told::Created(name.clone())).await.ok()?;
        let sealed = send("PUT", "generate", "").await?.json();
        let sealed = [sealed["plaintext"].clone(), sealed["ciphertext"].clone()];
        told.send(Told::Sealed(name.clone(), sealed)).await.ok()?;
        if count % 3 == 0 {
            told.send(Told::Deleting(name.clone())).await.ok()?;
            send("DELETE", "delete", "").await?;
            told.send(Told::Deleted(name.clone())).await.ok()?;
        }
    }
    unreachable!()
}

#[test]
fn whenever_the_server_is_killed_no_key_is_lost_or_torn() {
    harness::run(async {
        let kills = std::env::var("KES_KILLS").map_or(KILLS, |count| count.parse().unwrap());
        let mut server = Server::start();
        let mut keys: BTreeMap<String, Key> = BTreeMap::new();
        let mut acknowledged = 0;
        for round in 0..kills {
            let (sender, mut receiver) = mpsc::channel(CLIENTS);
            for client in 0..CLIENTS {
                let names = format!("key-{round}-{client}");
                let client = server.client(Who::Admin, Protocol::H2).await;
                tokio::spawn(change(client, names, sender.clone()));
            }
            drop(sender);
            // After another number of answers each time, while requests are running.
            let mut left = 1 + round * 7 % 60;
            let mut new = BTreeMap::new();
            while let Some(told) = receiver.recv().await {
                match told {
                    Told::Created(name) => _ = new.insert(name, Key::Alive(None)),
                    Told::Sealed(name, sealed) => _ = new.insert(name, Key::Alive(Some(sealed))),
                    Told::Deleting(name) => _ = new.insert(name, Key::Unsure),
                    Told::Deleted(name) => _ = new.insert(name, Key::Gone),
                }
                acknowledged += 1;
                left -= 1;
                if left == 0 {
                    server.process().kill();
                    // The answers that had arrived are still to come.
                    left = usize::MAX;
                }
            }
            assert!(left > 60, "the clients ended before the server");
            keys.append(&mut new);
            server.restart();
            verify(&server, &keys, &format!("key-{round}-")).await;
        }
        // Once more with all of them.
        verify(&server, &keys, "key-").await;
        figure("kills", kills);
        figure("acknowledged changes", acknowledged);
        assert!(acknowledged > 10 * kills, "{acknowledged}");
    });
}

/// Every key that must be there can be listed and opens what it has sealed, and none is there that
/// must not be.
async fn verify(server: &Server, keys: &BTreeMap<String, Key>, prefix: &str) {
    let mut client = server.client(Who::Admin, Protocol::H2).await;
    let mut listed = std::collections::BTreeSet::new();
    let mut from = String::new();
    loop {
        let page = client.send("GET", &format!("/v1/key/list/*{from}"), "").await.json();
        let names = page["names"].as_array().unwrap().iter();
        listed.extend(names.map(|name| name.as_str().unwrap().to_owned()));
        match page["continue_at"].as_str() {
            Some(next) if !next.is_empty() => next.clone_into(&mut from),
            _ => break,
        }
    }
    for (name, key) in keys.iter().filter(|(name, _)| name.starts_with(prefix)) {
        match key {
            Key::Alive(sealed) => {
                assert!(listed.contains(name), "{name} is lost");
                if let Some([plaintext, ciphertext]) = sealed {
                    let body = json!({ "ciphertext": ciphertext }).to_string();
                    let reply = client.send("PUT", &format!("/v1/key/decrypt/{name}"), &body).await;
                    assert_eq!(reply.status, 200, "{name}");
                    assert_eq!(reply.json()["plaintext"], *plaintext, "{name}");
                }
            }
            Key::Gone => assert!(!listed.contains(name), "{name} came back"),
            Key::Unsure => {}
        }
    }
    // What nobody was told of is whole as well.
    let unknown =
        listed.iter().filter(|name| name.starts_with(prefix) && !keys.contains_key(*name));
    for name in unknown {
        let reply = client.send("GET", &format!("/v1/key/describe/{name}"), "").await;
        assert_eq!(reply.status, 200, "{name}");
    }
}
