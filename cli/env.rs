//! The environment of the client commands (contract `cli.md`, Environment). An empty variable
//! counts as not set.

use std::path::PathBuf;

use anyhow::{Result, bail};
use zeroize::Zeroizing;

const SERVER: [&str; 3] = ["MINIO_KES_SERVER", "KES_SERVER", "MINIO_KMS_KES_ENDPOINT"];
const API_KEY: [&str; 3] = ["MINIO_KES_API_KEY", "KES_API_KEY", "MINIO_KMS_KES_API_KEY"];
const KEY_FILE: [&str; 3] = ["MINIO_KES_KEY_FILE", "KES_CLIENT_KEY", "MINIO_KES_CLIENT_KEY"];
const CERT_FILE: [&str; 3] = ["MINIO_KES_CERT_FILE", "KES_CLIENT_CERT", "MINIO_KES_CLIENT_CERT"];
const CA_PATH: [&str; 3] = ["MINIO_KES_CAPATH", "KES_CAPATH", "MINIO_KMS_KES_CAPATH"];
const DEFAULT_SERVER: &str = "127.0.0.1:7373";

/// All of these variables.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    [SERVER, API_KEY, KEY_FILE, CERT_FILE, CA_PATH].into_iter().flatten()
}

/// Where the settings come from.
pub(crate) struct Environment<F>(F);

/// A setting, with the name of the variable or flag that it comes from.
pub(crate) struct Named<T> {
    /// Such as `KES_SERVER`.
    pub(crate) name: &'static str,
    pub(crate) value: T,
}

/// The credentials of a client.
pub(crate) enum Credentials {
    /// An API key, as text, not parsed yet.
    ApiKey(Named<Zeroizing<String>>),
    /// Files of a private key and of its certificate.
    Files {
        /// PEM of the private key, which may be encrypted.
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
    /// The servers, as written: one, or several separated by commas; `https://` may be missing.
    pub(crate) fn server(&self) -> Named<String> {
        let (name, value) =
            self.first(&SERVER).unwrap_or_else(|| ("KES_SERVER", DEFAULT_SERVER.to_owned()));
        Named { name, value }
    }

    /// File or folder of the CAs that are trusted besides the system's.
    pub(crate) fn ca_path(&self) -> Option<Named<PathBuf>> {
        self.first(&CA_PATH).map(|(name, value)| Named { name, value: value.into() })
    }

    /// The credentials. `api_key` is that of the command line, which wins.
    ///
    /// # Errors
    /// If nothing is set, if an API key and a file are set, and if only one of the two files is
    /// set.
    pub(crate) fn credentials(&self, api_key: Option<&str>) -> Result<Credentials> {
        if let Some(api_key) = api_key {
            let value = Zeroizing::new(api_key.to_owned());
            return Ok(Credentials::ApiKey(Named { name: "--api-key", value }));
        }
        match (self.first(&API_KEY), self.first(&KEY_FILE), self.first(&CERT_FILE)) {
            (Some((name, key)), None, None) => {
                Ok(Credentials::ApiKey(Named { name, value: Zeroizing::new(key) }))
            }
            (Some((name, _)), Some((file, _)), _) | (Some((name, _)), None, Some((file, _))) => {
                bail!("both an API key ({name}) and a file ({file}) are specified: unset one")
            }
            (None, Some((_, key)), Some((_, cert))) => {
                Ok(Credentials::Files { key: key.into(), cert: cert.into() })
            }
            (None, Some((name, _)), None) => bail!(
                "a private key ({name}) is specified but no certificate: set {}",
                beside(name, &KEY_FILE, &CERT_FILE)
            ),
            (None, None, Some((name, _))) => bail!(
                "a certificate ({name}) is specified but no private key: set {}",
                beside(name, &CERT_FILE, &KEY_FILE)
            ),
            (None, None, None) => bail!(
                "no API key specified\n\
                 Set KES_API_KEY to an API key ('kes identity new' makes one), or KES_CLIENT_KEY \
                 and KES_CLIENT_CERT to the files of a private key and its certificate"
            ),
        }
    }

    fn first(&self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| {
            (self.0)(name).filter(|value| !value.is_empty()).map(|value| (*name, value))
        })
    }
}

/// The variable of the certificate that belongs to the given one of the private key, or the other
/// way round.
fn beside(name: &str, names: &[&str; 3], others: &[&'static str; 3]) -> &'static str {
    names.iter().position(|other| *other == name).map_or(others[1], |index| others[index])
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
        assert_eq!(environment(&[]).server().value, "127.0.0.1:7373");
        assert_eq!(environment(&[("MINIO_KMS_KES_ENDPOINT", "c")]).server().value, "c");
        let two = environment(&[("MINIO_KMS_KES_ENDPOINT", "c"), ("KES_SERVER", "b")]);
        assert_eq!((two.server().name, two.server().value.as_str()), ("KES_SERVER", "b"));
        let empty = environment(&[("MINIO_KES_SERVER", ""), ("KES_SERVER", "b")]);
        assert_eq!(empty.server().value, "b");
        let own = environment(&[("MINIO_KMS_KES_CAPATH", "m"), ("KES_CAPATH", "k")]).ca_path();
        assert_eq!(own.unwrap().value, PathBuf::from("k"));
        let minio = environment(&[("MINIO_KMS_KES_CAPATH", "m")]).ca_path();
        assert_eq!(minio.unwrap().value, PathBuf::from("m"));
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
            assert_eq!(*key.value, expected);
            assert!(variables.iter().any(|(name, _)| *name == key.name));
        }
    }

    #[test]
    fn an_api_key_of_the_command_line_wins() {
        let environment = environment(&[("KES_CLIENT_KEY", "k"), ("KES_API_KEY", "b")]);
        let Ok(Credentials::ApiKey(key)) = environment.credentials(Some("mine")) else { panic!() };
        assert_eq!((key.name, key.value.as_str()), ("--api-key", "mine"));
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
        assert!(
            refusal(&[("KES_CLIENT_KEY", "k")]).ends_with("no certificate: set KES_CLIENT_CERT")
        );
        assert!(
            refusal(&[("KES_CLIENT_CERT", "k")]).ends_with("no private key: set KES_CLIENT_KEY")
        );
        let minio = refusal(&[("MINIO_KES_KEY_FILE", "k")]);
        assert!(minio.ends_with("set MINIO_KES_CERT_FILE"), "{minio}");
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
