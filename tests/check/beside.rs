//! A check beside a server that runs on the same configuration.

use super::world::{World, keystore};
use crate::harness::{self, Config, Protocol, Server, Who};

#[test]
fn a_check_does_not_touch_a_running_server() {
    let world = World::new(1, false);
    let section = keystore(&world.bao.url(), 1, "");
    let section = section.strip_prefix("keystore: ").unwrap().trim_end();
    let mut config = Config::usual().with("keystore", section);
    for (name, value) in &world.place.env {
        config = config.env(name, value);
    }
    let server = Server::with(&config);
    harness::run(async {
        let mut client = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);

        // Word for word, with the port that is taken.
        config.set("address", &server.address);
        let text = config.text().replace("${MINIO}", &server.minio.identity);
        world.place.write(&text.replace("${ADMIN}", &server.admin.identity));
        std::fs::copy(server.file("server.crt"), world.place.path().join("server.crt")).unwrap();
        std::fs::copy(server.file("server.key"), world.place.path().join("server.key")).unwrap();
        let ran = world.place.check();
        assert_eq!((ran.status, ran.failures()), (0, vec![]), "{ran:#?}");
        ran.tells("scratch key: created, read, listed and deleted");

        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/l", "").await.status, 200);
        assert_eq!(world.names(), ["k", "l"]);
    });
}
