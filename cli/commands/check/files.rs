//! Who can read and change the files of a server: the configuration, the files and folders that it
//! names, and the folders on the way to them.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use kes_config::{Config, ConfiguredPath, Password, Snapshot, SnapshotKeySource};
use kes_keystore::Config as KeyStore;
use kes_keystore::config::{AppRoleSecret, Fs, Jwt, Login, Vault};
use kes_keystore::fs::MARKER;

use super::acl::{self, Who};
use crate::insiders::Insiders;

/// How many files of a folder are looked at. A folder of a million keys would take a minute; its
/// files are made by one program, so that the first ones show how it makes them.
const MAX_ENTRIES: usize = 10_000;

/// How many symbolic links a path may lead through, as in Linux.
const MAX_LINKS: usize = 40;

/// Where the kubelet puts the token of a service account, which everybody in the container can
/// read. Who uses the container is the operator's choice, the mode is not.
const KUBELET: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What outsiders may not do with a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Rule {
    /// Neither read nor change it: it is a secret.
    Secret,
    /// Change it: it decides whom the server trusts.
    Unchanged,
}

/// The findings, one line each.
pub(in crate::commands) fn findings(file: &Path, config: &Config) -> Vec<String> {
    let mut search = Search::new(Insiders::of_this_process());
    search.file(&Place::of_file(file), Rule::Secret);
    search.named(&config.tls.key, Rule::Secret);
    if let Some(Password::File(path)) = &config.tls.password {
        search.named(path, Rule::Secret);
    }
    search.named(&config.tls.cert, Rule::Unchanged);
    search.folder_of_cas(config.tls.ca.as_ref());
    if let Some(key) = config.log.audit_file.as_ref().and_then(|file| file.key.as_ref()) {
        search.named(key, Rule::Secret);
    }
    if let Some(Snapshot { path, key, max_age: _ }) = &config.snapshot {
        search.named(path, Rule::Secret);
        if let SnapshotKeySource::File(key) = key {
            search.named(key, Rule::Secret);
        }
    }
    search.folder_of_cas(config.traces.as_ref().and_then(|traces| traces.ca.as_ref()));
    let new = config.migration.as_ref().map(|migration| &migration.to);
    for keystore in [Some(&config.keystore), new].into_iter().flatten() {
        match keystore {
            KeyStore::Fs(Fs { path, id: _ }) => {
                search.named(path, Rule::Unchanged);
                search.contents(path, Rule::Secret);
            }
            KeyStore::Vault(vault) => search.files_of_vault(vault),
        }
    }
    search.findings
}

/// A path, with what the message about it begins with.
struct Place<'a> {
    path: &'a Path,
    configured: Option<&'a ConfiguredPath>,
}

impl<'a> Place<'a> {
    /// The configuration file itself.
    const fn of_file(path: &'a Path) -> Self {
        Self { path, configured: None }
    }

    /// `config.yml:3: tls.key: server.key <fault>`
    fn blame(&self, fault: &str) -> String {
        let text = format!("{} {fault}", self.path.display());
        self.configured.map_or_else(|| text.clone(), |configured| configured.blame(&text))
    }
}

struct Search {
    insiders: Insiders,
    /// Files and folders that are done: several fields may name one.
    seen: HashSet<(PathBuf, Rule)>,
    /// Folders on the way, and entries of them, that are told already.
    told: HashSet<PathBuf>,
    findings: Vec<String>,
}

impl Search {
    fn new(insiders: Insiders) -> Self {
        Self { insiders, seen: HashSet::new(), told: HashSet::new(), findings: Vec::new() }
    }

    fn named(&mut self, path: &ConfiguredPath, rule: Rule) {
        self.file(&Place { path, configured: Some(path) }, rule);
    }

    fn folder_of_cas(&mut self, path: Option<&ConfiguredPath>) {
        if let Some(path) = path {
            self.named(path, Rule::Unchanged);
            self.contents(path, Rule::Unchanged);
        }
    }

    fn files_of_vault(&mut self, vault: &Vault) {
        if let Some((key, cert)) = &vault.tls.client {
            self.named(key, Rule::Secret);
            self.named(cert, Rule::Unchanged);
        }
        self.folder_of_cas(vault.tls.ca.as_ref());
        match &vault.login {
            Login::AppRole { secret: AppRoleSecret::File(path), .. } => {
                self.named(path, Rule::Secret);
            }
            Login::Kubernetes { jwt: Jwt::File(path), .. } => {
                let is_kubelets = path.starts_with(KUBELET);
                self.named(path, if is_kubelets { Rule::Unchanged } else { Rule::Secret });
            }
            Login::AppRole { .. } | Login::Kubernetes { .. } => {}
        }
    }

    /// Looks at a file or folder and at the way to it. What does not exist, and what is neither, is
    /// found by others.
    fn file(&mut self, place: &Place<'_>, rule: Rule) {
        let found = fs::metadata(place.path).ok();
        if found.as_ref().is_some_and(|found| !found.is_file() && !found.is_dir()) {
            return;
        }
        self.way(place);
        let Some(found) = found else { return };
        let rule = if found.is_dir() { Rule::Unchanged } else { rule };
        let path = place.path.to_owned();
        if self.seen.contains(&(path.clone(), Rule::Secret)) || !self.seen.insert((path, rule)) {
            return;
        }
        if let Some(fault) = self.fault(&found, rule, place.path) {
            self.findings.push(place.blame(&fault));
        }
    }

    /// What outsiders can do with a file or folder although they may not, and what to do about it.
    fn fault(&self, found: &Metadata, rule: Rule, path: &Path) -> Option<String> {
        let mode = found.mode() & 0o7777;
        if !self.insiders.has_user(found.uid()) {
            let owner = self.insiders.user_name(found.uid());
            let can = if rule == Rule::Secret { "read and change it" } else { "change it" };
            return Some(format!(
                "belongs to {owner}, who can {can}; give it to root or to the user of the server, \
                 or check as that user"
            ));
        }
        let is_forbidden = |bits: u32| match rule {
            Rule::Secret => bits & 0o6 != 0,
            Rule::Unchanged => bits & 0o2 != 0,
        };
        let list = acl::read(path);
        // With a list, the mode has its mask in the place of the group's rights.
        let of_group = list.as_ref().map_or(mode >> 3, |list| list.group);
        let named = list.iter().flat_map(|list| &list.named);
        let mut listed = named.filter_map(|(who, rights)| {
            let who = self.outsider(*who)?;
            is_forbidden(*rights).then_some((who, *rights))
        });
        let mode_is = |right: &'static str| (format!("mode {mode:04o}"), Some(right));
        let (who, bits, (because, right)) = if is_forbidden(mode) {
            ("everybody".to_owned(), mode, mode_is("go"))
        } else if is_forbidden(of_group) && !self.insiders.has_group(found.gid()) {
            (self.insiders.group_name(found.gid()), of_group, mode_is("g"))
        } else {
            let (who, rights) = listed.next()?;
            (who, rights, ("access control list".to_owned(), None))
        };
        let (can, rights) = match (rule, bits & 0o4 != 0, bits & 0o2 != 0) {
            (Rule::Unchanged, ..) => ("changed", "w"),
            (Rule::Secret, true, true) => ("read and changed", "rwx"),
            (Rule::Secret, false, true) => ("changed", "rwx"),
            (Rule::Secret, ..) => ("read", "rwx"),
        };
        let command = match right {
            Some(right) => format!("chmod {right}-{rights}"),
            None => "setfacl -b".to_owned(),
        };
        let path = path.display();
        Some(format!("can be {can} by {who} ({because}); `{command} {path}` takes that away"))
    }

    /// The name of a user or group that is no insider.
    fn outsider(&self, who: Who) -> Option<String> {
        match who {
            Who::User(id) if !self.insiders.has_user(id) => Some(self.insiders.user_name(id)),
            Who::Group(id) if !self.insiders.has_group(id) => Some(self.insiders.group_name(id)),
            Who::User(_) | Who::Group(_) => None,
        }
    }

    /// Looks at each folder on the way to a file: whoever can change one of them can put another
    /// file in the place of this one.
    fn way(&mut self, place: &Place<'_>) {
        let Ok(start) = std::path::absolute(place.path) else { return };
        let mut folder = PathBuf::from("/");
        let mut links = 0;
        let mut parts = parts(&start);
        while let Some(part) = parts.pop() {
            // The links in a folder of processes are not names of files.
            if folder.starts_with("/proc") {
                return;
            }
            if part == ".." {
                folder.pop();
                continue;
            }
            let entry = folder.join(&part);
            let found = match fs::symlink_metadata(&entry) {
                Ok(found) => Some(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(_) => return,
            };
            self.folder_on_the_way(place, &folder, &entry, found.as_ref());
            match found {
                Some(found) if found.is_symlink() => {
                    links += 1;
                    let Ok(target) = fs::read_link(&entry) else { return };
                    if links > MAX_LINKS {
                        return;
                    }
                    if target.is_absolute() {
                        folder = PathBuf::from("/");
                    }
                    parts.extend(self::parts(&target));
                }
                Some(_) => folder = entry,
                None => return,
            }
        }
    }

    fn folder_on_the_way(
        &mut self,
        place: &Place<'_>,
        folder: &Path,
        entry: &Path,
        found: Option<&Metadata>,
    ) {
        let Ok(of_folder) = fs::metadata(folder) else { return };
        let Some(fault) = self.fault(&of_folder, Rule::Unchanged, folder) else { return };
        // In a folder such as /tmp, an entry can be replaced by its owner alone.
        let is_sticky = of_folder.mode() & 0o1000 != 0 && self.insiders.has_user(of_folder.uid());
        let (at, text) = if is_sticky {
            let replaceable = match found {
                None => {
                    let (folder, entry) = (folder.display(), entry.display());
                    format!("does not exist: everybody can create {entry} in folder {folder}")
                }
                Some(found) if found.is_symlink() && !self.insiders.has_user(found.uid()) => {
                    let owner = self.insiders.user_name(found.uid());
                    format!("is reached by the symbolic link {} of {owner}", entry.display())
                }
                Some(_) => return,
            };
            let advice = "move it to a folder that only root and the server can change";
            (entry, format!("{replaceable}; {advice}"))
        } else {
            (folder, format!("can be replaced: folder {} {fault}", folder.display()))
        };
        if self.told.insert(at.to_owned()) {
            self.findings.push(place.blame(&text));
        }
    }

    /// Looks at the files in a folder, if outsiders can reach them there.
    fn contents(&mut self, path: &ConfiguredPath, rule: Rule) {
        let (Ok(of_folder), Ok(entries)) = (fs::metadata(path), fs::read_dir(path)) else { return };
        let mode = of_folder.mode();
        let is_open = mode & 0o001 != 0
            || mode & 0o010 != 0 && !self.insiders.has_group(of_folder.gid())
            || !self.insiders.has_user(of_folder.uid());
        if !is_open {
            return;
        }
        let mut first = None;
        let mut more = 0_usize;
        for entry in entries.flatten().take(MAX_ENTRIES) {
            let file = entry.path();
            let Ok(found) = fs::metadata(&file) else { continue };
            if !found.is_file() {
                continue;
            }
            // The marker of a key folder is no secret, but decides whether a server starts.
            let is_marker = entry.file_name() == MARKER;
            match self.fault(&found, if is_marker { Rule::Unchanged } else { rule }, &file) {
                Some(_) if first.is_some() => more += 1,
                Some(fault) => first = Some((file, fault)),
                None => {}
            }
        }
        let Some((file, fault)) = first else { return };
        let others = match more {
            0 => String::new(),
            1 => " (and another file of this folder)".to_owned(),
            more => format!(" (and {more} other files of this folder)"),
        };
        self.findings.push(path.blame(format!("{}{others} {fault}", file.display())));
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    let mut parts: Vec<OsString> = parts.collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests;
