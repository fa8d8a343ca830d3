//! Pages of names, as JSON (contract `api.md`, Paging).

use kes_api::ListPattern;
use kes_keystore::{Limit, Page};
use tokio::sync::Semaphore;

use crate::service::answer::Answer;
use crate::service::error::Error;

/// The size of a page's JSON in bytes. MinIO only asks for the first page, and its SDK reads 1 MiB
/// of an answer.
const PAGE: usize = 768 * 1024;

/// How many large answers may exist at one time: each takes memory until its client has read it.
/// These are 24 MiB.
const LARGE_ANSWERS: usize = 32;

/// The size of a large answer in bytes. Smaller ones are limited as all other answers.
const LARGE: usize = 64 * 1024;

/// How many pages of a kind are made at one time. Each goes through all names, and holds two to
/// three times its own size of them; a few keep the machine busy.
const MAKING: usize = 4;

/// The JSON of a kind of page, without names and the pattern of the next page.
pub(super) struct Form {
    start: &'static str,
    /// After the names of the last page.
    end: &'static str,
    /// Held while a page is made.
    making: Semaphore,
}

pub(super) static KEYS: Form = Form::new("{\"names\":[", "]}\n");
pub(super) static POLICIES: Form = Form::new("{\"names\":[", "],\"continue_at\":\"\"}\n");
pub(super) static IDENTITIES: Form = Form::new("{\"identities\":[", "],\"continue_at\":\"\"}\n");

/// The JSON around the pattern of the next page.
const CONTINUE: [&str; 2] = ["],\"continue_at\":\"", "\"}\n"];

/// Answers with the page that `make` returns.
pub(super) async fn answer(
    form: &Form,
    pattern: &ListPattern<'_>,
    make: impl AsyncFnOnce(Limit) -> Result<Page, Error>,
) -> Result<Answer, Error> {
    static ANSWERS: Semaphore = Semaphore::const_new(LARGE_ANSWERS);

    // Neither is ever closed. A request that waits for too long ends by its time limit.
    let making = form.making.acquire().await.map_err(|_| Error::Timeout)?;
    let place = ANSWERS.acquire().await.map_err(|_| Error::Timeout)?;
    let page = make(form.limit(pattern)).await?;
    let json = form.json(&page, pattern);
    drop((page, making));
    let is_large = json.len() >= LARGE;
    let answer = Answer::json_text(json);
    Ok(if is_large { answer.with_place(place) } else { answer })
}

impl Form {
    const fn new(start: &'static str, end: &'static str) -> Self {
        Self { start, end, making: Semaphore::const_new(MAKING) }
    }

    fn limit(&self, pattern: &ListPattern<'_>) -> Limit {
        // A page has one comma less than it has names.
        let room = PAGE - self.start.len() + 1;
        let [before, after] = CONTINUE;
        let more = before.len() + pattern.continue_at("").len() + after.len();
        Limit::bytes(room - self.end.len(), room - more)
    }

    /// Names and patterns contain no character that JSON escapes.
    fn json(&self, page: &Page, pattern: &ListPattern<'_>) -> Vec<u8> {
        let names: usize = page.names.iter().map(|name| name.len() + 3).sum();
        let mut json = Vec::with_capacity(self.start.len() + names + 256);
        let mut add = |text: &str| json.extend_from_slice(text.as_bytes());
        add(self.start);
        for (at, name) in page.names.iter().enumerate() {
            add(if at == 0 { "\"" } else { ",\"" });
            add(name);
            add("\"");
        }
        match &page.next {
            None => add(self.end),
            Some(next) => {
                let [before, after] = CONTINUE;
                add(before);
                add(&pattern.continue_at(next.as_str()));
                add(after);
            }
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use kes_api::KeyName;
    use kes_api::body::{IdentityPage, NamePage};

    use super::*;

    /// Names of some length, in order.
    fn names(count: usize, len: usize) -> Vec<KeyName> {
        (0..count).map(|at| KeyName::parse(&format!("{at:0len$}")).unwrap()).collect()
    }

    fn json(form: &Form, pattern: &str, names: &[KeyName]) -> (Vec<u8>, Page) {
        let pattern = ListPattern::parse(pattern).unwrap();
        let page = Page::first(names.iter().copied(), form.limit(&pattern));
        (form.json(&page, &pattern), page)
    }

    #[test]
    fn a_page_is_the_json_of_its_names() {
        let all = names(20_000, 80);
        for pattern in ["", "*", "0", "00*0"] {
            for count in [0, 1, 2, 3, 20_000] {
                let (text, page) = json(&KEYS, pattern, &all[..count]);
                let next = page
                    .next
                    .map(|next| ListPattern::parse(pattern).unwrap().continue_at(next.as_str()));
                assert_eq!(next.is_some(), count == 20_000);
                let names: Vec<_> = page.names.iter().map(str::to_owned).collect();
                let with = |continue_at| NamePage { names: names.clone(), continue_at };
                let expected = serde_json::to_string(&with(next.clone())).unwrap() + "\n";
                assert_eq!(String::from_utf8(text).unwrap(), expected);

                let next = next.unwrap_or_default();
                let (text, _) = json(&POLICIES, pattern, &all[..count]);
                let read: NamePage = serde_json::from_slice(&text).unwrap();
                assert_eq!(read.continue_at.as_ref(), Some(&next));
                let (text, page) = json(&IDENTITIES, pattern, &all[..count]);
                let read: IdentityPage = serde_json::from_slice(&text).unwrap();
                assert!(read.identities.iter().eq(page.names.iter()));
                assert_eq!(read.continue_at, next);
            }
        }
    }

    /// To the byte: a page is full, and one name more would be too much.
    #[test]
    fn a_page_has_as_many_names_as_fit() {
        for form in [&KEYS, &POLICIES, &IDENTITIES] {
            for len in [6, 7, 20, 79, 80] {
                // As many as fit where nothing follows, give or take one.
                let most = (PAGE + 1 - form.start.len() - form.end.len()) / (len + 3);
                let all = names(most + 200, len);
                let (text, page) = json(form, "", &all[..most]);
                assert_eq!((page.names.len(), page.next), (most, None), "{len}");
                assert!(text.len() <= PAGE && text.len() + len + 3 > PAGE, "{len}");
                for more in [1, 2, 200] {
                    let (text, page) = json(form, "0*", &all[..most + more]);
                    assert_eq!(page.next, Some(all[page.names.len()]), "{len}");
                    assert!(text.len() <= PAGE && text.len() + len + 3 > PAGE, "{len} {more}");
                }
            }
        }
    }

    #[test]
    fn the_longest_pattern_leaves_room_for_names() {
        let prefix = "0".repeat(80);
        let pattern = ListPattern::parse(&prefix).unwrap();
        let all = names(15_000, 80);
        let page = Page::first(all, KEYS.limit(&pattern));
        assert!(page.names.len() > 9_000 && page.next.is_some());
        assert!(KEYS.json(&page, &pattern).len() <= PAGE);
    }
}
