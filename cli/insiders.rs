//! Who may read secrets and change what a server trusts: root, the user of this process, and the
//! service's user and group. Everybody else is an outsider.

use std::fs;

use rustix::process::{getegid, geteuid, getgroups};

/// The name of the service's user and group, as `systemd/kes.sysusers` creates them. Whoever checks
/// may be root, and the files belong to the service then.
const SERVICE: &str = "kes";

/// The users and groups of the machine, and those of this process.
pub(crate) struct Insiders {
    user: u32,
    groups: Vec<u32>,
    accounts: Vec<Account>,
    known_groups: Vec<Group>,
}

/// A line of `/etc/passwd`.
struct Account {
    name: String,
    id: u32,
    group: u32,
}

/// A line of `/etc/group`.
struct Group {
    name: String,
    id: u32,
    members: Vec<String>,
}

impl Insiders {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        let mut groups: Vec<u32> =
            getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()).collect();
        groups.push(getegid().as_raw());
        // Accounts that only another directory knows have no name here.
        let read = |path: &str| fs::read(path).unwrap_or_default();
        Self::new(geteuid().as_raw(), groups, &read("/etc/passwd"), &read("/etc/group"))
    }

    /// Those of a user, who is in these groups; the texts are those of `/etc/passwd` and `/etc/group`.
    pub(crate) fn new(user: u32, groups: Vec<u32>, passwd: &[u8], group: &[u8]) -> Self {
        let accounts = lines(passwd).filter_map(|fields| {
            let [name, _, id, group, ..] = fields.as_slice() else { return None };
            Some(Account { name: name.clone(), id: id.parse().ok()?, group: group.parse().ok()? })
        });
        let known_groups = lines(group).filter_map(|fields| {
            let [name, _, id, members, ..] = fields.as_slice() else { return None };
            let members = members.split(',').filter(|name| !name.is_empty());
            let members = members.map(str::to_owned).collect();
            Some(Group { name: name.clone(), id: id.parse().ok()?, members })
        });
        let (accounts, known_groups) = (accounts.collect(), known_groups.collect());
        Self { user, groups, accounts, known_groups }
    }

    /// Whether a user is an insider.
    pub(crate) fn has_user(&self, id: u32) -> bool {
        id == 0 || id == self.user || self.account(id).is_some_and(|user| user.name == SERVICE)
    }

    /// Whether all members of a group are insiders. A group that is neither root's, nor the
    /// service's, nor one of this process is somebody else's.
    pub(crate) fn has_group(&self, id: u32) -> bool {
        if id == 0 || self.group(id).is_some_and(|group| group.name == SERVICE) {
            return true;
        }
        self.groups.contains(&id) && self.outsiders_of(id).next().is_none()
    }

    /// `user 'bob'`, or `user 1234` if it has no name.
    pub(crate) fn user_name(&self, id: u32) -> String {
        match self.account(id) {
            Some(user) => format!("user '{}'", user.name),
            None => format!("user {id}"),
        }
    }

    /// `group 'staff'`, or `group 1234` if it has no name.
    pub(crate) fn group_name(&self, id: u32) -> String {
        match self.group(id) {
            Some(group) => format!("group '{}'", group.name),
            None => format!("group {id}"),
        }
    }

    fn account(&self, id: u32) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    fn group(&self, id: u32) -> Option<&Group> {
        self.known_groups.iter().find(|group| group.id == id)
    }

    /// The members of a group that are no insiders.
    fn outsiders_of(&self, id: u32) -> impl Iterator<Item = &Account> {
        let listed: Vec<&String> = self
            .known_groups
            .iter()
            .filter(|group| group.id == id)
            .flat_map(|group| &group.members)
            .collect();
        self.accounts.iter().filter(move |account| {
            let is_member = account.group == id || listed.contains(&&account.name);
            is_member && !self.has_user(account.id)
        })
    }
}

/// The fields of each line.
fn lines(text: &[u8]) -> impl Iterator<Item = Vec<String>> {
    let fields = |line: &[u8]| {
        String::from_utf8_lossy(line).trim_end().split(':').map(str::to_owned).collect()
    };
    text.split(|byte| *byte == b'\n').map(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        kes:x:990:990::/:/usr/sbin/nologin\n\
        alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n\
        bob:x:1001:1001::/home/bob:/bin/bash\n\
        carol:x:1002:100::/home/carol:/bin/bash\n\
        broken line\n";
    const GROUP: &[u8] = b"root:x:0:bob\nusers:x:100:\nkes:x:990:alice\nalice:x:1000:\n\
        bob:x:1001:\nops:x:1500:alice,bob\nmine:x:1501:alice\n";

    #[test]
    fn insiders_are_root_the_service_and_who_checks() {
        for (user, groups, users, group_ids) in [
            (0, vec![0], vec![0, 990], vec![0, 990]),
            (1000, vec![1000, 100, 1500, 1501], vec![0, 990, 1000], vec![0, 990, 1000, 1501]),
            // A user that the system makes for one service, and one of a container.
            (61_184, vec![61_184], vec![0, 990, 61_184], vec![0, 990, 61_184]),
            (990, vec![990], vec![0, 990], vec![0, 990]),
        ] {
            let insiders = Insiders::new(user, groups, PASSWD, GROUP);
            for id in [0, 100, 990, 1000, 1001, 1002, 1500, 1501, 61_184, 65_534] {
                assert_eq!(insiders.has_user(id), users.contains(&id), "{id} for {user}");
                assert_eq!(insiders.has_group(id), group_ids.contains(&id), "{id} for {user}");
            }
        }
    }

    #[test]
    fn who_has_a_name_is_called_by_it() {
        let insiders = Insiders::new(0, vec![0], PASSWD, GROUP);
        assert_eq!(insiders.user_name(1001), "user 'bob'");
        assert_eq!(insiders.user_name(7), "user 7");
        assert_eq!(insiders.group_name(1500), "group 'ops'");
        assert_eq!(insiders.group_name(7), "group 7");
    }
}
