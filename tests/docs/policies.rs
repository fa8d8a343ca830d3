//! `docs/policies.md`: its commands, with a server whose policy is the one that it prints.

use super::Runner;
use super::book::Book;
use super::session::Session;

/// Whoever asks is the admin.
const CONFIGURATION: &str = "admin:
  identity: ${ADMIN_IDENTITY}
tls:
  key: server.key
  cert: server.crt
keystore:
  fs:
    path: keys
";

#[test]
fn its_commands_tell_what_it_says() {
    let mut session = Session::new();
    session.install_kes();
    for command in [
        "kes identity new --key server.key --cert server.crt --ip 127.0.0.1 --dns localhost",
        "kes identity new --key admin.key --cert admin.crt",
        "kes identity new --key minio.key --cert minio.crt",
        "export ADMIN_IDENTITY=$(kes identity of admin.crt)",
        "export MINIO_IDENTITY=$(kes identity of minio.crt)",
        "export KES_CAPATH=server.crt KES_CLIENT_KEY=admin.key KES_CLIENT_CERT=admin.crt",
    ] {
        session.run_line("the test", command);
    }
    let preset = "kes policy preset minio --identity \"$MINIO_IDENTITY\"";
    let policy = session.run_line("the test", preset).stdout;
    session.write("the test", "config.yml", &format!("{CONFIGURATION}{policy}"));
    session.run_line("the test", "kes server --config config.yml");
    let as_minio = "KES_CLIENT_KEY=minio.key KES_CLIENT_CERT=minio.crt";
    session.run_line("the test", &format!("{as_minio} kes key create my-key"));
    let refused = format!("! {as_minio} kes key rm my-key");
    session.run_line("the test", &refused);

    let book = Book::read();
    let tables = book.blocks_of(Runner::Expectations);
    assert_eq!(tables.len(), 1);
    session.write(&tables[0].place(), "expectations.yml", &tables[0].text);
    let mut told = Vec::new();
    for block in book.blocks_of(Runner::Refused) {
        for ran in session.run(block) {
            assert_eq!(ran.stderr, "", "{}", ran.command);
            told.push((ran.command, ran.stdout));
        }
    }
    let of = |command: &str| {
        let found = told.iter().filter(|(ran, _)| ran.starts_with(command));
        found.map(|(_, stdout)| &**stdout).collect::<Vec<_>>()
    };
    let [own, other] = of("kes policy explain")[..] else { panic!("{told:#?}") };
    assert!(own.starts_with("allowed") && own.contains("the admin may do everything"), "{own}");
    assert!(other.contains("allow '/v1/key/generate/*' (config.yml:"), "{other}");
    for suggested in of("kes policy suggest") {
        assert!(suggested.contains("    - /v1/key/delete/my-key  # once"), "{suggested}");
    }
    let [_, limited] = of("kes policy preset")[..] else { panic!("{told:#?}") };
    assert!(limited.contains("- /v1/key/describe/minio-*"), "{limited}");
    assert_eq!(of("kes policy test"), ["all 4 expectations hold\n"]);
}
