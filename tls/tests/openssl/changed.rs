//! Keys and certificates that were changed at random.

use kes_tls::{
    check_server_certificate, is_encrypted, parse_certificates, parse_private_key, validity,
};
use proptest::prelude::*;

use crate::folder::{Folder, P256, PASSOUT, PASSWORD};

/// Texts with every form of key, to be changed at random.
fn corpus() -> &'static [Vec<u8>] {
    static CORPUS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(|| {
        let folder = Folder::new();
        folder.pair("p256", P256);
        folder.run_with(&[
            "ec", "-aes128", "-in", "p256.key", "-out", "sec1.pem", "-passout", PASSOUT,
        ]);
        folder.run_with(&[
            "pkcs8",
            "-topk8",
            "-in",
            "p256.key",
            "-out",
            "pkcs8.pem",
            "-passout",
            PASSOUT,
            "-iter",
            "1",
        ]);
        folder.run_with(&[
            "pkcs8", "-topk8", "-in", "p256.key", "-out", "des3.pem", "-passout", PASSOUT, "-iter",
            "1", "-v2", "des3",
        ]);
        folder.run_with(&[
            "pkcs8",
            "-topk8",
            "-in",
            "p256.key",
            "-out",
            "scrypt.pem",
            "-passout",
            PASSOUT,
            "-scrypt",
            "-scrypt_N",
            "2",
        ]);
        ["p256.key", "p256.crt", "sec1.pem", "pkcs8.pem", "des3.pem", "scrypt.pem"]
            .map(|name| folder.read(name))
            .to_vec()
    })
}

proptest! {
    #[test]
    fn changed_text_is_read_or_refused(
        which in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        from_the_cut in any::<bool>(),
    ) {
        let mut pem = corpus()[which].clone();
        for (index, byte) in changes {
            let index = index.index(pem.len());
            pem[index] = byte;
        }
        let cut = cut.index(pem.len());
        let pem = if from_the_cut { &pem[cut / 8..] } else { &pem[..pem.len() - cut / 8] };
        is_encrypted(pem);
        if let Err(fault) = parse_private_key(pem, Some(PASSWORD)) {
            let _ = fault.to_string();
        }
        let _ = parse_certificates(pem);
    }

    /// Below the base64, where the parsers of DER are.
    #[test]
    fn changed_der_is_read_or_refused(
        which in 0_usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        use base64ct::{Base64, Encoding};

        let text = String::from_utf8(corpus()[which].clone()).unwrap();
        let digits: String = text.lines().filter(|line| !line.contains(['-', ':'])).collect();
        let mut der = Base64::decode_vec(&digits).unwrap();
        for (index, byte) in changes {
            let index = index.index(der.len());
            der[index] = byte;
        }
        if let Some(cut) = cut {
            der.truncate(cut.index(der.len()));
        }
        let headers: Vec<_> = text.lines().filter(|line| line.contains(':')).collect();
        let begin = text.lines().next().unwrap();
        let end = begin.replace("BEGIN", "END");
        let pem = format!("{begin}\n{}\n{}\n{end}\n", headers.join("\n"), Base64::encode_string(&der));
        let _ = parse_private_key(pem.as_bytes(), Some(PASSWORD));
        let _ = parse_certificates(pem.as_bytes()).map(|chain| {
            let _ = validity(&chain[0]);
            check_server_certificate(&chain[0])
        });
    }
}
