//! The environment of the client commands (contract `cli.md`, Environment). A variable that is
//! set to nothing counts as not set.

use std::path::PathBuf;

use anyhow::{Result, bail};
use zeroize::Zeroizing;

const SERVER: [&str; 3] = ["MINIO_KES_SERVER", "KES_SERVER", "MINIO_KMS_KES_ENDPOINT"];
const API_KEY: [&str; 3] = ["MINIO_KES_API_KEY", "KES_API_KEY", "MINIO_KMS_KES_API_KEY"];
const KEY_FILE: [&str; 3] = ["MINIO_KES_KEY_FILE", "KES_CLIENT_KEY", "MINIO_KES_CLIENT_KEY"];
const CERT_FILE: [&str; 3] = ["MINIO_KES_CERT_FILE", "KES_CLIENT_CERT", "MINIO_KES_CLIENT_CERT"];
const CA_PATH: [&str; 2] = ["MINIO_KES_CAPATH", "KES_CAPATH"];
const DEFAULT_SERVER: &str = "127.0.0.1:7373";

/// Where the settings come from.
pub(crate) struct Environment<F>(F);

/// How a client proves who it is.
pub(crate) enum Credentials {
    /// An API key, as text, not parsed yet.
    ApiKey(Zeroizing<String>),
    /// Files of a private key and of its certificate.
    Files {
        /// PEM of the private key, may be encrypted.
        key: PathBuf,
        /// PEM of the certificate.
        cert: PathBuf,
    },
}

/// The variables of this process.
pub(crate) fn process() -> Environment<impl Fn(&str) -> Option<String>> {
    Environment(|name: &str| std::env::var(name).ok())
}

impl<F: Fn(&str) -> Option<String>> Environment<F> {
    /// The servers, as written: one or several with commas, `https://` may be missing.
    pub(crate) fn server(&self) -> String {
        self.first(&SERVER).map_or_else(|| DEFAULT_SERVER.to_owned(), |(_, value)| value)
    }

    /// File or folder of the CAs that are trusted besides the system's.
    pub(crate) fn ca_path(&self) -> Option<PathBuf> {
        self.first(&CA_PATH).map(|(_, value)| value.into())
    }

    /// How to prove who one is; `api_key` is that of the command line, which wins.
    ///
    /// # Errors
    /// With nothing set, with an API key beside files, and with one file without the other.
    pub(crate) fn credentials(&self, api_key: Option<&str>) -> Result<Credentials> {
        if let Some(api_key) = api_key {
            return Ok(Credentials::ApiKey(Zeroizing::new(api_key.to_owned())));
        }
        match (self.first(&API_KEY), self.first(&KEY_FILE), self.first(&CERT_FILE)) {
            (Some((_, key)), None, None) => Ok(Credentials::ApiKey(Zeroizing::new(key))),
            (Some((name, _)), Some((file, _)), _) | (Some((name, _)), None, Some((file, _))) => {
                bail!("both an API key ({name}) and a file ({file}) are specified: unset one")
            }
            (None, Some((_, key)), Some((_, cert))) => {
                Ok(Credentials::Files { key: key.into(), cert: cert.into() })
            }
            (None, Some((name, _)), None) => bail!(
                "a private key ({name}) is specified but no certificate: set {}",
                CERT_FILE[0]
            ),
            (None, None, Some((name, _))) => {
                bail!("a certificate ({name}) is specified but no private key: set {}", KEY_FILE[0])
            }
            (None, None, None) => bail!(
                "no API key specified\n\
                 Set {} to an API key; 'kes identity new' makes one",
                API_KEY[0]
            ),
        }
    }

    fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| {
            (self.0)(name).filter(|value| !value.is_empty()).map(|value| (*name, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(
        variables: &'static [(&'static str, &'static str)],
    ) -> Environment<impl Fn(&str) -> Option<String>> {
        Environment(|name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(variables: &'static [(&'static str, &'static str)]) -> String {
        environment(variables).credentials(None).err().expect("refused").to_string()
    }

    #[test]
    fn the_first_server_that_is_set_wins() {
        assert_eq!(environment(&[]).server(), "127.0.0.1:7373");
        assert_eq!(environment(&[("MINIO_KMS_KES_ENDPOINT", "c")]).server(), "c");
        let two = environment(&[("MINIO_KMS_KES_ENDPOINT", "c"), ("KES_SERVER", "b")]);
        assert_eq!(two.server(), "b");
        let empty = environment(&[("MINIO_KES_SERVER", ""), ("KES_SERVER", "b")]);
        assert_eq!(empty.server(), "b");
    }

    #[test]
    fn the_first_api_key_that_is_set_wins() {
        for (variables, expected) in [
            ([("MINIO_KES_API_KEY", "a"), ("KES_API_KEY", "b")].as_slice(), "a"),
            (&[("MINIO_KMS_KES_API_KEY", "c"), ("KES_API_KEY", "b")], "b"),
            (&[("MINIO_KMS_KES_API_KEY", "c")], "c"),
        ] {
            let Ok(Credentials::ApiKey(key)) = environment(variables).credentials(None) else {
                panic!("{variables:?} gave no API key")
            };
            assert_eq!(*key, expected);
        }
    }

    #[test]
    fn an_api_key_of_the_command_line_wins() {
        let environment = environment(&[("KES_CLIENT_KEY", "k"), ("KES_API_KEY", "b")]);
        let Ok(Credentials::ApiKey(key)) = environment.credentials(Some("mine")) else { panic!() };
        assert_eq!(*key, "mine");
    }

    #[test]
    fn files_come_as_a_pair_and_alone() {
        for (key, cert) in [
            ("MINIO_KES_KEY_FILE", "MINIO_KES_CERT_FILE"),
            ("KES_CLIENT_KEY", "KES_CLIENT_CERT"),
            ("MINIO_KES_CLIENT_KEY", "MINIO_KES_CLIENT_CERT"),
        ] {
            let both = Environment(|name: &str| (name == key || name == cert).then(|| name.into()));
            let Ok(Credentials::Files { key: k, cert: c }) = both.credentials(None) else {
                panic!("{key}")
            };
            assert_eq!((k, c), (key.into(), cert.into()));
        }
        assert!(refusal(&[("KES_CLIENT_KEY", "k")]).contains("no certificate"));
        assert!(refusal(&[("KES_CLIENT_CERT", "k")]).contains("no private key"));
        assert!(refusal(&[("KES_API_KEY", "a"), ("KES_CLIENT_CERT", "c")]).starts_with("both"));
        assert!(refusal(&[("KES_API_KEY", "a"), ("KES_CLIENT_KEY", "c")]).starts_with("both"));
        assert!(refusal(&[]).starts_with("no API key specified"));
    }

    #[test]
    fn no_error_quotes_a_secret() {
        let text = refusal(&[("KES_API_KEY", "kes:v1:secret"), ("KES_CLIENT_KEY", "c")]);
        assert!(!text.contains("secret"), "{text}");
    }
}
