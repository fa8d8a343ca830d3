//! `docs/guide.md`, and the guide of MinIO that it follows, with each of the policies that the
//! guide grants. The guide's unit starts the server; MinIO itself is in the last step.

use std::fs;

use kes_testkit::{Authority, Bao};

use super::book::{Block, Book};
use super::session::{Session, commands};
use super::unit::{self, Unit};
use super::{stand_ins, systemd};
use crate::minio::{Binaries, Minio};

const DOCUMENT: &str = "docs/guide.md";

/// Where the guide's unit stands.
const UNIT: &str = "/etc/systemd/system/kes.service";

/// A policy of the guide, and the configuration of an engine that goes with it.
struct Grant {
    version: &'static str,
    prefix: &'static str,
    policy: &'static str,
    may_list: bool,
}

const GRANTS: [Grant; 4] = [
    Grant {
        version: "1",
        prefix: "",
        policy: r#"path "kv/*" { capabilities = ["create", "read", "delete", "list"] }"#,
        may_list: true,
    },
    Grant {
        version: "1",
        prefix: "tenant",
        policy: r#"path "kv/tenant/*" { capabilities = ["create", "read", "delete"] }"#,
        may_list: false,
    },
    Grant {
        version: "2",
        prefix: "",
        policy: r#"
path "kv/data/*" { capabilities = ["create", "read"] }
path "kv/metadata/*" { capabilities = ["list", "delete"] }"#,
        may_list: true,
    },
    Grant {
        version: "2",
        prefix: "tenant",
        policy: r#"
path "kv/data/tenant/*" { capabilities = ["create", "read"] }
path "kv/metadata/tenant/*" { capabilities = ["list", "delete"] }"#,
        may_list: true,
    },
];

/// A test for each grant: a server and a Vault of its own each, beside each other.
macro_rules! followed {
    ($($test:ident: $grant:expr;)+) => {
        $(#[test]
        fn $test() {
            for line in follow(&$grant).not_run {
                println!("not run: {line}");
            }
        })+
    };
}

followed! {
    the_guide_works_with_kv_version_1: GRANTS[0];
    the_guide_works_for_a_tenant_of_kv_version_1: GRANTS[1];
    the_guide_works_with_kv_version_2: GRANTS[2];
    the_guide_works_for_a_tenant_of_kv_version_2: GRANTS[3];
}

/// Commands that ask a systemd that runs as the first process, which a test has not. The server
/// starts with what the unit says all the same.
const NOT_RUN: [&str; 3] =
    ["sudo systemctl daemon-reload", "systemctl status kes", "journalctl -fu kes"];

/// A reader at the end of the guide, with the server and its Vault.
struct Followed {
    session: Session,
    /// The commands for MinIO itself.
    bucket: Block,
    /// What could not be run here, and why.
    not_run: Vec<String>,
    _bao: Bao,
}

/// All blocks in order, then the commands of the guide that the document says are unchanged.
fn follow(grant: &Grant) -> Followed {
    let authority = Authority::new();
    let bao = Bao::start_tls(&authority, false);
    let mut session = Session::with_vault(&bao);
    fs::copy(authority.certificate(), session.file("vault-CA.cert")).unwrap();
    session.fill("https://127.0.0.1:8200", &bao.url());
    session.fill("0.0.0.0:7373", "127.0.0.1:0");
    session.fill("-version=1", &format!("-version={}", grant.version));
    session.fill(
        "version: v1",
        &format!("version: v{}\n    prefix: \"{}\"", grant.version, grant.prefix),
    );
    session.fill(GRANTS[0].policy, grant.policy);

    let book = Book::read();
    let (mut minio, mut bucket, mut not_run) = (None, None, Vec::new());
    for block in book.blocks().filter(|block| block.document == DOCUMENT) {
        match (&*block.language, block.heading()) {
            ("sh", "MinIO") => minio = Some(block),
            ("sh", "Encrypted bucket") => bucket = Some(block),
            ("sh", _) => not_run.extend(run(&mut session, block)),
            ("yaml", _) => {
                session.write_system(&block.place(), "/opt/kes/config.yaml", &block.text)
            }
            ("ini", _) => fs::write(session.system_file(UNIT), &block.text).unwrap(),
            (language, _) => panic!("{}: '{language}'", block.place()),
        }
    }
    not_run.extend(is_a_user_of_the_unit(&session));

    // The guide's own form of it: any server is accepted.
    session.run_line("the guide", "env -u KES_CAPATH kes key create -k second-key");
    let list = "kes key ls";
    if grant.may_list {
        let names = session.run_line("the guide", list).stdout;
        assert!(names.contains("encrypted-bucket-key") && names.contains("second-key"), "{names}");
    }
    for path in ["/opt/kes/certs/kes-server.key", "/opt/kes/CAs/vault-CA.cert"] {
        let owner = format!("owner kes:kes {}", session.system_file(path).display());
        assert!(session.notes().contains(&owner), "{owner}: {:#?}", session.notes());
    }

    // MinIO's variables name a server, a pair and a CA with which a client gets a data key.
    let minio = minio.expect("the document has MinIO's variables");
    session.write_system(
        &minio.place(),
        "/etc/default/minio",
        &session.in_scratch_root(&minio.text),
    );
    session.run_line("MinIO's unit", "set -a; . /etc/default/minio; set +a");
    let client = "env KES_SERVER=\"$MINIO_KMS_KES_ENDPOINT\" \
        KES_CLIENT_CERT=\"$MINIO_KMS_KES_CERT_FILE\" KES_CLIENT_KEY=\"$MINIO_KMS_KES_KEY_FILE\" \
        KES_CAPATH=\"$MINIO_KMS_KES_CAPATH\" kes";
    session.run_line("MinIO", &format!("{client} key create \"$MINIO_KMS_KES_KEY_NAME\""));
    let made = session.run_line("MinIO", &format!("{client} key dek \"$MINIO_KMS_KES_KEY_NAME\""));
    assert!(made.stdout.contains("ciphertext"), "{}", made.stdout);
    let bucket = bucket.expect("the document has MinIO's commands").clone();
    Followed { session, bucket, not_run, _bao: bao }
}

/// Runs the commands of a block, and keeps what a reader copies from what they print. Returns those
/// that cannot be run.
fn run(session: &mut Session, block: &Block) -> Vec<String> {
    let mut not_run = Vec::new();
    for (line, command) in commands(&block.text) {
        let place = format!("{DOCUMENT}:{}", block.line + line);
        let ran = session.run_line(&place, &command);
        if command == "sudo systemctl start kes" {
            systemd::start(session, &[]);
        } else if NOT_RUN.contains(&&*command) {
            not_run
                .push(format!("`{command}`, because systemd is not the first process of a test"));
        }
        if command == "kes identity new" {
            is_described_again(session, &ran.stdout);
        }
        let variable = match &*command {
            "kes identity of minio-kes.cert" => "MINIO_IDENTITY",
            "vault read auth/approle/role/kes-role/role-id" => "APPROLE_ID",
            "vault write -f auth/approle/role/kes-role/secret-id" => "APPROLE_SECRET",
            _ => continue,
        };
        session.fill(&format!("${{{variable}}}"), &value(variable, &ran.stdout));
    }
    not_run
}

/// The identity of an API key is printed again when it is asked for.
fn is_described_again(session: &mut Session, printed: &str) {
    let words: Vec<&str> = printed.split_whitespace().collect();
    let is_identity =
        |word: &&&str| word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
    let key = words.iter().find(|word| word.starts_with("kes:v1:")).expect("an API key");
    let identity = words.iter().find(is_identity).expect("an identity");
    let again = session.run_line("the guide", &format!("kes identity of {key}")).stdout;
    assert!(again.contains(*identity), "{again}");
}

/// The guide's commands made the user that its unit names, and systemd takes that unit.
fn is_a_user_of_the_unit(session: &Session) -> Vec<String> {
    let mut missing = Vec::new();
    let text = fs::read_to_string(session.system_file(UNIT)).unwrap();
    let unit = Unit::parse(&[&text]).unwrap();
    let [user, group] = ["User", "Group"].map(|name| unit.last(name).to_owned());
    for (program, file, name) in [("useradd", "passwd", user), ("groupadd", "group", group)] {
        if stand_ins::find(program).is_some() {
            let names = fs::read_to_string(session.system_file(&format!("/etc/{file}"))).unwrap();
            assert!(names.lines().any(|line| line.starts_with(&format!("{name}:x:"))), "{names}");
        } else {
            missing.push(program);
        }
    }
    match stand_ins::find("systemd-analyze") {
        Some(analyze) => {
            // With the program where it is here.
            let file = session.file("kes.service");
            fs::write(&file, session.in_scratch_root(&text)).unwrap();
            unit::verify(&analyze, &file, "");
        }
        None => missing.push("systemd-analyze verify"),
    }
    missing.iter().map(|program| format!("`{program}`, because this system has none")).collect()
}

/// The last step of the guide, with MinIO itself.
#[test]
#[cfg_attr(not(has_minio), ignore = "MINIO_BIN and MC_BIN name no MinIO")]
fn minio_encrypts_a_bucket_at_the_end_of_the_guide() {
    const VARIABLES: [&str; 5] = [
        "MINIO_KMS_KES_ENDPOINT",
        "MINIO_KMS_KES_CERT_FILE",
        "MINIO_KMS_KES_KEY_FILE",
        "MINIO_KMS_KES_CAPATH",
        "MINIO_KMS_KES_KEY_NAME",
    ];
    let Followed { mut session, bucket, not_run: _, _bao } = follow(&GRANTS[0]);
    let variables = VARIABLES.map(|name| (name, session.variable(name)));
    let folder = tempfile::tempdir().unwrap();
    let binaries = Binaries::of_environment();
    let mut minio = None;
    session.fill("myminio", "test");
    for (line, command) in commands(&bucket.text) {
        let ran = session.run_line(&format!("{DOCUMENT}:{}", bucket.line + line), &command);
        if command == "sudo systemctl restart minio" {
            let started = Minio::start(&binaries, folder.path(), &variables);
            session.add_program("mc", &format!("exec {} \"$@\"\n", started.mc_line()));
            minio = Some(started);
        } else if command.starts_with("mc stat") {
            assert!(ran.stdout.contains("encrypted-bucket-key"), "{}", ran.stdout);
        } else if command.starts_with("mc cat") {
            assert_eq!(ran.stdout, "contents\n");
        }
    }
    assert!(minio.is_some(), "the document starts MinIO");
    let names = session.run_line("the test", "kes key ls").stdout;
    for name in ["minio-backend-default-key", "encrypted-bucket-key", "second-bucket-key"] {
        assert!(names.contains(name), "{name} is not in {names}");
    }
}

/// What a reader copies from what a command prints.
fn value(variable: &str, printed: &str) -> String {
    let field = match variable {
        "APPROLE_ID" => "role_id",
        "APPROLE_SECRET" => "secret_id",
        _ => return printed.trim().to_owned(),
    };
    let mut lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.find(|words| words.first() == Some(&field)).unwrap()[1].to_owned()
}
