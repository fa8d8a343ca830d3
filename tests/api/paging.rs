//! Paging: a listing of any size comes whole, in order, and without repeats.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{self, Client, Config, Protocol, Server, Vectors, Who};

/// The JSON of a page in bytes. The SDK reads 1 MiB of one answer.
const MAX_PAGE: usize = 768 * 1024;

/// So many that they are some pages, though MinIO only ever asks for the first.
const COUNT: u32 = 30_000;

/// Names in no order, of which many share a prefix.
fn names() -> BTreeSet<String> {
    (0..COUNT)
        .map(|n| {
            let scattered = n.wrapping_mul(2_654_435_761);
            let start = ["tenant-a-", "tenant-b_", "Z", "_"][(n % 4) as usize];
            let name = format!("{start}{scattered:08x}{n}");
            // Most are as long as a name may be.
            if n % 10 == 0 { name } else { format!("{name:x<80}") }
        })
        .collect()
}

fn server_with_keys(names: &BTreeSet<String>) -> Server {
    let vectors = Vectors::read();
    Server::prepared(&Config::usual(), |folder| {
        vectors.key("vec-aes256").store(folder, "first");
        let keys = folder.join("keys");
        for name in names {
            std::fs::hard_link(keys.join("first"), keys.join(name)).unwrap();
        }
        std::fs::remove_file(keys.join("first")).unwrap();
    })
}

/// Reads a listing as the SDK does, which knows of nothing but `continue_at`.
async fn pages(client: &mut Client, kind: &str, field: &str, pattern: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut pattern = pattern.to_owned();
    loop {
        let reply = client.send("GET", &format!("/v1/{kind}/list/{pattern}"), "").await;
        assert_eq!(reply.status, 200, "{pattern}: {}", String::from_utf8_lossy(&reply.body));
        assert!(reply.body.len() <= MAX_PAGE, "{} bytes", reply.body.len());
        let mut page = reply.json();
        pages.push(serde_json::from_value(page[field].take()).unwrap());
        assert!(pages.len() < 100, "the listing does not end");
        match page["continue_at"].take() {
            Value::Null => return pages,
            Value::String(next) if next.is_empty() => return pages,
            Value::String(next) => {
                // The page is full: its next name is one too many.
                let name = next.split_once('*').unwrap().1;
                let with_it = reply.body.len() + name.len() + 3;
                assert!(with_it > MAX_PAGE, "{} bytes and '{name}'", reply.body.len());
                pattern = next;
            }
            other => panic!("{other}"),
        }
    }
}

fn with_prefix(names: &BTreeSet<String>, prefix: &str) -> Vec<String> {
    names.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
}

#[test]
fn thirty_thousand_keys_are_listed_page_by_page() {
    harness::run(async {
        let names = names();
        assert_eq!(names.len(), 30_000);
        let server = server_with_keys(&names);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            for (pattern, prefix, count) in [
                ("", "", 3),
                ("*", "", 3),
                ("tenant-*", "tenant-", 2),
                ("tenant-", "tenant-", 2),
                ("tenant-a-*", "tenant-a-", 1),
                ("Z", "Z", 1),
            ] {
                let pages = pages(&mut client, "key", "names", pattern).await;
                let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
                assert_eq!(sizes.len(), count, "{pattern}: {sizes:?}");
                assert_eq!(pages.concat(), with_prefix(&names, prefix), "{pattern}");
            }
        }
    });
}

#[test]
fn the_client_of_the_command_line_lists_all_of_them() {
    harness::run(async {
        let names = names();
        let server = server_with_keys(&names);
        let tls = harness::tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H2);
        let client = kes_client::Client::new(server.address.parse().unwrap(), tls);
        for (pattern, prefix) in [("", ""), ("*", ""), ("tenant-*", "tenant-"), ("_", "_")] {
            let listed = client.list_keys(pattern).await.unwrap();
            assert_eq!(listed, with_prefix(&names, prefix), "{pattern}");
        }
    });
}

/// A page is not a moment in time: what stays is listed, whatever comes and goes beside it.
#[test]
fn keys_that_come_and_go_between_pages_do_not_disturb_the_rest() {
    harness::run(async {
        let names = names();
        let server = server_with_keys(&names);
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let first = client.send("GET", "/v1/key/list/tenant-*", "").await.json();
        let next = first["continue_at"].as_str().unwrap().to_owned();
        let (prefix, name) = next.split_once('*').unwrap();
        assert_eq!(prefix, "tenant-");
        assert!(names.contains(name), "{name} is the next name");

        let gone = client.send("DELETE", &format!("/v1/key/delete/{name}"), "").await;
        assert_eq!(gone.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/tenant-a", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/tenant-zz", "").await.status, 200);

        let second = client.send("GET", &format!("/v1/key/list/{next}"), "").await.json();
        let mut listed: Vec<String> = serde_json::from_value(first["names"].clone()).unwrap();
        listed.extend(serde_json::from_value::<Vec<String>>(second["names"].clone()).unwrap());
        let mut expected = with_prefix(&names, "tenant-");
        expected.retain(|other| other != name);
        expected.push("tenant-zz".to_owned());
        assert_eq!(listed, expected);
        assert_eq!(second.get("continue_at"), None);
    });
}

#[test]
fn thousands_of_policies_and_identities_are_listed_too() {
    harness::run(async {
        let mut policies = String::new();
        let mut names = BTreeSet::new();
        let mut identities = BTreeSet::new();
        for n in 0..2100 {
            let (name, identity) = (format!("policy-{n}"), format!("{n:064x}"));
            policies +=
                &format!("\n  {name}: {{ allow: [/v1/status], identities: [\"{identity}\"] }}");
            names.insert(name);
            identities.insert(identity);
        }
        let server = Server::with(&Config::usual().with("policy", &policies));
        identities.insert(server.admin.identity.clone());
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        for (pattern, prefix, count) in [("", "", 1), ("*", "", 1), ("policy-1*", "policy-1", 1)] {
            let pages = pages(&mut client, "policy", "names", pattern).await;
            assert_eq!(pages.len(), count, "{pattern}");
            assert_eq!(pages.concat(), with_prefix(&names, prefix), "{pattern}");
        }
        let zeros = "0".repeat(61);
        for (pattern, prefix, count) in [("", "", 1), ("0*", "0", 1), (&zeros, &zeros, 1)] {
            let pages = pages(&mut client, "identity", "identities", pattern).await;
            assert_eq!(pages.len(), count, "{pattern}");
            assert_eq!(pages.concat(), with_prefix(&identities, prefix), "{pattern}");
        }
        let tls = harness::tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H2);
        let client = kes_client::Client::new(server.address.parse().unwrap(), tls);
        let all: Vec<String> = names.into_iter().collect();
        assert_eq!(client.list_policies("*").await.unwrap(), all);
        let all: Vec<String> = identities.into_iter().collect();
        assert_eq!(client.list_identities("").await.unwrap(), all);
    });
}
