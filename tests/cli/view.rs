//! `kes metric` at a real terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use kes_testkit::{Port, Tmux, wait};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::write;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::transcript::{admin_of, config, kes};
use crate::harness::Server;

/// For what comes within a second on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A usual terminal, which has room for two servers.
const USUAL: (u16, u16) = (80, 24);

/// A terminal that is told at the end whether it is as before.
const AFTER: &str = "; echo status $?; stty -a; cat";

/// Servers that can be killed and started again at their addresses.
fn servers() -> [(Port, Server); 2] {
    [(); 2].map(|()| Server::on_a_port(&config().with("address", "\"${ADDRESS}\""), |_| {}))
}

/// The environment of the admin of both.
fn admin(servers: &[(Port, Server); 2]) -> BTreeMap<String, String> {
    let [(_, one), (_, other)] = servers;
    let mut variables = admin_of(one);
    variables.insert("KES_SERVER".to_owned(), format!("{},{}", one.address, other.address));
    variables
}

fn terminal(line: &str, size: (u16, u16), variables: &BTreeMap<String, String>) -> Tmux {
    let line = line.replace("KES", env!("CARGO_BIN_EXE_kes"));
    Tmux::start(size, &line, variables.iter().map(|(name, value)| (&**name, &**value)))
}

/// Checks that the terminal is as before the view, and shows how the command ended.
fn is_restored(terminal: &Tmux, status: i32) {
    let screen = terminal.wait_for("the end", |screen| screen.contains("iexten"));
    // Where the size has changed meanwhile, tmux leaves some rows above.
    assert!(screen.contains(&format!("before\nstatus {status}\n")), "{screen}");
    assert!(screen.contains(" icanon ") && screen.contains(" echo "), "{screen}");
    assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
    assert_eq!(terminal.tells("#{alternate_on} #{cursor_flag}"), "0 1");
}

#[test]
fn several_servers_are_watched_side_by_side() {
    let mut servers = servers();
    let variables = admin(&servers);
    let folder = tempfile::tempdir().unwrap();
    let names = [&servers[0].1, &servers[1].1].map(|server| server.address.clone());
    let line = format!("echo before; KES metric -k --rate 50ms{AFTER}");
    let terminal = terminal(&line, USUAL, &variables);
    let is_up = |screen: &str, name: &str| screen.contains(&format!("● {name}"));

    let screen = terminal.wait_for("both servers", |screen| {
        names.iter().all(|name| is_up(screen, name)) && screen.matches("/s requests").count() == 2
    });
    let rows: Vec<&str> = screen.lines().collect();
    assert!(rows[0].starts_with(&format!(" 1 ● {}  2 ● {} ", names[0], names[1])), "{screen}");
    assert!(rows[1].contains(" │ "), "{screen}");
    assert!(
        rows[23].starts_with(" q quit  ? help") && rows[23].ends_with("every 50ms"),
        "{screen}"
    );
    assert_eq!(terminal.tells("#{alternate_on}"), "1");

    // What is asked for shows up, with its rate.
    terminal.wait_for("what it asks for itself", |screen| {
        let mut rows = screen.lines().filter(|row| row.starts_with("Metrics "));
        rows.any(|row| row.contains("/s") && !row.contains(" 0.0/s"))
    });
    let mut only_first = variables.clone();
    only_first.insert("KES_SERVER".to_owned(), names[0].clone());
    kes(folder.path(), &only_first, ["key", "create", "-k", "k1"].map(str::to_owned));
    terminal.wait_for("a created key", |screen| screen.contains("CreateKey"));

    // Help, and one server alone.
    terminal.press("?");
    terminal.wait_for("the help", |screen| screen.contains("choose a server"));
    terminal.press("x");
    terminal.press("Right");
    terminal.press("Enter");
    let alone = |screen: &str| !screen.contains('│') && screen.contains("p90       p99");
    let screen = terminal.wait_for("the second server alone", alone);
    assert!(
        screen.lines().nth(1).unwrap().starts_with(&format!("● {}  up ", names[1])),
        "{screen}"
    );
    assert!(screen.contains("reachable") && screen.contains("Budgets"), "{screen}");
    assert!(!screen.contains("CreateKey"), "{screen}");

    // Other sizes.
    terminal.resize(40, 10);
    let is_small =
        |screen: &str| screen.lines().nth(9).is_some_and(|row| row.starts_with(" q quit"));
    terminal.wait_for("the view in a small terminal", is_small);
    terminal.resize(120, 40);
    let is_large =
        |screen: &str| screen.lines().nth(39).is_some_and(|row| row.starts_with(" q quit"));
    terminal.wait_for("the view in a large terminal", is_large);

    // It goes, and comes back. The other one goes on.
    servers[1].1.signal(Signal::KILL);
    let is_away = |screen: &str| {
        let top = screen.lines().next().unwrap_or_default();
        top.contains(&format!("2 ✕ {} away", names[1])) && is_up(top, &names[0])
    };
    let screen = terminal.wait_for("that it is away", |screen| {
        is_away(screen) && screen.contains("  away since 20")
    });
    assert!(screen.contains("cannot reach") && screen.contains("last reading 20"), "{screen}");
    servers[1].1.restart();
    let is_back = |screen: &str| screen.matches(&format!("● {}", names[1])).count() == 2;
    terminal.wait_for("that it is back", is_back);

    // It is there and says nothing.
    servers[1].1.signal(Signal::STOP);
    terminal.wait_for("that it is silent", |screen| screen.contains("no answer since 20"));
    servers[1].1.signal(Signal::CONT);
    terminal.wait_for("that it is back", is_back);

    terminal.press("p");
    terminal.wait_for("the pause", |screen| screen.contains("PAUSED"));
    terminal.press("p");
    terminal.wait_for("its end", |screen| screen.contains("every 50ms"));
    terminal.press("q");
    is_restored(&terminal, 0);
}

#[test]
fn the_terminal_is_restored_however_the_view_ends() {
    let server = super::transcript::start_server();
    let mut variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("process");
    variables.insert("PROCESS".to_owned(), file.display().to_string());
    let start = || {
        let own = "sh -c 'echo $$ >$PROCESS; exec KES metric -k --rate 50ms'";
        let terminal = terminal(&format!("echo before; {own}{AFTER}"), USUAL, &variables);
        terminal.wait_for("the view", |screen| screen.contains("/s requests"));
        terminal
    };
    let with_ctrl_c = start();
    with_ctrl_c.press("C-c");
    is_restored(&with_ctrl_c, 0);

    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let terminal = start();
        let command: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(command).unwrap(), signal).unwrap();
        is_restored(&terminal, 0);
    }
}

/// With a shell that has jobs, as that of a person.
#[test]
fn ctrl_z_gives_the_terminal_to_the_shell_until_the_view_goes_on() {
    let server = super::transcript::start_server();
    let line = format!(
        "set -m; echo before; KES metric -k --rate 50ms; echo stopped; stty -a; read -r _; \
         fg >/dev/null{AFTER}"
    );
    let terminal = terminal(&line, (80, 40), &admin_of(&server));
    let is_view = |screen: &str| {
        screen.contains("/s requests") && screen.contains("\n q quit") && !screen.contains("iexten")
    };
    terminal.wait_for("the view", is_view);
    terminal.press("C-z");
    let screen = terminal.wait_for("the shell", |screen| screen.contains("iexten"));
    assert!(screen.contains("before\n") && screen.contains("stopped\n"), "{screen}");
    assert!(screen.contains(" icanon ") && screen.contains(" echo "), "{screen}");
    assert_eq!(terminal.tells("#{alternate_on} #{cursor_flag}"), "0 1");

    terminal.press("Enter");
    terminal.wait_for("the view", is_view);
    assert_eq!(terminal.tells("#{alternate_on}"), "1");
    terminal.press("q");
    let screen = terminal.wait_for("the end", |screen| screen.matches("iexten").count() == 2);
    assert!(screen.contains("status 0\n") && screen.matches(" icanon ").count() == 2, "{screen}");
    assert_eq!(terminal.tells("#{alternate_on} #{cursor_flag}"), "0 1");
}

/// It cannot give the terminal back then, and a shell uses it meanwhile.
#[test]
fn after_a_stop_by_somebody_else_the_view_is_whole_again() {
    let server = super::transcript::start_server();
    let mut variables = admin_of(&server);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("process");
    variables.insert("PROCESS".to_owned(), file.display().to_string());
    let own = "sh -c 'echo $$ >$PROCESS; exec KES metric -k --rate 50ms'";
    let terminal = terminal(&format!("echo before; {own}{AFTER}"), USUAL, &variables);
    terminal.wait_for("the view", |screen| screen.contains("/s requests"));
    let command: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let command = Pid::from_raw(command).unwrap();
    kill_process(command, Signal::STOP).unwrap();
    let state = format!("/proc/{}/stat", command.as_raw_pid());
    wait::eventually(PATIENCE, "it stops", || {
        std::fs::read_to_string(&state).unwrap().contains(") T ")
    });

    let device = terminal.tells("#{pane_tty}");
    let device = open(device, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let is_raw = || !tcgetattr(&device).unwrap().local_modes.contains(LocalModes::ICANON);
    assert!(is_raw());
    let mut modes = tcgetattr(&device).unwrap();
    modes.local_modes.insert(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(&device, OptionalActions::Now, &modes).unwrap();
    // In the row of the keys, which is not drawn again by itself.
    write(&device, b"\x1b[24;1Htext of a shell").unwrap();
    terminal.wait_for("the text", |screen| screen.contains("\ntext of a shell"));
    assert!(!is_raw());

    kill_process(command, Signal::CONT).unwrap();
    terminal.wait_for("the view alone", |screen| {
        screen.contains("\n q quit") && !screen.contains("text of a shell")
    });
    assert!(is_raw());
    terminal.press("q");
    is_restored(&terminal, 0);
}

/// As on a serial line, or in an editor's shell.
#[test]
fn a_terminal_that_cannot_move_its_cursor_has_one_text_after_the_other() {
    let server = super::transcript::start_server();
    let mut variables = admin_of(&server);
    variables.insert("NO_COLOR".to_owned(), "1".to_owned());
    let terminal = terminal("TERM=dumb KES metric -k --rate 50ms", (80, 100), &variables);
    let name = format!("● {}  up ", server.address);
    terminal.wait_for("two readings", |screen| screen.matches(&name).count() >= 2);
    assert_eq!(terminal.tells("#{alternate_on}"), "0");
    terminal.press("C-c");
    terminal.wait_for("the end", |screen| screen.contains("Pane is dead"));
}
