/// `keystore.vault`
mod vault;

use kes_keystore::Config;
use kes_keystore::config::{FolderId, Fs};

use super::path;
use crate::value::{AlreadyReported, Section, Value};

/// Key stores of the reference server that this server does not support: section, group, member.
const UNSUPPORTED: [(&str, &str, &str); 6] = [
    ("keystore.fortanix", "fortanix", "sdkms"),
    ("keystore.gemalto", "gemalto", "keysecure"),
    ("keystore.gcp", "gcp", "secretmanager"),
    ("keystore.aws", "aws", "secretsmanager"),
    ("keystore.azure", "azure", "keyvault"),
    ("keystore.entrust", "entrust", "keycontrol"),
];

pub(super) fn read(value: &Value<'_>) -> Result<Config, AlreadyReported> {
    let mut section = value.section("keystore")?;
    let fs = section.take("fs");
    let vault = section.take("vault");
    let unsupported = unsupported(&mut section);
    section.end();

    // All given sections are read, even if there is one too many, to report all mistakes at once.
    let read = [
        fs.is_given().then(|| read_fs(&fs).map(Config::Fs)),
        vault.is_given().then(|| vault::read(&vault).map(Box::new).map(Config::Vault)),
    ];
    let unsupported = unsupported?;
    let supported = [("fs".to_owned(), fs), ("vault".to_owned(), vault)];
    let mut given: Vec<_> =
        supported.iter().chain(&unsupported).filter(|(_, store)| store.is_given()).collect();
    given.sort_by_key(|(_, store)| store.line);
    if given.len() > 1 {
        let given = given.iter().map(|(name, store)| format!("{name} (line {})", store.line));
        let given = given.collect::<Vec<_>>().join(", ");
        return Err(value.mistake(format!("more than one key store: {given}; keep one of them")));
    }
    match read.into_iter().flatten().next() {
        Some(store) => store,
        None if !unsupported.is_empty() => Err(AlreadyReported),
        None if value.is_given() => {
            Err(value.mistake("names no key store; fs and vault are supported"))
        }
        None => Err(value.mistake("is required; fs and vault are supported")),
    }
}

/// The unsupported key stores of the file, each refused by its name.
fn unsupported<'a>(section: &mut Section<'a>) -> Result<Vec<(String, Value<'a>)>, AlreadyReported> {
    let mut found = Vec::new();
    let mut result = Ok(());
    for (path, group, member) in UNSUPPORTED {
        match section.take(group).section(path) {
            Ok(mut group_section) => {
                let store = group_section.take(member);
                group_section.end();
                if store.is_given() {
                    let name = format!("{group}.{member}");
                    store.mistake(format!(
                        "key store {name} is not supported by this server; fs and \
                         vault are"
                    ));
                    found.push((name, store));
                }
            }
            Err(noted) => result = Err(noted),
        }
    }
    result.map(|()| found)
}

fn read_fs(value: &Value<'_>) -> Result<Fs, AlreadyReported> {
    let mut section = value.section("keystore.fs")?;
    let folder = section.take("path").required();
    let id = section.take("id");
    let id = id.is_given().then(|| folder_id(&id)).transpose();
    section.end();
    Ok(Fs { path: path(&folder?), id: id? })
}

/// An ID that is empty is a mistake: a variable that was to demand one may have no value.
fn folder_id(value: &Value<'_>) -> Result<FolderId, AlreadyReported> {
    let text = value.required_or("is empty; leave it out to accept any folder")?;
    FolderId::parse(text.as_str()).ok_or_else(|| {
        value.mistake(format!(
            "not the ID of a folder, which has {} hexadecimal digits and stands in the folder's \
             file '.kes-folder'",
            FolderId::DIGITS
        ))
    })
}
