//! The event stream: all figures when it begins, and then those that are new, once a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hyper::body::Frame;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::html::{shown, word};
use super::view::{Cell, View};

/// How many streams there may be at one time: a page on the wall and those of a few operators. The next
/// one is refused, and its page tries again. Nobody's stream ends for another one: pages that are left
/// open would take their places from each other in turn.
pub(crate) const MAX_STREAMS: usize = 8;

/// How long a stream lasts. The browser opens the next one by itself, so that a place is not held for ever
/// by a page whose machine is gone.
const LIFETIME: Duration = Duration::from_secs(600);

/// A stream whose connection takes nothing for so long ends. There is something to take once a second.
const STALLED: Duration = Duration::from_secs(15);

/// How long a browser is to wait before it opens the next stream, in milliseconds.
const RETRY: u32 = 1_000;

/// The body of a stream.
pub(crate) type Events = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

/// How the connection of a stream is read. One that has no stream has none of it.
#[derive(Default)]
pub(crate) struct Reading {
    has_begun: AtomicBool,
    /// Events that the connection has taken.
    taken: AtomicU64,
}

impl Reading {
    /// Whether the connection has a stream.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Waits until the connection takes nothing more.
    pub(crate) async fn stalls(&self) {
        loop {
            let before = self.taken.load(Ordering::Relaxed);
            sleep(STALLED).await;
            if self.taken.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// What a stream holds.
struct Open {
    first: Option<Bytes>,
    ticks: watch::Receiver<Bytes>,
    reading: Arc<Reading>,
    end: Instant,
    _place: OwnedSemaphorePermit,
}

/// A stream that begins with an event, and goes on with those of `ticks` until their sender is gone.
pub(super) fn stream(
    first: &str,
    ticks: watch::Receiver<Bytes>,
    reading: Arc<Reading>,
    place: OwnedSemaphorePermit,
) -> Events {
    reading.has_begun.store(true, Ordering::Relaxed);
    let first = Some(Bytes::from(format!("retry: {RETRY}\n{first}")));
    let end = Instant::now() + LIFETIME;
    let open = Open { first, ticks, reading, end, _place: place };
    stream::unfold(open, |mut open| async {
        let event = match open.first.take() {
            Some(first) => first,
            None => {
                let changed = timeout_at(open.end, open.ticks.changed()).await;
                let Ok(Ok(())) = changed else { return None };
                open.ticks.borrow_and_update().clone()
            }
        };
        open.reading.taken.fetch_add(1, Ordering::Relaxed);
        Some((Ok(Frame::data(event)), open))
    })
    .boxed()
}

/// An event with a view: all values of the charts if it is the first one, otherwise the newest.
pub(super) fn event(view: &View, number: u64, is_first: bool) -> String {
    let texts = view.texts.iter().map(|(name, (tone, text))| {
        let text = Value::from(clean(text));
        let value = match tone {
            Some(tone) => json!([text, word(*tone)]),
            None => json!([text]),
        };
        ((*name).to_owned(), value)
    });
    let charts = view.charts.iter().map(|chart| {
        let newest = |line: &Vec<f32>| {
            let skipped = if is_first { 0 } else { line.len().saturating_sub(1) };
            line.iter().skip(skipped).copied().collect::<Vec<f32>>()
        };
        let lines: Vec<_> = chart.lines.iter().map(newest).collect();
        let value = json!({ "label": clean(&chart.label), "top": chart.top, "lines": lines });
        (chart.id.clone(), value)
    });
    let tables = view.tables.iter().map(|(name, rows)| {
        let rows = rows.iter().map(|row| row.iter().map(cell).collect::<Value>());
        ((*name).to_owned(), rows.collect::<Value>())
    });
    let message = json!({
        "n": number,
        "t": texts.collect::<Map<_, _>>(),
        "c": charts.collect::<Map<_, _>>(),
        "r": tables.collect::<Map<_, _>>(),
    });
    let kind = if is_first { "all" } else { "tick" };
    // JSON has no line break in it.
    format!("event: {kind}\ndata: {message}\n\n")
}

fn cell(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => json!({ "t": clean(text) }),
        Cell::Code(text) => json!({ "t": clean(text), "m": true }),
        Cell::Toned(tone, text) => json!({ "t": clean(text), "k": word(*tone) }),
        Cell::Chart(id) => json!({ "c": id }),
        Cell::None(text) => json!({ "t": text, "n": true }),
    }
}

/// A text as the document shows it; the script makes nothing but text of it.
fn clean(text: &str) -> String {
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn open() -> (watch::Sender<Bytes>, Arc<Reading>, Arc<Semaphore>, Events) {
        let (sender, ticks) = watch::channel(Bytes::new());
        let (reading, places) = (Arc::new(Reading::default()), Arc::new(Semaphore::new(1)));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let events = stream("first\n\n", ticks, Arc::clone(&reading), place);
        (sender, reading, places, events)
    }

    async fn next(events: &mut Events) -> Option<String> {
        let frame = events.next().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_gets_the_newest_and_ends_in_time_or_with_the_page() {
        let (sender, reading, places, mut events) = open();
        assert_eq!(next(&mut events).await.as_deref(), Some("retry: 1000\nfirst\n\n"));
        assert!(reading.has_begun() && places.available_permits() == 0);
        sender.send_replace(Bytes::from_static(b"1"));
        sender.send_replace(Bytes::from_static(b"2"));
        assert_eq!(next(&mut events).await.as_deref(), Some("2"), "who is late misses some");
        let begin = Instant::now();
        assert_eq!(next(&mut events).await, None);
        assert_eq!(begin.elapsed(), LIFETIME);
        drop(events);
        assert_eq!(places.available_permits(), 1, "its place is free");

        let (sender, .., mut events) = open();
        next(&mut events).await;
        drop(sender);
        assert_eq!(next(&mut events).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_nothing_is_found_out() {
        let (_sender, reading, _, mut events) = open();
        let begin = Instant::now();
        // Goes on for longer than it may take: what ends in the same moment would win now and then.
        let reads = async {
            next(&mut events).await;
            sleep(STALLED * 3).await;
        };
        tokio::select! {
            () = reading.stalls() => {}
            () = reads => panic!("it was not found out"),
        }
        assert!(begin.elapsed() <= STALLED * 2);
    }

    #[test]
    fn an_event_is_one_line_of_json_whatever_names_hold() {
        let mut view = super::super::view::example();
        let evil = "\r\n\ndata: x\u{2028}</script>\u{202e}";
        view.tables.insert("refusals", vec![vec![Cell::Code(evil.to_owned())]]);
        view.texts.insert("state", (None, evil.to_owned()));
        let text = event(&view, 7, true);
        let data = text.strip_prefix("event: all\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r', '\u{2028}', '\u{202e}']), "{data}");
        let value: Value = serde_json::from_str(data).unwrap();
        assert_eq!(value["n"], 7);
        assert_eq!(value["r"]["refusals"][0][0]["t"], clean(evil));
        let points = |text: &str| {
            let data = text.split_once("data: ").unwrap().1.trim_end();
            let value: Value = serde_json::from_str(data).unwrap();
            value["c"]["requests"]["lines"][0].as_array().unwrap().len()
        };
        assert_eq!((points(&text), points(&event(&view, 8, false))), (3, 1));
    }
}
