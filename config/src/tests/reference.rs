//! `docs/config.md` has every field, and its defaults are those of the code.

use std::collections::BTreeMap;

use super::*;
use crate::fields;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");

/// A row of a table: field, meaning, default, form, since, change.
struct Row {
    field: String,
    cells: Vec<String>,
}

impl Row {
    fn default(&self) -> &str {
        &self.cells[2]
    }

    /// The default, if it is a value that could stand in the file.
    fn value(&self) -> Option<&str> {
        let value = self.default().strip_prefix('`')?.strip_suffix('`')?;
        (!value.contains('`')).then_some(value)
    }
}

/// Fields as a file: leaves by the dots of their names.
#[derive(Default)]
struct File {
    text: Option<String>,
    below: BTreeMap<String, Self>,
}

impl File {
    /// A file with all sections that have nothing to do with one another, each with what it requires.
    fn of(field: &str) -> Self {
        let keystore: &[(&str, &str)] = match field {
            _ if field.starts_with("keystore.vault.kubernetes.") => &[
                ("keystore.vault.endpoint", "https://v:8200"),
                ("keystore.vault.kubernetes.role", "r"),
                ("keystore.vault.kubernetes.jwt", "/token"),
            ],
            _ if field.starts_with("keystore.vault.") => &[
                ("keystore.vault.endpoint", "https://v:8200"),
                ("keystore.vault.transit.key", "t"),
                ("keystore.vault.approle.id", "i"),
                ("keystore.vault.approle.secret", "s"),
            ],
            _ => &[("keystore.fs.path", "keys")],
        };
        let rest = [
            ("admin.identity", ADMIN),
            ("tls.key", "server.key"),
            ("tls.cert", "server.crt"),
            ("proxy_protocol.from", "10.0.0.7"),
            ("operations.address", "127.0.0.1:7374"),
            ("cache.snapshot.path", "keys.snapshot"),
            ("cache.snapshot.key", "snapshot.key"),
            ("log.audit_file.path", "audit.jsonl"),
            ("traces.endpoint", "http://127.0.0.1:4318"),
            ("keys.*.name", "k"),
            ("migration.to.fs.path", "new-keys"),
        ];
        let mut file = Self::default();
        for (field, text) in rest.iter().chain(keystore) {
            file.set(field, text);
        }
        file
    }

    fn set(&mut self, field: &str, text: &str) {
        self.place(field).text = Some(text.to_owned());
    }

    fn remove(&mut self, field: &str) {
        let (section, name) = field.rsplit_once('.').unwrap();
        self.place(section).below.remove(name);
    }

    fn place(&mut self, field: &str) -> &mut Self {
        field.split('.').fold(self, |file, name| file.below.entry(name.to_owned()).or_default())
    }

    /// As YAML in one line. `*` is an item of a list.
    fn shown(&self) -> String {
        if let Some(item) = self.below.get("*") {
            return format!("[{}]", item.shown());
        }
        match &self.text {
            Some(text) => format!("'{text}'"),
            None => {
                let fields = self.below.iter().map(|(name, file)| {
                    let is_list = name == "from";
                    let shown = file.shown();
                    if is_list {
                        format!("{name}: [{shown}]")
                    } else {
                        format!("'{name}': {shown}")
                    }
                });
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = lines.map(|line| {
        let (field, rest) = line.split_once("` | ").unwrap_or_else(|| panic!("{line}"));
        let cells = rest.trim_end_matches(" |").split(" | ").map(str::to_owned);
        Row {
            field: field.to_owned(),
            cells: [field.to_owned()].into_iter().chain(cells).collect(),
        }
    });
    rows.collect()
}

#[test]
fn every_field_has_a_row_and_every_row_is_a_field() {
    let rows = rows();
    let mut told: Vec<&str> = rows.iter().map(|row| &*row.field).collect();
    let mut known = fields::all();
    told.sort_unstable();
    known.sort_unstable();
    assert_eq!(told, known);
    for row in &rows {
        let has_all = row.cells.len() == 6 && row.cells.iter().all(|cell| !cell.trim().is_empty());
        assert!(has_all, "{}: {:?}", row.field, row.cells);
        let [since, change] = [&*row.cells[4], &*row.cells[5]];
        assert!(since.split('.').all(|part| part.parse::<u32>().is_ok()), "{}: {since}", row.field);
        assert!(["reload", "refused"].contains(&change), "{}: {change}", row.field);
    }
}

/// A file that says the default is one that says nothing; one without a required field is refused.
#[test]
fn defaults_are_those_of_the_code() {
    let (mut defaults, mut required) = (0, 0);
    for row in rows() {
        // APIs have names that the code knows.
        let field = row.field.replace("api.*", "api./v1/ready");
        let mut file = File::of(&field);
        let without = file.shown();
        if let Some(value) = row.value() {
            defaults += 1;
            file.set(&field, value);
            let said = file.shown();
            assert_ne!(said, without, "{field} is in the file");
            let [before, after] = [&without, &said].map(|text| Settings::of(&loaded(text).config));
            assert_eq!(after.changes_since(&before), [], "{field}: {value} is not the default");
        } else if row.default().starts_with("required") {
            required += 1;
            loaded(&without);
            file.remove(&field);
            let told = refused(&file.shown());
            let path = field.replace(".*", "[0]");
            assert!(told.contains(&path), "{field}: {told}");
        }
    }
    assert!(defaults > 20 && required > 12, "{defaults} defaults, {required} required fields");
}
