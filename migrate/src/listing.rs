use kes_api::{KeyName, ListPattern};
use kes_keystore::{Error, KeyStore, Limit, Names};

/// How much of a listing is read at a time, in bytes of names: half of what the Vault store reads
/// ahead, and few enough pages for a folder, which is read as a whole for each. A million keys with
/// names of 20 characters are 23 pages.
const PAGE: usize = 1024 * 1024;

/// The names of a store that begin with a text, page by page and in order.
pub(crate) struct Listing<'a, S> {
    store: &'a S,
    /// The pattern of the next page; `None` after the last.
    next: Option<String>,
}

impl<'a, S: KeyStore> Listing<'a, S> {
    pub(crate) fn new(store: &'a S, prefix: &str) -> Self {
        Self { store, next: Some(prefix.to_owned()) }
    }

    /// The next page; `None` after the last.
    pub(crate) async fn page(&mut self) -> Result<Option<Names>, Error> {
        let Some(text) = self.next.take() else { return Ok(None) };
        #[expect(clippy::expect_used, reason = "it has the characters of names alone")]
        let pattern = ListPattern::parse(&text).expect("a prefix of names is a pattern");
        let page = self.store.list(&pattern, Limit::bytes(PAGE, PAGE)).await?;
        self.next = page.next.map(|next| pattern.continue_at(next.as_str()));
        Ok(Some(page.names))
    }
}

/// The name of a key in a page.
#[expect(clippy::expect_used, reason = "a store lists names of keys alone")]
pub(crate) fn key(name: &str) -> KeyName {
    KeyName::parse(name).expect("a store lists names of keys")
}
