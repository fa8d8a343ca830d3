use super::*;

#[test]
fn secrets_show_up_nowhere() {
    let good = vault_file(
        "    endpoint: https://v
    approle: {id: marked-id, secret: marked-secret}
",
    )
    .replace("cert: server.crt", "cert: c, password: marked-password");
    let config = loaded(&good);
    let debug = format!("{config:?} {config:#?}");
    assert!(!debug.contains("marked-secret") && !debug.contains("marked-password"), "{debug}");

    let kubernetes =
        vault_file("    endpoint: https://v\n    kubernetes: {role: r, jwt: marked-token}\n");
    assert!(!format!("{:?}", loaded(&kubernetes)).contains("marked"));

    for bad in [
        // Mistakes in the lines of secrets, and in those around them.
        "    endpoint: https://marked:marked@v\n    approle: {id: '', secret: marked}\n",
        "    endpoint: marked\n    approle: {id: a, secret: [marked]}\n",
        "    endpoint: https://v\n    approle: secret:marked\n",
        "    endpoint: https://v\n    approle: [marked, marked]\n",
        "    endpoint: https://v\n    approle: {id: a, secret: marked, secret_file: marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret:marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret=marked}\n",
        "    endpoint: https://v\n    approle: {id: a, secret: {marked: marked}}\n",
        "    endpoint: https://v\n    approle: {id: a, secret: marked, secret: marked}\n",
        "    endpoint: https://v\n    approle:\n      id: a\n      secret: \"marked\n",
        "    endpoint: https://v\n    approle:\n      secret: 'marked' marked\n",
        "    endpoint: https://v\n    approle:\n      secret: marked: marked\n",
        "    endpoint: https://v\n    approle:\n      secret: @marked\n",
        "    endpoint: https://v\n    approle:\n      secret: *marked\n",
        "    endpoint: https://v\n    approle:\n      secret: !marked!x marked\n",
        "    endpoint: https://v\n    approle:\n      secret: \"\\q marked\"\n",
        "    endpoint: https://v\n    approle:\n     secret: marked\n    secret: marked\n  x\n",
    ] {
        let text = refused(&vault_file(bad));
        assert!(!text.contains("marked"), "{text}");
    }
    // Without a blank after the colon it is the name of a field.
    let field =
        "    endpoint: https://v\n    approle: {id: a, secret: b, secret:marked, x=marked}\n";
    assert_eq!(
        warnings(&loaded(&vault_file(field))),
        [
            "line 6: keystore.vault.approle.secret…: unknown field, ignored",
            "line 6: keystore.vault.approle.x…: unknown field, ignored",
        ]
    );
    let key = HEAD.replace("server.crt}", "server.crt, password: [marked]}");
    assert_eq!(refused(&key), "line 2: tls.password: expected a text, but line 2 holds a list");
}
