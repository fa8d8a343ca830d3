//! `docs/minio.md`, and the guide of MinIO that it follows, with each of the policies that the
//! guide grants.

use std::fs;

use kes_testkit::{Authority, Bao};

use super::book::Book;
use super::session::Session;

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
            follow(&$grant);
        })+
    };
}

followed! {
    the_guide_works_with_kv_version_1: GRANTS[0];
    the_guide_works_for_a_tenant_of_kv_version_1: GRANTS[1];
    the_guide_works_with_kv_version_2: GRANTS[2];
    the_guide_works_for_a_tenant_of_kv_version_2: GRANTS[3];
}

/// All blocks in order, then the commands of the guide that the document says are unchanged.
fn follow(grant: &Grant) {
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
    let mut minio = None;
    let blocks = book.blocks().filter(|block| block.document == "docs/minio.md");
    for block in blocks {
        match &*block.language {
            "sh" if block.heading() == "MinIO" => minio = Some(block),
            "sh" => {
                for ran in session.run(block) {
                    let variable = match &*ran.command {
                        "kes identity of minio-kes.cert" => "MINIO_IDENTITY",
                        "vault read auth/approle/role/kes-role/role-id" => "APPROLE_ID",
                        "vault write -f auth/approle/role/kes-role/secret-id" => "APPROLE_SECRET",
                        _ => continue,
                    };
                    session.export(variable, &value(variable, &ran.stdout));
                }
            }
            "yaml" => session.write_system(&block.place(), "/opt/kes/config.yaml", &block.text),
            language => panic!("{}: '{language}'", block.place()),
        }
    }

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
