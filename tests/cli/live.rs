//! What a transcript cannot show: signals, and commands that go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kes_testkit::{Process, wait};
use rustix::process::Signal;

use super::terminal::{Terminal, at_terminal, shell_at_terminal};
use super::transcript::{admin_of, config, kes, start_server};
use crate::harness::Server;

const LIMIT: Duration = Duration::from_secs(60);

/// Waits for the end of a command.
pub(super) fn end(process: &mut Process) -> ExitStatus {
    let mut status = None;
    wait::eventually(LIMIT, "the command ends", || {
        status = process.exit_status();
        status.is_some()
    });
    status.unwrap()
}

fn command(args: &[&str], variables: &BTreeMap<String, String>) -> Command {
    let mut command = Process::command(Path::new(env!("CARGO_BIN_EXE_kes")));
    command.args(args).env_clear().envs(variables).stdin(Stdio::null());
    command
}

#[test]
fn the_audit_log_is_followed_until_ctrl_c() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let follow = |args: &[&str], file: &str| {
        let mut command = command(args, &variables);
        command.stdout(File::create(path(file)).unwrap());
        command.stderr(File::create(path("err")).unwrap());
        Process::start(command)
    };
    let plain = follow(&["log", "-k"], "plain");
    let json = follow(&["log", "-k", "--audit", "--json"], "json");
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();

    // The line of a request, once the log has it whole.
    let line_in = |name: &str| {
        let text = read(name);
        let line =
            text.split_inclusive('\n').find(|line| line.contains("/v1/key/describe/nope"))?;
        line.strip_suffix('\n').map(str::to_owned)
    };
    wait::eventually(LIMIT, "a request is in both logs", || {
        kes(folder.path(), &variables, ["key", "info", "-k", "nope"].map(str::to_owned));
        line_in("plain").is_some() && line_in("json").is_some()
    });
    let line = line_in("plain").unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2], "404", "{line}");
    assert_eq!(words[4], "127.0.0.1", "{line}");
    assert_eq!(words[6], "/v1/key/describe/nope", "{line}");
    let line = line_in("json").unwrap();
    assert!(line.starts_with("{\"time\":\"") && line.contains("\"code\":404"), "{line}");

    for mut log in [plain, json] {
        log.signal(Signal::INT);
        assert_eq!(end(&mut log).code(), Some(0), "{}", read("err"));
    }
}

#[test]
fn who_reads_no_further_ends_the_command_in_silence() {
    let server = start_server();
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["log", "-k", "--json"], &variables);
    command.stdout(Stdio::piped()).stderr(File::create(folder.path().join("err")).unwrap());
    let mut log = Process::start(command);
    let mut reader = BufReader::new(log.take_stdout().unwrap());
    let (lines, first) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        // The reader goes, and with it the pipe.
        drop(reader);
        lines.send(line).unwrap();
    });
    let request = || kes(folder.path(), &variables, ["key", "ls", "-k"].map(str::to_owned));
    let mut line = None;
    wait::eventually(LIMIT, "a line is read", || {
        request();
        line = first.try_recv().ok();
        line.is_some()
    });
    assert!(line.unwrap().starts_with('{'));
    let start = Instant::now();
    while log.is_running() {
        assert!(start.elapsed() < LIMIT, "the command goes on");
        request();
    }
    assert_eq!(end(&mut log).code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.path().join("err")).unwrap(), "");
}

#[test]
fn metrics_come_as_json_lines() {
    let server = start_server();
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["metric", "-k", "--rate", "10ms"], &admin_of(&server));
    command.stdout(Stdio::piped());
    let mut metric = Process::start(command);
    let reader = BufReader::new(metric.take_stdout().unwrap());
    for line in reader.lines().take(2) {
        let line = line.unwrap();
        let sample: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert!(sample["kes_system_num_cpu"].as_u64().is_some_and(|cpus| cpus > 0), "{line}");
        assert!(sample["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        // The fields of the reference, in its order, and before all others.
        let start = "{\"kes_http_request_success\":";
        assert!(line.starts_with(start), "{line}");
        let mut rest = line.as_str();
        for field in [
            "kes_http_request_error",
            "kes_http_request_failure",
            "kes_http_request_active",
            "kes_http_response_time",
            "kes_log_error_events",
            "kes_log_audit_events",
            "kes_system_up_time",
            "kes_system_num_cpu",
            "kes_system_num_cpu_used",
            "kes_system_num_threads",
            "kes_system_mem_heap_used",
            "kes_system_mem_heap_objects",
            "kes_system_mem_stack_used",
            "time",
        ] {
            let (_, after) = rest.split_once(&format!(",\"{field}\":")).expect(field);
            rest = after;
        }
        // Nanoseconds: no reading is taken within a microsecond of the start.
        assert!(sample["kes_system_up_time"].as_u64().unwrap() > 1_000, "{line}");
        let bounds = sample["kes_http_response_time"].as_object().unwrap();
        assert!(bounds.contains_key("10000000") && bounds.contains_key("10000000000"), "{line}");
        // More than the SDK is told.
        assert!(sample.as_object().unwrap().keys().any(|name| name.contains("cache")), "{line}");
    }
    assert_eq!(end(&mut metric).code(), Some(0));

    // At a terminal that tells no size a person reads one text after the other. What others show:
    // `view.rs`.
    let (text, status) = at_terminal(
        folder.path(),
        "metric -k --rate 10ms",
        &admin_of(&server),
        &[("Process", ""), ("Process", "\u{3}")],
    );
    assert!(text.contains("/s requests") && text.contains("Key store    reachable"), "{text}");
    assert_eq!(status, 0, "{text}");
}

/// A person sees a server go and come back; a script is told by the end of the command.
#[test]
fn a_server_that_restarts_is_shown_as_away_until_it_is_back() {
    let config = config().with("address", "\"${ADDRESS}\"");
    let (_port, mut server) = Server::on_a_port(&config, |_| {});
    let variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&["metric", "-k", "--rate", "50ms"], &variables);
    command.stdout(Stdio::piped()).stderr(File::create(folder.path().join("err")).unwrap());
    let mut lines = Process::start(command);
    let mut reader = BufReader::new(lines.take_stdout().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    let mut view = Terminal::with(folder.path(), "metric -k --rate 50ms", &variables);
    let address = server.address.clone();
    view.wait_for(&format!("● {address}  up "));
    for _ in 0..2 {
        server.signal(Signal::KILL);
        view.wait_for(&format!("✕ {address} "));
        view.wait_for("last reading 20");
        view.wait_for("  away since 20");
        view.wait_for("requests");
        server.restart();
        view.wait_for(&format!("● {address}  up "));
    }
    // It is there and says nothing, which takes 30 s to be an error.
    server.signal(Signal::STOP);
    view.wait_for("last reading 20");
    view.wait_for("  no answer since 20");
    server.signal(Signal::CONT);
    view.wait_for(&format!("● {address}  up "));
    view.type_in("\u{3}");
    let (text, status) = view.end();
    assert_eq!(status, 0, "{text}");

    std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    assert_eq!(end(&mut lines).code(), Some(1));
    let error = std::fs::read_to_string(folder.path().join("err")).unwrap();
    assert!(error.starts_with("Error: failed to get the metrics: "), "{error}");

    // A mistake shows at once, at a terminal too.
    server.signal(Signal::KILL);
    let (text, status) = at_terminal(folder.path(), "metric -k", &variables, &[]);
    assert!(status == 1 && text.contains("failed to get the metrics"), "{text}");
}

#[test]
fn a_dev_server_prints_settings_that_work_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let variables: BTreeMap<String, String> =
        [("XDG_RUNTIME_DIR".to_owned(), folder.path().display().to_string())].into();
    let out = folder.path().join("out");
    let mut command = command(&["server", "--dev", "--addr", "127.0.0.1:0"], &variables);
    command.stdout(File::create(&out).unwrap());
    command.stderr(File::create(folder.path().join("err")).unwrap());
    let mut server = Process::start(command);
    let printed = || std::fs::read_to_string(&out).unwrap();
    wait::eventually(LIMIT, "the settings are printed", || {
        printed().ends_with("\n=> Server is up and running...\n")
    });
    let text = printed();
    // A label, blanks, a value, as scripts read it. The values of two of them say the same.
    let value = |label: &str| {
        let mut lines = text.lines().filter(|line| line.to_lowercase().starts_with(label));
        let line = lines.next().unwrap_or_else(|| panic!("{label}: {text}"));
        assert_eq!(lines.next(), None, "two lines with '{label}' confuse scripts: {text}");
        line[label.len()..].trim_start().to_owned()
    };
    for label in ["version", "key store", "endpoints", "error log", "audit log", "memory"] {
        assert!(!value(label).is_empty(), "{label}: {text}");
    }
    let key = value("api key");
    // As MinIO's own tests find it, and in any case of letters.
    assert_eq!(text.to_lowercase().matches("api key").count(), 1, "{text}");
    assert!(text.contains(&format!("\nAPI Key     {key}\n")), "{text}");
    let admin = value("admin");
    assert!(text.contains(&format!("\nAdmin       {admin}\n")), "{text}");
    let identity = kes(folder.path(), &variables, ["identity", "of", &key].map(str::to_owned));
    assert_eq!(identity.out.trim(), admin);

    // What a newcomer pastes into a shell; only `kes` has to be found.
    let shell = |lines: &dyn Fn(&str) -> bool, more: &str| {
        let script: String = text
            .lines()
            .map(str::trim)
            .filter(|line| lines(line))
            .fold(String::new(), |s, line| s + line + "\n");
        let bin = Path::new(env!("CARGO_BIN_EXE_kes")).parent().unwrap();
        let output = Command::new("/bin/sh")
            .args(["-ec", &format!("{script}{more}")])
            .env_clear()
            .env("PATH", bin)
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}{more}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let ours_but_keys = |line: &str| line.starts_with("export KES_");
    let ours = |line: &str| ours_but_keys(line) || line.starts_with("kes key");
    assert_eq!(shell(&ours, "kes key ls"), "Key\nmy-key\n");
    // MinIO's settings are those of a client as well, its CA path excepted.
    let minio = |line: &str| line.starts_with("export MINIO_");
    let listed = shell(
        &minio,
        "KES_CAPATH=$MINIO_KMS_KES_CAPATH kes key info $MINIO_KMS_KES_KEY_NAME --json",
    );
    assert!(listed.contains("\"name\":\"my-key\""), "{listed}");

    server.signal(Signal::TERM);
    assert_eq!(end(&mut server).code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".crt"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // Who goes on in the second shell is told why its settings are of no use.
    let after = shell(&ours_but_keys, "kes key ls 2>&1 || true");
    assert!(after.contains("; the dev server that made it has ended: paste "), "{after}");
    let err = std::fs::read_to_string(folder.path().join("err")).unwrap();
    assert!(!err.contains("kes:v1:"), "{err}");
}

/// A killed dev server leaves its certificate behind. The next one removes it, and not that of a server
/// that runs.
#[test]
fn a_dev_server_cleans_up_after_one_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let variables: BTreeMap<String, String> =
        [("TMPDIR".to_owned(), folder.path().display().to_string())].into();
    let certificates = || -> BTreeSet<_> {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".crt")).collect()
    };
    let start = |name: &str| {
        let out = folder.path().join(name);
        let mut command = command(&["server", "--dev", "--addr", "127.0.0.1:0"], &variables);
        command.stdout(File::create(&out).unwrap()).stderr(Stdio::null());
        let before = certificates();
        let process = Process::start(command);
        wait::eventually(LIMIT, "the server runs", || {
            std::fs::read_to_string(&out).unwrap().ends_with("up and running...\n")
        });
        let new: Vec<_> = certificates().difference(&before).cloned().collect();
        assert_eq!(new.len(), 1, "{new:?}");
        (process, new[0].clone())
    };
    let (running, of_running) = start("1");
    let (mut killed, of_killed) = start("2");
    killed.kill();
    assert_eq!(certificates(), [of_running.clone(), of_killed].into());
    let (next, of_next) = start("3");
    assert_eq!(certificates(), [of_running, of_next.clone()].into());
    drop(running);
    let (_last, of_last) = start("4");
    assert_eq!(certificates(), [of_next, of_last].into());
    drop(next);
}

#[test]
fn a_completion_script_fits_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, mark) in [
        ("/bin/bash", "complete -F _kes"),
        ("/usr/bin/zsh", "#compdef kes"),
        ("/usr/bin/fish", "complete -c kes"),
    ] {
        let variables = [("SHELL".to_owned(), shell.to_owned())].into();
        let ran = kes(folder.path(), &variables, ["--auto-completion".to_owned()]);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.out.contains(mark), "{shell}: {}", ran.out);
        // What is only accepted for old scripts is not offered.
        for old in ["enclave", "mlock", "--auth ", "--root", "--host"] {
            assert!(!ran.out.contains(old), "{shell} offers {old}");
        }
        assert!(ran.out.contains("--insecure") || ran.out.contains("-l insecure"), "{shell}");
    }
    // Who types it at a terminal is told what to do with the script.
    let line = format!("SHELL=/bin/bash exec {} --auto-completion", env!("CARGO_BIN_EXE_kes"));
    let (text, status) = shell_at_terminal(folder.path(), &line, &BTreeMap::new(), &[]);
    assert!(status == 0 && text.contains("loads it, in ~/.bashrc"), "{text}");

    let variables = [("SHELL".to_owned(), "/bin/csh".to_owned())].into();
    let ran = kes(folder.path(), &variables, ["--auto-completion".to_owned()]);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(ran.err.contains("bash, zsh or fish"), "{}", ran.err);
}
