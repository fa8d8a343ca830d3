/// `keystore`
mod keystore;

/// `policy`, and who may have which role.
mod policy;

/// `address`, `cache`, `api`, `log`, `keys`
mod server;

/// `tls`
mod tls;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use kes_api::Identity;
use kes_policy::Policies;

use crate::value::{Context, Noted, Section, Text, Value};
use crate::yaml::Node;
use crate::{Config, Errors, Loaded, Mistake};

/// Checks a whole file. Every section is looked at, whatever is wrong with those before it.
pub(crate) fn config(
    tree: &Node,
    env: &dyn Fn(&str) -> Option<String>,
    file: Option<&Path>,
) -> Result<Loaded, Errors> {
    let context = Context::new(env, file.map(Arc::from));
    let config = context.root(tree).section().and_then(root);
    let (mut mistakes, warnings) = context.end();
    match config {
        Ok(config) if mistakes.is_empty() => Ok(Loaded { config, warnings }),
        Ok(_) => Err(Errors::new(mistakes)),
        Err(Noted) => {
            if mistakes.is_empty() {
                mistakes.push(Mistake::of_file(None, "the file is refused"));
            }
            Err(Errors::new(mistakes))
        }
    }
}

fn root(mut file: Section<'_>) -> Result<Config, Noted> {
    let version = version(&file.take("version"));
    let address = server::address(&file.take("address"));

    let mut roles = Roles::default();
    let admin = admin(&file.take("admin"), &mut roles);
    let tls = tls::read(&file.take("tls"), &mut roles);
    let policies = policy::read(&file.take("policy"), &mut roles);

    let cache = server::cache(&file.take("cache"));
    let api = server::api(&file.take("api"));
    let log = server::log(&file.take("log"));
    let keys = server::keys(&file.take("keys"));
    let keystore = keystore::read(&file.take("keystore"));

    file.retired("root", "the admin stands in admin.identity");
    file.retired("enclave", "there are no enclaves");
    let place = file.value().clone();
    file.end();

    version?;
    let admin = admin?;
    let policies =
        Policies::new(admin, policies?).map_err(|conflict| place.mistake(conflict.to_string()))?;
    Ok(Config {
        address: address?,
        admin,
        tls: tls?,
        policies,
        cache: cache?,
        api: api?,
        log: log?,
        keys: keys?,
        keystore: keystore?,
    })
}

fn version(value: &Value<'_>) -> Result<(), Noted> {
    match value.filled()? {
        Some(version) if version.as_str() != "v1" => {
            Err(version.mistake(format!("{} is unknown, there is only v1", version.shown())))
        }
        _ => Ok(()),
    }
}

fn admin(value: &Value<'_>, roles: &mut Roles) -> Result<Option<Identity>, Noted> {
    let mut section = value.section()?;
    let identity = section.take("identity").required();
    section.end();

    let text = identity?;
    let Ok(identity) = text.as_str().parse() else {
        // The words of the documentation. Anything else may be a hash gone wrong.
        if !matches!(text.as_str(), "disabled" | "_") {
            text.value.warn("no hash of 64 hexadecimal digits, so nobody is admin");
        }
        return Ok(None);
    };
    roles.assign(identity, &text, "the admin".to_owned())?;
    Ok(Some(identity))
}

/// Who is what: an identity has one role.
#[derive(Default)]
struct Roles(HashMap<Identity, Role>);

struct Role {
    name: String,
    line: usize,
}

impl Roles {
    /// Notes a role. It may be given to an identity again, but no other.
    fn assign(&mut self, identity: Identity, text: &Text<'_>, name: String) -> Result<(), Noted> {
        match self.0.entry(identity) {
            Entry::Vacant(slot) => {
                slot.insert(Role { name, line: text.value.line });
                Ok(())
            }
            Entry::Occupied(slot) if slot.get().name == name => Ok(()),
            Entry::Occupied(slot) => {
                let Role { name: first, line } = slot.get();
                let shown = text.shown();
                Err(text.mistake(format!(
                    "identity {shown} cannot be {name}: it is {first} already (line {line})"
                )))
            }
        }
    }
}

/// The identities of a list. What is no hash can match nobody, and does not count.
fn identities(value: &Value<'_>, roles: &mut Roles, role: &str) -> Result<Vec<Identity>, Noted> {
    let mut identities = Vec::new();
    let mut result = Ok(());
    for item in value.list()? {
        let text = match item.filled() {
            Ok(Some(text)) => text,
            Ok(None) => {
                item.warn("empty, so it matches nobody");
                continue;
            }
            Err(noted) => {
                result = Err(noted);
                continue;
            }
        };
        match text.as_str().parse() {
            Ok(identity) => match roles.assign(identity, &text, role.to_owned()) {
                Ok(()) => identities.push(identity),
                Err(noted) => result = Err(noted),
            },
            Err(_) => item.warn("no hash of 64 hexadecimal digits, so it matches nobody"),
        }
    }
    result.map(|()| identities)
}
