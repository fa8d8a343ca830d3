//! SIGKILL in the middle of double writes, and a new start.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc::{self, Sender};

use super::*;
use crate::harness::{self, figure};

/// How often the server is killed.
const KILLS: usize = 8;

/// Clients that change keys at the same time.
const CLIENTS: usize = 4;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its creation was asked for.
    Creating,
    /// It was answered with 200.
    Created,
    /// Its deletion was asked for.
    Deleting,
    /// It was answered with 200.
    Deleted,
}

/// Creates and deletes keys until the server is gone.
async fn change(mut client: Client, names: String, told: Sender<(String, Known)>) -> Option<()> {
    for count in 0.. {
        let name = format!("{names}-{count}");
        let mut send = async |method: &str, api: &str| {
            let path = format!("/v1/key/{api}/{name}");
            let reply = client.try_send(method, &path, &[], "".into()).await.ok()?;
            assert_eq!(reply.status, 200, "{method} {path}");
            Some(())
        };
        told.send((name.clone(), Known::Creating)).await.ok()?;
        send("PUT", "create").await?;
        told.send((name.clone(), Known::Created)).await.ok()?;
        if count % 2 == 0 {
            told.send((name.clone(), Known::Deleting)).await.ok()?;
            send("DELETE", "delete").await?;
            told.send((name.clone(), Known::Deleted)).await.ok()?;
        }
    }
    unreachable!()
}

/// What the two folders have under a name.
fn held(server: &Server, name: &str) -> [Option<Vec<u8>>; 2] {
    ["keys", "new"].map(|folder| std::fs::read(server.file(folder).join(name)).ok())
}

/// The names of the keys in a folder.
fn names(server: &Server, folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(server.file(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn whenever_the_server_is_killed_both_stores_have_what_was_answered() {
    harness::run(async {
        let stage = |stage: Stage| {
            config("{ fs: { path: keys } }")
                .with("migration", &stage.section("{ fs: { path: new } }"))
        };
        let mut server = Server::with(&stage(DOUBLE));
        let (mut keys, mut halves) = (BTreeMap::new(), 0);
        for round in 0..KILLS {
            let (sender, mut receiver) = mpsc::channel(CLIENTS);
            for number in 0..CLIENTS {
                let names = format!("key-{round}-{number}");
                tokio::spawn(change(admin(&server).await, names, sender.clone()));
            }
            drop(sender);
            // After another number of answers each time, while requests are running.
            let mut left = 8 + round * 13 % 60;
            let mut new = BTreeMap::new();
            while let Some((name, known)) = receiver.recv().await {
                new.insert(name, known);
                left = left.saturating_sub(1);
                if left == 0 {
                    server.process().kill();
                    // What had arrived is still to come.
                    left = usize::MAX;
                }
            }
            assert!(left > 100, "the clients ended before the server");
            server.restart();
            for (name, known) in &new {
                let stands = held(&server, name);
                let told =
                    format!("{name} ({known:?}): {:?}", stands.clone().map(|it| it.is_some()));
                let is_right = match (known, &stands) {
                    (Known::Created, [Some(_), Some(_)]) | (Known::Deleted, [None, None]) => true,
                    (Known::Created | Known::Deleted, _) => false,
                    (_, [None, None] | [Some(_), Some(_)]) => true,
                    // The old one is first, whatever is changed.
                    (Known::Creating, [Some(_), None]) | (Known::Deleting, [None, Some(_)]) => {
                        halves += 1;
                        true
                    }
                    _ => false,
                };
                assert!(is_right, "{told}");
                if let [Some(old), Some(new)] = &stands {
                    assert!(old == new, "{told}");
                }
            }
            keys.append(&mut new);
            server.reload_and_wait(&stage(if round % 2 == 0 { READ_NEW } else { DOUBLE }));
        }
        // What was not answered is completed by who is named for it, and stays in one store never.
        migrated(&server, &[]);
        let mut client = admin(&server).await;
        for (name, known) in &keys {
            match known {
                Known::Creating | Known::Created => {}
                Known::Deleting => assert!([200, 404].contains(&delete(&mut client, name).await)),
                Known::Deleted => assert_eq!(delete(&mut client, name).await, 404, "{name}"),
            }
        }
        let left = names(&server, "keys");
        assert_eq!(left, names(&server, "new"));
        for name in &left {
            let [old, new] = held(&server, name);
            assert!(old.is_some() && old == new, "{name}");
            assert!(seal(&mut client, name).await.is_ok(), "{name}");
        }
        for (name, known) in &keys {
            let is_left = match known {
                Known::Creating => continue,
                Known::Created => true,
                Known::Deleting | Known::Deleted => false,
            };
            assert_eq!(left.contains(name), is_left, "{name} ({known:?})");
        }
        figure("changes of two stores that a kill has halved", halves);
    });
}
