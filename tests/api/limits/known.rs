use super::assert_serves;
use super::strangers::{ask, small};
use crate::harness::{self, Config, Exposition, Protocol, Who};

/// A tenant opens more connections than there are and keeps them.
#[test]
fn a_known_identity_leaves_connections_to_others() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let server = small(&Config::usual().with(
                "policy",
                "{ minio: { allow: [/v1/status], identities: [\"${MINIO}\", \"${OTHER}\"] } }",
            ));
            let mut first = ask(&server, Who::Minio, protocol).await;
            let mut held = Vec::new();
            for _ in 0..40 {
                held.push(ask(&server, Who::Other, protocol).await);
            }
            // Its own earlier ones ended for its later ones, and nobody else's.
            assert_serves(&mut first).await;
            for who in [Who::Admin, Who::Minio] {
                let mut client = ask(&server, who, protocol).await;
                assert_serves(&mut client).await;
            }
            assert_serves(held.last_mut().unwrap()).await;
            let figures = Exposition::from(&server).await;
            let displaced = figures.value("kes_class_displaced_connections{class=\"known\"}");
            assert!((20.0..=24.0).contains(&displaced), "{displaced}");
            assert_eq!(figures.value("kes_class_displaced_connections{class=\"stranger\"}"), 0.0);
        }
    });
}
