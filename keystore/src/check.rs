//! Proof that a server could work with a key store as it is configured, before the server is
//! started: what the checks of all backends share.
//!
//! A check does once what a server does with its key store, with a scratch key that has a random
//! name and whose value is not a key: it creates, reads, lists and deletes it. The scratch key is
//! removed in any case, also after a failure.

use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::time;

use crate::{Error, KeyStore, Limit, Value};

/// Time limit for opening the key store and proving its rights. With the two limits below a check
/// ends within 30 s, whatever the key store does.
const PREPARE_LIMIT: Duration = Duration::from_secs(13);

/// Time limit for using the scratch key. A single create may take 12 s by itself.
const SCRATCH_LIMIT: Duration = Duration::from_secs(12);

/// Time limit for removing the scratch key.
pub(crate) const CLEAN_LIMIT: Duration = Duration::from_secs(4);

/// The value of the scratch key. It is not a key, so nobody can use one that was left behind.
pub(crate) const SCRATCH_VALUE: &str = "scratch value of kes check";

/// The result for one thing that a server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub step: Step,
    /// The result.
    pub verdict: Verdict,
    /// One line for an operator: what was found, and what to do about it. No secret.
    pub text: String,
}

/// Something that a server needs of its key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// What the configuration names: folder, certificates, private keys.
    Open,
    /// A connection to a server that is healthy.
    Connection,
    /// A login.
    Login,
    /// The engine that holds keys.
    Engine,
    /// The right to do something.
    Right(Right),
    /// One creator of each key, however many servers there are.
    OneCreator,
    /// A key from create to delete.
    ScratchKey,
}

/// A right that a server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To read keys.
    Read,
    /// To list keys.
    List,
    /// To delete keys.
    Delete,
    /// To create keys.
    Create,
    /// To have keys wrapped.
    Encrypt,
    /// To have keys unwrapped.
    Decrypt,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as a server needs it.
    Ok,
    /// A server works with it, but it is hardly intended.
    Warning,
    /// A server does not work with it.
    Failed,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Connection => "connection",
            Self::Login => "login",
            Self::Engine => "engine",
            Self::Right(Right::Read) => "right to read keys",
            Self::Right(Right::List) => "right to list keys",
            Self::Right(Right::Delete) => "right to delete keys",
            Self::Right(Right::Create) => "right to create keys",
            Self::Right(Right::Encrypt) => "right to encrypt keys",
            Self::Right(Right::Decrypt) => "right to decrypt keys",
            Self::OneCreator => "one creator of each key",
            Self::ScratchKey => "scratch key",
        })
    }
}

/// Passes findings on, one by one as they are made.
pub(crate) struct Report<'a> {
    sink: &'a mut (dyn FnMut(Finding) + Send),
    /// What is being checked.
    step: Step,
    failed: bool,
}

impl<'a> Report<'a> {
    /// An empty report. The first step is to open the store.
    pub(crate) fn new(sink: &'a mut (dyn FnMut(Finding) + Send)) -> Self {
        Self { sink, step: Step::Open, failed: false }
    }

    pub(crate) fn begin(&mut self, step: Step) {
        self.step = step;
    }

    pub(crate) fn ok(&mut self, text: impl Into<String>) {
        self.add(Verdict::Ok, text.into());
    }

    pub(crate) fn warning(&mut self, text: impl Into<String>) {
        self.add(Verdict::Warning, text.into());
    }

    pub(crate) fn failed(&mut self, text: impl Into<String>) {
        self.failed = true;
        self.add(Verdict::Failed, text.into());
    }

    /// Whether anything has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn add(&mut self, verdict: Verdict, text: String) {
        (self.sink)(Finding { step: self.step, verdict, text });
    }
}

/// Runs a part of the check that can be cancelled at any time.
pub(crate) async fn within(
    stop: impl Future<Output = ()>,
    report: &mut Report<'_>,
    work: impl AsyncFnOnce(&mut Report<'_>),
) {
    enum End {
        Done,
        Stopped,
        Late,
    }
    let end = tokio::select! {
        () = work(report) => End::Done,
        () = stop => End::Stopped,
        () = time::sleep(PREPARE_LIMIT) => End::Late,
    };
    match end {
        End::Done => {}
        End::Stopped => report.failed("the check was stopped"),
        End::Late => {
            report.failed(format!("the key store did not complete it within {PREPARE_LIMIT:?}"));
        }
    }
}

/// Creates, reads, lists and deletes the scratch key. `lists` says whether keys may be listed.
pub(crate) async fn use_scratch_key(
    store: &impl KeyStore,
    scratch: &KeyName,
    lists: bool,
    report: &mut Report<'_>,
) {
    report.begin(Step::ScratchKey);
    let mut doing = "create";
    let life = async {
        store.create(scratch, &Value::new(SCRATCH_VALUE.to_owned())).await?;
        doing = "read";
        let value = store.read(scratch).await?;
        let same = value.expose() == SCRATCH_VALUE;
        doing = "list";
        let name = scratch.as_str();
        #[expect(clippy::expect_used, reason = "a name is a pattern")]
        let pattern = ListPattern::parse(name).expect("a name is a pattern");
        let listed =
            !lists || store.list(&pattern, Limit::names(1)).await?.names.find(name).is_some();
        doing = "delete";
        store.delete(scratch).await?;
        Ok::<_, Error>((same, listed))
    };
    let result = time::timeout(SCRATCH_LIMIT, life).await;
    match result {
        Ok(Ok((true, true))) if lists => report.ok("created, read, listed and deleted"),
        Ok(Ok((true, true))) => report.ok("created, read and deleted"),
        Ok(Ok((false, _))) => report.failed("what was read is not what was written"),
        Ok(Ok((true, false))) => report.failed("a key that was just created is not listed"),
        Ok(Err(error)) => report.failed(format!("cannot {doing} it: {error}")),
        Err(_) => report.failed(format!("cannot {doing} it: no answer within {SCRATCH_LIMIT:?}")),
    }
}

/// Deletes a key if it exists.
pub(crate) async fn remove(store: &impl KeyStore, name: &KeyName) -> Result<(), String> {
    match store.delete(name).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        // A read-only file system also refuses to delete a file that does not exist.
        Err(error) => match store.read(name).await {
            Err(Error::NotFound { .. }) => Ok(()),
            _ => Err(error.to_string()),
        },
    }
}

/// Removes the scratch key if it still exists, and reports if that fails.
pub(crate) async fn clean(
    gone: impl Future<Output = Result<(), String>>,
    scratch: &KeyName,
    report: &mut Report<'_>,
) {
    let result = time::timeout(CLEAN_LIMIT, gone).await;
    let reason = match result {
        Ok(Ok(())) => return,
        Ok(Err(reason)) => reason,
        Err(_) => format!("no answer within {CLEAN_LIMIT:?}"),
    };
    report.failed(format!("'{scratch}' may stay behind, delete it: {reason}"));
}

/// A random name that no user's key has.
#[expect(clippy::expect_used, reason = "letters, digits and '-' are a name")]
pub(crate) fn scratch_name() -> KeyName {
    let mut bytes = [0; 16];
    kes_crypto::random::fill(&mut bytes);
    let name = format!("kes-check-{:032x}", u128::from_be_bytes(bytes));
    KeyName::parse(&name).expect("letters, digits and '-' are a name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Page, State};

    /// A store that refuses all changes.
    struct ReadOnly {
        has_key: bool,
    }

    impl ReadOnly {
        fn refuse() -> Error {
            Error::Unavailable { reason: "read-only file system".to_owned() }
        }
    }

    impl KeyStore for ReadOnly {
        async fn create(&self, _: &KeyName, _: &Value) -> Result<(), Error> {
            Err(Self::refuse())
        }

        async fn read(&self, name: &KeyName) -> Result<Value, Error> {
            if self.has_key {
                Ok(Value::new("text".to_owned()))
            } else {
                Err(Error::NotFound { name: *name })
            }
        }

        async fn delete(&self, _: &KeyName) -> Result<(), Error> {
            Err(Self::refuse())
        }

        async fn list(&self, _: &ListPattern<'_>, _: Limit) -> Result<Page, Error> {
            Ok(Page::default())
        }

        fn state(&self) -> State {
            State::Unavailable
        }

        fn kind(&self) -> Kind {
            Kind::new(&"test")
        }
    }

    #[tokio::test]
    async fn a_scratch_key_that_was_never_made_does_not_stay_behind() {
        for (has_key, expected) in [
            (false, vec!["cannot create it: key store: read-only file system"]),
            (
                true,
                vec![
                    "cannot create it: key store: read-only file system",
                    "'k' may stay behind, delete it: key store: read-only file system",
                ],
            ),
        ] {
            let (store, name) = (ReadOnly { has_key }, KeyName::parse("k").unwrap());
            let mut told = Vec::new();
            let mut sink = |finding: Finding| told.push(finding.text);
            let mut report = Report::new(&mut sink);
            use_scratch_key(&store, &name, true, &mut report).await;
            clean(remove(&store, &name), &name, &mut report).await;
            assert_eq!(told, expected);
        }
    }
}
