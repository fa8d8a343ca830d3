//! How much of a key is in memory before and after it is deleted.

use std::time::Duration;

use super::process::import_and_use;
use crate::harness::{self, Config, Protocol, Server, Who, figure};

/// Counts the copies of a key that was imported, used and deleted. The connection that imported it
/// stays open.
#[test]
fn few_copies_of_a_key_are_left_a_second_after_it_was_deleted() {
    harness::run(async {
        let (server, memory) = Server::observed(&Config::usual());
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let key = import_and_use(&mut client).await;
        let [_, hmac_key] = crate::keys_at_rest::secrets(&server, "k");
        let text = key.base64();
        let count = || {
            let found = memory.count(&[&key.bytes, &hmac_key, text.as_bytes()]);
            (found[0] + found[1], found[2])
        };
        let (raw, _) = count();
        // Else the search would prove nothing.
        assert!(raw >= 2, "a key in use and its HMAC key are in memory: {raw}");
        assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
        // What is counted is what is left after this time, not whether it goes some day.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (raw, base64) = count();
        figure("raw copies of a deleted key", raw);
        figure("base64 copies of a deleted key", base64);
        assert!(raw <= 1 && base64 <= 4, "{raw} raw, {base64} base64");
    });
}
