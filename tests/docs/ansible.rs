//! The playbook of `docs/operate.md` puts the files where the commands of `systemd/README.md` put them,
//! with the same owners and modes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Runner;
use super::book::Book;
use super::session::commands;
use crate::kubernetes::documents;

/// Owner, group and mode of a file or folder.
type Rights = (String, String, String);

#[test]
fn the_playbook_makes_the_service_of_the_commands() {
    let book = Book::read();
    let mut by_commands = BTreeMap::new();
    for block in book.blocks_of(Runner::Systemd) {
        for (_, command) in commands(&block.text) {
            by_commands.extend(installed(&command));
        }
    }
    let block = book.blocks_of(Runner::Ansible)[0];
    let plays = &documents("other", &block.text)[0];
    let tasks = plays[0]["tasks"].as_array().unwrap();
    let by_tasks: BTreeMap<String, Rights> = tasks.iter().flat_map(copied).collect();
    assert!(by_tasks.len() >= 8, "{by_tasks:?}");
    for (path, rights) in &by_tasks {
        // The README installs the program before.
        if path != "/usr/local/bin/kes" {
            assert_eq!(by_commands.get(path), Some(rights), "{path}");
        }
    }
    // All that is needed for the service of the first section.
    for path in ["/etc/kes", "/etc/kes/server.key", "/etc/kes/environment"] {
        assert!(by_tasks.contains_key(path), "{path}");
    }
    let handlers: Vec<&Value> =
        plays[0]["handlers"].as_array().unwrap().iter().map(|handler| &handler["name"]).collect();
    for notified in tasks.iter().map(|task| &task["notify"]).filter(|name| name.is_string()) {
        assert!(handlers.contains(&notified), "{notified}");
    }
}

/// What `sudo install` of a command makes.
fn installed(command: &str) -> Vec<(String, Rights)> {
    let Some(arguments) = command.strip_prefix("sudo install ") else { return Vec::new() };
    let (mut owner, mut group, mut mode) = ("root", "root", "0755");
    let (mut is_folder, mut files) = (false, Vec::new());
    let mut words = arguments.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-d" => is_folder = true,
            "-o" => owner = words.next().unwrap(),
            "-g" => group = words.next().unwrap(),
            "-m" => mode = words.next().unwrap(),
            file => files.push(file),
        }
    }
    let rights = (owner.to_owned(), group.to_owned(), mode.to_owned());
    let target = files.pop().unwrap();
    let into = |file: &str| format!("{target}{}", file.rsplit('/').next().unwrap());
    let paths = match target.ends_with('/') && !is_folder {
        true => files.into_iter().map(into).collect(),
        false => vec![target.to_owned()],
    };
    paths.into_iter().map(|path| (path, rights.clone())).collect()
}

/// What a task copies or makes.
fn copied(task: &Value) -> Vec<(String, Rights)> {
    let copy = &task["ansible.builtin.copy"];
    let file = &task["ansible.builtin.file"];
    let (what, path) = match (copy.is_object(), file.is_object()) {
        (true, _) => (copy, &copy["dest"]),
        (_, true) => (file, &file["path"]),
        _ => return Vec::new(),
    };
    let text = |field: &str| what[field].as_str().unwrap_or("root").to_owned();
    let rights = (text("owner"), text("group"), text("mode"));
    let path = path.as_str().unwrap().to_owned();
    match task["loop"].as_array() {
        Some(items) => items
            .iter()
            .map(|item| (path.replace("{{ item }}", item.as_str().unwrap()), rights.clone()))
            .collect(),
        None => vec![(path, rights)],
    }
}
