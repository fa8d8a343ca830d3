//! The form of a line: as JSON, with a priority for the journal, and whatever a client sends.

use std::os::unix::fs::MetadataExt as _;

use kes_testkit::wait;
use serde_json::Value;

use super::{AT_INFO, PATIENCE, assert_time, fields, requests, server, value};
use crate::harness::{self, Protocol, Server, Who};

#[test]
fn json_lines_have_the_same_fields() {
    harness::run(async {
        let (server, mut client) = server("{ format: json }").await;
        requests(&server, &mut client).await;
        let lines = || {
            let text = server.stdout();
            let lines = text.lines().filter(|line| line.starts_with('{'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        wait::eventually(PATIENCE, "all lines are written", || lines().len() >= AT_INFO.len());
        for (line, (path, code)) in lines().iter().zip(AT_INFO) {
            let read: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            assert_time(read["time"].as_str().unwrap());
            assert_eq!(read["level"], "INFO");
            assert_eq!(read["req.path"], path, "{line}");
            assert_eq!(read["res.code"].to_string(), code, "{line}");
            assert!(kes_config::parse_duration(read["res.time"].as_str().unwrap()).is_ok());
            assert_eq!(read["req.ip"], "127.0.0.1");
            assert_eq!(
                read.contains_key("reason"),
                matches!(code, "400" | "403" | "502"),
                "{line}"
            );
        }
        server.wait_for_stderr("failed to read key");
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains("failed to read key")).unwrap();
        let read: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&read["level"], &read["req.path"]),
            (&"ERROR".into(), &"/v1/key/generate/damaged".into())
        );
    });
}

#[test]
fn nothing_that_a_client_sends_forges_a_line_or_a_field() {
    harness::run(async {
        for (format, text) in [("text", true), ("json", false)] {
            let (server, _) = server(&format!("{{ format: {format} }}")).await;
            let mut other = server.client(Who::Other, Protocol::H1).await;
            let paths = [
                (
                    "a%0Atime=2026-01-01T00:00:00.000Z%20level=INFO",
                    "a\ntime=2026-01-01T00:00:00.000Z level=INFO",
                ),
                ("a%22%20res.code=200%20x=%22", "a\" res.code=200 x=\""),
                ("a%0D%0A%7B%22level%22:%22INFO%22%7D", "a\r\n{\"level\":\"INFO\"}"),
                ("a%5C", "a\\"),
                ("a%00%1B%5B2J%07", "a\0\u{1b}[2J\u{7}"),
                ("a%C2%9B2J%7F", "a\u{9b}2J\u{7f}"),
                ("a%E2%80%A8b%E2%80%AEc", "a\u{2028}b\u{202e}c"),
                ("a%C2%ADb%F3%A0%81%81", "a\u{ad}b\u{e0041}"),
                ("%20=", " ="),
            ];
            for (sent, _) in paths {
                let path = format!("/v1/key/describe/{sent}");
                assert_eq!(other.send("GET", &path, "").await.status, 403);
            }
            let start = if text { "time=" } else { "{" };
            let lines = || {
                let text = server.stdout();
                let lines = text.split('\n').filter(|line| line.contains("req.path"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            wait::eventually(PATIENCE, "all lines are written", || lines().len() >= paths.len());
            let lines = lines();
            assert_eq!(lines.len(), paths.len(), "{lines:#?}");
            for (line, (_, meant)) in lines.iter().zip(paths) {
                assert!(line.starts_with(start), "{line}");
                let path = if text {
                    value(&fields(line), "req.path").to_owned()
                } else {
                    let read: Value = serde_json::from_str(line).unwrap();
                    read["req.path"].as_str().unwrap().to_owned()
                };
                assert_eq!(path, format!("/v1/key/describe/{meant}"), "{line}");
                // Nothing that a terminal would obey, take for the end of a line, or not show.
                let is_hidden = |c| "\u{ad}\u{2028}\u{202e}\u{e0041}".contains(c);
                assert!(!line.contains(|c: char| c.is_control() || is_hidden(c)), "{line:?}");
            }
        }
    });
}

#[test]
fn lines_for_the_journal_have_a_priority() {
    harness::run(async {
        let mut server = Server::start();
        // The variable names the stream that goes to the journal, by device and inode.
        let named = |name| {
            let file = std::fs::metadata(server.file(name)).unwrap();
            format!("{}:{}", file.dev(), file.ino())
        };
        let (stderr, stdout) = (named("stderr"), named("stdout"));
        for (stream, errors, audits) in [
            (stderr, true, false),
            (stdout, false, true),
            ("1:1".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            server.set_env("JOURNAL_STREAM", &stream);
            let before = (server.stdout().len(), server.stderr().len());
            server.restart();
            let mut client = server.client(Who::Admin, Protocol::H1).await;
            requests(&server, &mut client).await;
            let printed =
                || (server.stdout()[before.0..].to_owned(), server.stderr()[before.1..].to_owned());
            wait::eventually(PATIENCE, "the last line is written", || {
                let (stdout, stderr) = printed();
                stdout.contains("'k' deleted") && stderr.contains("'damaged'")
            });
            let (stdout, stderr) = printed();
            for line in stderr.lines() {
                let priority = if line.contains("level=ERROR") { "<3>" } else { "<4>" };
                let start = if errors { format!("{priority}time=") } else { "time=".to_owned() };
                assert!(line.starts_with(&start), "{stream}: {line}");
            }
            for line in stdout.lines().filter(|line| line.contains("req.path")) {
                let start = if audits { "<6>time=" } else { "time=" };
                assert!(line.starts_with(start), "{stream}: {line}");
            }
        }
    });
}
