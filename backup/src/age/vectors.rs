//! The vectors of the age test kit: each file is opened, or refused, as it says.

use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::{Error, Identity, Opened, Opening};

/// A vector.
struct Vector {
    fields: Vec<(String, String)>,
    file: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let text = std::str::from_utf8(&bytes[..end]).unwrap();
        let fields: Vec<_> = text
            .lines()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut vector = Self { fields, file: bytes[end + 2..].to_vec() };
        if vector.all("compressed").next() == Some("zlib") {
            let mut file = Vec::new();
            flate2::read::ZlibDecoder::new(vector.file.as_slice()).read_to_end(&mut file).unwrap();
            vector.file = file;
        }
        vector
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn opening(&self) -> Opening {
        if let Some(passphrase) = self.all("passphrase").next() {
            return Opening::Passphrase(Zeroizing::new(passphrase.to_owned()));
        }
        Opening::Identities(
            self.all("identity").map(|text| Identity::parse(text).unwrap()).collect(),
        )
    }

    /// The content, as far as it can be opened, and what is wrong then.
    fn open(&self) -> (Vec<u8>, Option<Error>) {
        let mut content = Vec::new();
        let opened = match Opened::new(self.file.clone(), &self.opening()) {
            Ok(opened) => opened,
            Err(error) => return (content, Some(error)),
        };
        for number in 0..opened.chunks() {
            match opened.chunk(number) {
                Ok(chunk) => content.extend_from_slice(&chunk.unwrap()),
                Err(error) => return (content, Some(error)),
            }
        }
        (content, None)
    }
}

#[test]
fn every_vector_is_opened_or_refused_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/age");
    let (mut opened, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let vector = Vector::read(&path);
        let expected = vector.all("expect").next().unwrap();
        let (content, error) = vector.open();
        let told = error.as_ref().map(ToString::to_string);
        match (expected, &error) {
            ("success", None) => {
                opened += 1;
                let hash = digest(&SHA256, &content);
                let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(Some(hash.as_str()), vector.all("payload").next(), "{name}");
                continue;
            }
            (
                "no match",
                // A stanza of another type, beside which there is none for a passphrase.
                Some(Error::WrongIdentity | Error::WrongPassphrase | Error::NeedsIdentity),
            ) => {}
            ("HMAC failure", Some(Error::NotAuthentic)) => {}
            // A file that ends before its first chunk has no content to be wrong.
            ("payload failure", Some(Error::Damaged { .. } | Error::Truncated)) => {}
            (
                "header failure",
                Some(Error::Header(_) | Error::NotAge | Error::Truncated | Error::Work(_)),
            ) => {}
            _ => panic!("{name}: {expected}, and it is {told:?}"),
        }
        refused += 1;
        // What was opened before is what the whole file has there.
        assert!(content.len() % super::CHUNK == 0, "{name}");
    }
    assert!(opened >= 15 && refused >= 60, "{opened} opened, {refused} refused");
}
