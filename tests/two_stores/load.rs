use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::harness;

/// How many clients change keys at a time. Each has keys of its own, of which it knows all.
const CLIENTS: usize = 4;

/// What a client knows of its keys.
#[derive(Default)]
struct Known {
    /// Those that exist, each with a ciphertext.
    keys: Vec<(String, String)>,
    /// Those that were deleted, each with a ciphertext that nothing may open.
    deleted: Vec<(String, String)>,
    made: usize,
}

/// Changes and uses keys until it is told to stop. A request may fail with an error of the server; what
/// is answered has to be true.
async fn work(
    mut client: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> (Client, Known) {
    let mut known = Known::default();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        match round % 5 {
            0 => {
                known.made += 1;
                let key = format!("client-{number}-{}", known.made);
                make(&mut client, &mut known, key, &stop).await;
            }
            1 if known.keys.len() > 5 => {
                let (key, ciphertext) = known.keys.remove(round % 5);
                remove(&mut client, &key).await;
                known.deleted.push((key, ciphertext));
            }
            _ => look(&mut client, &known, round, &answered).await,
        }
    }
    (client, known)
}

/// Creates a key, until it is there for certain.
async fn make(client: &mut Client, known: &mut Known, key: String, stop: &AtomicBool) {
    let mut is_tried = false;
    loop {
        match create(client, &key).await {
            200 => break,
            // A create that has failed before may have been carried out.
            400 if is_tried => break,
            500.. => is_tried = true,
            status => panic!("{key}: {status}"),
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        match seal(client, &key).await {
            Ok(ciphertext) => break known.keys.push((key, ciphertext)),
            Err(500..) if !stop.load(Ordering::Relaxed) => {}
            Err(500..) => return,
            Err(status) => panic!("{key} was created, and is answered with {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes a key, until it is gone for certain.
async fn remove(client: &mut Client, key: &str) {
    let mut is_tried = false;
    loop {
        match delete(client, key).await {
            200 => return,
            404 if is_tried => return,
            500.. => is_tried = true,
            status => panic!("{key}: {status}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Uses a key that exists, and one that was deleted.
async fn look(client: &mut Client, known: &Known, round: usize, answered: &AtomicUsize) {
    if let Some((key, ciphertext)) = known.keys.get(round % known.keys.len().max(1)) {
        match open(client, key, ciphertext).await {
            200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
            500.. => {}
            status => panic!("{key} exists, and is answered with {status}"),
        }
    }
    if let Some((key, ciphertext)) = known.deleted.get(round % known.deleted.len().max(1)) {
        match open(client, key, ciphertext).await {
            404 | 500.. => {}
            status => panic!("{key} was deleted, and is answered with {status}"),
        }
    }
}

#[test]
fn stores_are_killed_in_every_stage_under_load_and_no_answer_is_wrong() {
    harness::run(async {
        let [mut old, mut new] = [1, 2].map(|version| {
            let bao = Bao::start();
            let role = bao.root().set_up().kv("kv", version).app_role();
            (bao, role)
        });
        let section = |(bao, _): &(Bao, RoleCredentials), version: u8, variable: &str| {
            format!(
                "{{ vault: {{ endpoint: \"{}\", version: v{version}, status: {{ ping: 500ms }}, approle: \
                 {{ id: \"${{ID_{variable}}}\", secret: \"${{SECRET_{variable}}}\" }} }} }}",
                bao.url()
            )
        };
        let (from, to) = (section(&old, 1, "OLD"), section(&new, 2, "NEW"));
        let config = config(&from)
            .env("ID_OLD", &old.1.role_id)
            .env("SECRET_OLD", &old.1.secret_id)
            .env("ID_NEW", &new.1.role_id)
            .env("SECRET_NEW", &new.1.secret_id);
        let server = Server::with(&config);
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let client = admin(&server).await;
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            clients.push(tokio::spawn(work(client, number, stop, answered)));
        }
        let answers = async || {
            let before = answered.load(Ordering::Relaxed);
            let answered = Arc::clone(&answered);
            eventually_async(PATIENCE, "keys are used", move || {
                let now = answered.load(Ordering::Relaxed);
                async move { now > before + 20 }
            })
            .await;
        };
        let copied = async |more: &[&str]| {
            eventually_async(PATIENCE, "all keys are copied", || {
                let done = migrate(&server, more).status.success();
                async move { done }
            })
            .await;
        };
        answers().await;
        let way = [
            (FIRST, &[][..]),
            (DOUBLE, &[]),
            (COMPARE, &[]),
            (READ_NEW, &[]),
            (WRITE_NEW, &[]),
            // The way back.
            (READ_NEW, &["--back"]),
            (DOUBLE, &[]),
            (FIRST, &[]),
            // And to the end.
            (DOUBLE, &[]),
            (READ_NEW, &[]),
            (WRITE_NEW, &[]),
        ];
        for (stage, more) in way {
            server.reload_and_wait(&config.clone().with("migration", &stage.section(&to)));
            answers().await;
            for (bao, _) in [&mut old, &mut new] {
                bao.kill();
                // Long enough for changes to fail, and to be half made.
                tokio::time::sleep(Duration::from_millis(700)).await;
                bao.restart();
                answers().await;
            }
            if stage.write == "both" {
                copied(more).await;
            }
        }
        let unfinished = admin(&server).await;
        eventually_async(PATIENCE, "all changes are completed", || {
            let mut client = unfinished.share();
            async move { told(&mut client).await["unfinished"] == 0 }
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        let mut all = 0;
        let mut known = Vec::new();
        for client in clients {
            let (client, keys) = client.await.unwrap();
            all += keys.keys.len();
            known.push((client, keys));
        }
        // The new store alone has all of them, and none that was deleted.
        server.reload_and_wait(&config.clone().with("keystore", &to));
        old.0.kill();
        for (client, Known { keys, deleted, .. }) in &mut known {
            for (key, ciphertext) in keys.iter() {
                assert_eq!(open(client, key, ciphertext).await, 200, "{key}");
            }
            for (key, ciphertext) in deleted.iter() {
                assert_eq!(open(client, key, ciphertext).await, 404, "{key}");
            }
        }
        assert!(all >= CLIENTS, "{all} keys");
    });
}
