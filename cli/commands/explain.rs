//! Explains refusals. The server's message is printed unchanged, because scripts look for it. What
//! the client knows in addition is a line of its own below it.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use kes_api::{Identity, Timestamp, message};
use kes_client::Error;
use rustls::pki_types::CertificateDer;

/// What a request was about.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A key, by its name.
    Key(&'a str),
    /// A key to be imported, by its name, and its length in bytes.
    Import(&'a str, usize),
    /// A policy, by its name.
    Policy(&'a str),
    /// An identity.
    Identity(&'a str),
    /// Names that match a pattern.
    Pattern,
    /// The server.
    Server,
}

/// The client's identity to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// None if the server finds no identity in the certificates.
    identity: Option<Identity>,
    /// A variable, a flag or a file.
    source: String,
    /// When the certificate expired, if it has.
    expired: Option<SystemTime>,
}

impl Caller {
    /// The holder of an API key, whose certificate is always new.
    pub(super) fn of_api_key(identity: Identity, name: &str) -> Self {
        Self { identity: Some(identity), source: name.to_owned(), expired: None }
    }

    /// The holder of the certificates in a file.
    pub(super) fn of_chain(chain: &[CertificateDer<'_>], file: &Path) -> Self {
        let until = chain.first().and_then(|leaf| kes_tls::validity(leaf).ok());
        Self {
            identity: Identity::of_peer(chain.iter().map(AsRef::as_ref)).ok(),
            source: file.display().to_string(),
            expired: until.map(|validity| validity.until).filter(|end| *end < SystemTime::now()),
        }
    }

    /// Its identity, if it has one.
    pub(super) const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The identity, where it comes from, and whether the certificate has expired.
    fn describe(&self) -> String {
        let mut text = match self.identity {
            Some(identity) => format!("This client's identity is {identity} ({})", self.source),
            None => format!(
                "{} gives no identity: it must hold exactly one certificate that is not a CA certificate",
                self.source
            ),
        };
        if let Some(end) = self.expired {
            let end = Timestamp::from(end).to_table();
            text.push_str(&format!("; its certificate expired on {end} UTC"));
        }
        text
    }
}

/// An error of a request, with a line that explains it.
#[derive(Debug)]
pub(super) struct Explained {
    error: Error,
    hint: String,
}

impl Explained {
    /// The error without the line.
    pub(super) fn cause(&self) -> &Error {
        &self.error
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.error, self.hint)
    }
}

// No source: the cause is already a part of the text.
impl std::error::Error for Explained {}

/// Adds an explanation to the error of a caller's request about a subject.
pub(super) fn explain(error: Error, subject: Subject<'_>, caller: &Caller) -> anyhow::Error {
    match hint(&error, subject, caller) {
        Some(hint) => Explained { error, hint }.into(),
        None => error.into(),
    }
}

fn hint(error: &Error, subject: Subject<'_>, caller: &Caller) -> Option<String> {
    let text = match error {
        Error::Status { status: 500.., .. } => return Some(CAUSE.into()),
        Error::Status { message, .. } => message.as_str(),
        Error::Tls { is_client_refused: true, .. } => return Some(caller.describe()),
        _ => return None,
    };
    if text == message::NOT_AUTHORIZED.text {
        return Some(format!(
            "{}. Either no policy of the server names it, or its policy does not allow this; \
             'kes policy explain self <method> <path>' says which",
            caller.describe()
        ));
    }
    match subject {
        Subject::Key(name) if text == message::KEY_NOT_FOUND.text => {
            Some(format!("No key has the name {name:?}; 'kes key ls' lists the keys"))
        }
        Subject::Policy(name) if text == message::POLICY_NOT_FOUND.text => {
            Some(format!("No policy has the name {name:?}; 'kes policy ls' lists the policies"))
        }
        Subject::Identity(name) if text == message::IDENTITY_NOT_FOUND.text => Some(format!(
            "No policy of the server names {name}; 'kes identity ls' lists the identities"
        )),
        Subject::Key(name) | Subject::Import(name, _)
            if text == message::invalid_key_name(name).text =>
        {
            Some(NAMES.into())
        }
        Subject::Import(_, len) if text.starts_with("invalid key size") => {
            Some(format!("The key has {len} bytes; AES256 takes 32"))
        }
        Subject::Policy(name) if text == message::invalid_policy_name(name).text => {
            Some(NAMES.into())
        }
        Subject::Pattern if text.starts_with("listing pattern '") => Some(PATTERNS.into()),
        _ => None,
    }
}

/// Where to look when a server fails, since it does not send causes to its clients.
const CAUSE: &str = "The cause is in the error log of the server";

/// What a name is (contract `api.md`, Names).
const NAMES: &str = "A name has 1 to 80 characters of 0-9, A-Z, a-z, - and _; \
                     it neither starts nor ends with -, and is not _ alone";

/// What a pattern is.
const PATTERNS: &str = "A pattern is the beginning of a name, of 0-9, A-Z, a-z, - and _ and at \
                        most 80 characters; it may end with *";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEY: &str = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";

    fn caller() -> Caller {
        Caller::of_api_key(KEY.parse().unwrap(), "KES_API_KEY")
    }

    fn told(message: message::Message, subject: Subject<'_>, caller: &Caller) -> Option<String> {
        let error = Error::Status { status: message.status, message: message.text.into_owned() };
        hint(&error, subject, caller)
    }

    #[test]
    fn a_refusal_names_the_identity_and_that_it_has_expired() {
        let text = told(message::NOT_AUTHORIZED, Subject::Key("k"), &caller()).unwrap();
        assert!(text.contains(KEY) && text.contains("KES_API_KEY"), "{text}");
        assert!(!text.contains("expired"), "{text}");

        let key = kes_client::ApiKey::generate().unwrap();
        let (certificate, _) = key.certificate().unwrap();
        let of_file = Caller::of_chain(&[certificate], Path::new("my.crt"));
        assert_eq!(of_file.identity, Some(key.identity()));
        assert_eq!(of_file.expired, None);

        let expired = Caller {
            expired: Some(SystemTime::UNIX_EPOCH + Duration::from_hours(24)),
            ..of_file.clone()
        };
        let text = told(message::NOT_AUTHORIZED, Subject::Server, &expired).unwrap();
        assert!(
            text.contains("(my.crt); its certificate expired on 1970-01-02 00:00:00 UTC"),
            "{text}"
        );
        let refused = Error::Tls {
            endpoint: "a:1".into(),
            reason: "a:1 refuses the client certificate".into(),
            is_client_refused: true,
        };
        assert_eq!(hint(&refused, Subject::Server, &expired), Some(expired.describe()));

        let nobody = Caller::of_chain(&[], Path::new("ca.crt"));
        assert!(nobody.describe().starts_with("ca.crt gives no identity"), "{nobody:?}");
    }

    #[test]
    fn a_name_that_is_not_there_or_is_none_is_told() {
        let caller = caller();
        for (message, subject, expected) in [
            (message::KEY_NOT_FOUND, Subject::Key("nope"), "\"nope\""),
            (message::POLICY_NOT_FOUND, Subject::Policy("nope"), "\"nope\""),
            (message::IDENTITY_NOT_FOUND, Subject::Identity(KEY), KEY),
            (message::invalid_key_name("a/b"), Subject::Key("a/b"), "1 to 80 characters"),
            (message::invalid_policy_name("a/b"), Subject::Policy("a/b"), "1 to 80 characters"),
            (message::invalid_pattern("a/b"), Subject::Pattern, "may end with *"),
        ] {
            let text = told(message.clone(), subject, &caller).expect(&message.text);
            assert!(text.contains(expected), "{text}");
        }
        let import = told(message::invalid_key_size("AES256"), Subject::Import("k", 16), &caller);
        assert_eq!(import.as_deref(), Some("The key has 16 bytes; AES256 takes 32"));
        for message in [message::READ_FAILED, message::STORE_UNREACHABLE, message::TIMEOUT] {
            let text = told(message, Subject::Key("k"), &caller).unwrap();
            assert!(text.contains("error log"), "{text}");
        }
        for message in [message::KEY_EXISTS, message::NOT_AUTHENTIC] {
            assert_eq!(told(message, Subject::Key("k"), &caller), None);
        }
    }
}
