//! The error log and the audit log (contract `config.md`, Logs).

use std::time::{Duration, SystemTime};

use kes_testkit::wait;

use crate::harness::{self, Client, Config, Protocol, Server, Who};

/// The form of a line.
mod form;

/// Changes that nobody waits for.
mod gone;

/// Requests that would write much.
mod long;

/// Lines that cannot be written.
mod lost;

/// Refusals that are too many for a line each.
mod merged;

/// A line for each request, whatever becomes of it.
mod complete;

/// No change without a line that says so.
mod required;

/// How long a line may take to be written before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a `log` section.
async fn server(log: &str) -> (Server, Client) {
    let server = Server::with(&Config::usual().with("log", log));
    let client = server.client(Who::Admin, Protocol::H1).await;
    (server, client)
}

/// The lines of the audit log, which come after the start-up message.
fn audit(server: &Server) -> Vec<String> {
    let lines = |text: String| {
        let lines = text.lines().filter(|line| line.starts_with("time="));
        lines.map(str::to_owned).collect()
    };
    lines(server.stdout())
}

/// Waits until the audit log has so many lines, and returns them.
fn wait_for_audit(server: &Server, count: usize) -> Vec<String> {
    wait::eventually(PATIENCE, &format!("{count} lines of the audit log"), || {
        audit(server).len() >= count
    });
    audit(server)
}

/// Reads a line strictly: `key=value` with one blank between, values quoted as JSON where they
/// are no plain word.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (key, after) = rest.split_once('=').unwrap_or_else(|| panic!("no field: {rest}"));
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.');
        assert!(is_key && !key.is_empty(), "'{key}' in {line}");
        let (value, after) = if after.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let value = values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {line}"));
            let end = values.byte_offset();
            (value, &after[end..])
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            let value = &after[..end];
            assert!(!value.is_empty() && !value.contains(['"', '=', '\\']), "{line}");
            (value.to_owned(), &after[end..])
        };
        fields.push((key.to_owned(), value));
        match after.strip_prefix(' ') {
            Some(after) => rest = after,
            None => {
                assert_eq!(after, "", "{line}");
                return fields;
            }
        }
    }
}

fn value<'a>(fields: &'a [(String, String)], key: &str) -> &'a str {
    let found = fields.iter().find(|(name, _)| name == key);
    &found.unwrap_or_else(|| panic!("no {key} in {fields:?}")).1
}

fn keys(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(key, _)| key.as_str()).collect()
}

/// A time in UTC with milliseconds, of the last minute.
fn assert_time(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{text}");
    let time = kes_api::Timestamp::parse(text).unwrap().unix_seconds();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let age = i64::try_from(now).unwrap() - time;
    assert!((-1..60).contains(&age), "{text}");
}

#[test]
fn an_audit_line_has_the_fields_in_their_order() {
    harness::run(async {
        let (server, mut client) = server("{}").await;
        let import = r#"{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","cipher":"AES256"}"#;
        let calls = [
            ("PUT", "/v1/key/create/a1", "", 200, "secret key 'a1' created"),
            ("POST", "/v1/key/import/b-1", import, 200, "secret key 'b-1' imported"),
            ("PUT", "/v1/key/create/a1", "", 400, "key already exists"),
            ("DELETE", "/v1/key/delete/a1", "", 200, "secret key 'a1' deleted"),
            ("DELETE", "/v1/key/delete/a1", "", 404, "key does not exist"),
        ];
        for (method, path, body, code, _) in calls {
            assert_eq!(client.send(method, path, body).await.status, code, "{path}");
        }
        let lines = wait_for_audit(&server, calls.len());
        assert_eq!(lines.len(), calls.len(), "{lines:#?}");
        for (line, (method, path, _, code, message)) in lines.iter().zip(calls) {
            let fields = fields(line);
            let expected = [
                "time",
                "level",
                "msg",
                "req.method",
                "req.path",
                "req.ip",
                "req.identity",
                "res.code",
                "res.time",
            ];
            let (known, more) = fields.split_at(expected.len());
            assert_eq!(keys(known), expected, "{line}");
            // Why it was refused may follow.
            assert!(more.is_empty() || (code >= 400 && keys(more) == ["reason"]), "{line}");
            assert_time(value(&fields, "time"));
            for (key, expected) in [
                ("level", "INFO"),
                ("msg", message),
                ("req.method", method),
                ("req.path", path),
                ("req.ip", "127.0.0.1"),
                ("req.identity", &server.admin.identity),
                ("res.code", &code.to_string()),
            ] {
                assert_eq!(value(&fields, key), expected, "{line}");
            }
            let took = value(&fields, "res.time");
            let parsed = kes_config::parse_duration(took).unwrap();
            assert!(parsed > Duration::ZERO && parsed < PATIENCE, "{took}");
            assert!(took.ends_with('s') && !took.contains(' '), "{took}");
        }
        // As the contract writes it, byte by byte up to what differs.
        let (_, after) = lines[0].split_once(' ').unwrap();
        let start = format!(
            "level=INFO msg=\"secret key 'a1' created\" req.method=PUT req.path=/v1/key/create/a1 \
             req.ip=127.0.0.1 req.identity={} res.code=200 res.time=",
            server.admin.identity
        );
        assert!(after.starts_with(&start), "{after}");
        assert!(!server.stderr().contains("secret key"), "audit lines go to standard output");
    });
}

/// Requests of which the log holds more or less, and one at the end that every level but `off`
/// and those above INFO have.
async fn requests(server: &Server, client: &mut Client) {
    std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
    let mut other = server.client(Who::Other, Protocol::H1).await;
    for (method, path, status) in [
        ("GET", "/version", 200),
        ("GET", "/v1/status", 200),
        ("PUT", "/v1/key/create/k", 200),
        ("PUT", "/v1/key/generate/k", 200),
        ("PUT", "/v1/key/generate/none", 404),
        ("PUT", "/v1/key/generate/damaged", 502),
        ("GET", "/v1/key/create/k", 405),
        ("PUT", "/v1/key/bulk/decrypt/k", 400),
        ("GET", "/nowhere", 404),
    ] {
        assert_eq!(client.send(method, path, "").await.status, status, "{path}");
    }
    let forged = client.send("PUT", "/v1/key/decrypt/k", r#"{"ciphertext":"aGk="}"#).await;
    assert_eq!(forged.status, 400);
    for (path, status) in [("/v1/status", 403), ("/v1/identity/self/describe", 200)] {
        assert_eq!(other.send("GET", path, "").await.status, status, "{path}");
    }
    assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
}

const AT_INFO: [(&str, &str); 6] = [
    ("/v1/key/create/k", "200"),
    ("/v1/key/generate/damaged", "502"),
    // What asks for a change is told whatever comes of it.
    ("/v1/key/create/k", "405"),
    // A ciphertext that is not authentic, but not a body that is none.
    ("/v1/key/decrypt/k", "400"),
    ("/v1/status", "403"),
    ("/v1/key/delete/k", "200"),
];

const AT_DEBUG: [(&str, &str); 12] = [
    ("/version", "200"),
    ("/v1/status", "200"),
    ("/v1/key/create/k", "200"),
    ("/v1/key/generate/k", "200"),
    ("/v1/key/generate/none", "404"),
    ("/v1/key/generate/damaged", "502"),
    ("/v1/key/create/k", "405"),
    ("/v1/key/bulk/decrypt/k", "400"),
    ("/v1/key/decrypt/k", "400"),
    ("/v1/status", "403"),
    ("/v1/identity/self/describe", "200"),
    ("/v1/key/delete/k", "200"),
];

#[test]
fn the_audit_level_says_which_requests_are_written() {
    harness::run(async {
        for (level, expected) in [
            ("on", &AT_INFO as &[_]),
            ("info", &AT_INFO),
            ("INFO", &AT_INFO),
            ("0", &AT_INFO),
            ("-1", &AT_INFO),
            ("debug", &AT_DEBUG),
            ("DEBUG", &AT_DEBUG),
            ("INFO-4", &AT_DEBUG),
            ("-4", &AT_DEBUG),
            ("DEBUG+1", &AT_INFO),
            ("off", &[]),
            ("INFO+1", &[]),
            ("warn", &[]),
            ("Error", &[]),
            ("4", &[]),
        ] {
            let (mut server, mut client) = server(&format!("{{ audit: \"{level}\" }}")).await;
            requests(&server, &mut client).await;
            // What is written is written by the end.
            drop(client);
            server.signal(rustix::process::Signal::TERM);
            wait::eventually(PATIENCE, "the server ends", || !server.process().is_running());
            let lines = audit(&server);
            let told: Vec<(String, String)> = lines
                .iter()
                .map(|line| {
                    let fields = fields(line);
                    (value(&fields, "req.path").to_owned(), value(&fields, "res.code").to_owned())
                })
                .collect();
            let told: Vec<(&str, &str)> =
                told.iter().map(|(path, code)| (path.as_str(), code.as_str())).collect();
            assert_eq!(told, expected, "{level}");
            for line in lines {
                let level = fields(&line)[1].1.clone();
                let path = value(&fields(&line), "req.path").to_owned();
                let code = value(&fields(&line), "res.code").to_owned();
                let at_info = AT_INFO.contains(&(path.as_str(), code.as_str()));
                assert_eq!(level, if at_info { "INFO" } else { "DEBUG" }, "{line}");
            }
        }
    });
}

#[test]
fn the_error_level_says_which_events_are_written() {
    harness::run(async {
        for (level, failures, handshakes) in [
            ("on", true, true),
            ("warn", true, true),
            ("ERROR", true, false),
            ("error+1", false, false),
            ("off", false, false),
            ("debug", true, true),
            ("-4", true, true),
        ] {
            let (mut server, mut client) = server(&format!("{{ error: \"{level}\" }}")).await;
            requests(&server, &mut client).await;
            let mut plain = tokio::net::TcpStream::connect(&server.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut plain, b"no TLS at all\r\n\r\n")
                .await
                .unwrap();
            let mut end = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut end).await;
            drop(client);
            server.signal(rustix::process::Signal::TERM);
            wait::eventually(PATIENCE, "the server ends", || !server.process().is_running());

            let stderr = server.stderr();
            let lines: Vec<Vec<(String, String)>> = stderr.lines().map(fields).collect();
            let failed: Vec<_> =
                lines.iter().filter(|fields| value(fields, "level") == "ERROR").collect();
            assert_eq!(failed.len(), usize::from(failures), "{level}: {stderr}");
            for fields in failed {
                let expected =
                    ["time", "level", "msg", "req.method", "req.path", "req.ip", "req.identity"];
                assert_eq!(keys(fields), expected, "{stderr}");
                assert_time(value(fields, "time"));
                let message = value(fields, "msg");
                assert!(message.starts_with("failed to read key"), "{message}");
                assert!(message.contains("'damaged'"), "{message}");
                assert_eq!(value(fields, "req.method"), "PUT");
                assert_eq!(value(fields, "req.path"), "/v1/key/generate/damaged");
                assert_eq!(value(fields, "req.identity"), server.admin.identity);
            }
            let failed_handshakes: Vec<_> =
                lines.iter().filter(|fields| keys(fields).contains(&"req.ip")).collect();
            let failed_handshakes: Vec<_> = failed_handshakes
                .into_iter()
                .filter(|fields| value(fields, "level") == "WARN")
                .collect();
            assert_eq!(failed_handshakes.len(), usize::from(handshakes), "{level}: {stderr}");
            for fields in failed_handshakes {
                assert!(value(fields, "msg").starts_with("TLS handshake"), "{stderr}");
                assert_eq!(value(fields, "req.ip"), "127.0.0.1");
            }
            assert!(!server.stdout().contains("level=ERROR msg="), "{level}");
        }
    });
}

#[test]
fn the_reason_of_a_refusal_is_told_to_the_log_alone() {
    harness::run(async {
        let (server, _) = server("{}").await;
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        let mut other = server.client(Who::Other, Protocol::H1).await;
        let replies = [
            minio.send("PUT", "/v1/key/decrypt/secret-1", "{}").await,
            minio.send("GET", "/v1/key/describe/k", "").await,
            other.send("GET", "/v1/key/describe/k", "").await,
        ];
        for reply in &replies {
            assert_eq!(reply.status, 403);
            // The same to the byte, so that nobody learns which policies there are.
            assert_eq!(reply.body, replies[0].body);
            for (name, value) in &reply.headers {
                assert!(name == "date" || replies[0].headers[name] == value, "{name}");
            }
        }
        let lines = wait_for_audit(&server, 3);
        for (line, words) in lines.iter().zip([
            &["minio", "/v1/key/decrypt/secret-*"] as &[_],
            &["minio"],
            &["identity"],
        ]) {
            let fields = fields(line);
            assert_eq!(value(&fields, "msg"), "not authorized: insufficient permissions");
            let reason = value(&fields, "reason");
            assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
        }
    });
}

/// The answer is the contract's; what is wrong with a name, and which key it was, is for the log.
#[test]
fn the_reason_says_which_key_and_what_a_name_may_have() {
    harness::run(async {
        let (server, mut client) = server("{ audit: debug }").await;
        for (method, path, status) in [
            ("PUT", "/v1/key/generate/none", 404),
            ("PUT", "/v1/key/generate/a.b", 400),
            ("GET", "/v1/key/list/a.b", 400),
        ] {
            assert_eq!(client.send(method, path, "").await.status, status, "{path}");
        }
        let lines = wait_for_audit(&server, 3);
        for (line, words) in lines.iter().zip([
            "key 'none' does not exist",
            "a name has 1 to 80 characters of 0-9 A-Z a-z - _",
            "a listing pattern has at most 80 characters",
        ]) {
            assert!(value(&fields(line), "reason").contains(words), "{line}");
        }
    });
}
