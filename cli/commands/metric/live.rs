//! The view on a terminal: asks each server on its own, and draws what they answer until a key or a
//! signal ends it.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use kes_api::Timestamp;
use rustix::process::Signal;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::model::{Model, Server};
use super::panel::panel;
use super::screen::{Input, Screen};
use super::state::{State, Then};
use crate::commands::connect::Session;
use crate::commands::explain::Subject;
use crate::output::Output;

/// A reading takes milliseconds. After this time, or when the next one is due, the view says that
/// there is no answer yet.
const LATE: Duration = Duration::from_secs(2);

/// The size of the text for a terminal that cannot move its cursor, or tells no size.
const PLAIN_WIDTH: u16 = 79;
const PLAIN_HEIGHT: u16 = 40;

/// How many answers of servers may wait until the view takes them.
const MAX_WAITING: usize = 8;

/// How the servers are read.
#[derive(Clone, Copy)]
struct Pace {
    rate: Duration,
    paused: bool,
}

/// What is heard of a server, and when.
struct News {
    server: usize,
    at: Instant,
    what: What,
}

enum What {
    Metrics(String),
    /// It does not answer yet.
    Late,
    Failure {
        error: Error,
        /// Whether it answered.
        is_there: bool,
    },
}

/// All servers, and when each was read last.
struct Watched {
    model: Model,
    read: Vec<Option<Instant>>,
}

/// Shows the servers until it is told to end.
///
/// # Errors
/// If no server answers the first time, or the terminal cannot be used.
pub(super) async fn run(sessions: Vec<Session>, rate: Duration, output: &mut Output) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("failed to wait for signals")?;
    // One future for the whole view, so that a signal that arrives at any time counts. When it is
    // dropped, the terminal is as before.
    tokio::select! {
        result = show(sessions, rate, output) => result,
        signal = ctrl_c() => Ok(signal?),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

async fn show(sessions: Vec<Session>, rate: Duration, output: &mut Output) -> Result<()> {
    let mut watched = Watched::new(&sessions);
    let mut state = State::new(rate, output.has_color());
    let (pace, paces) = watch::channel(Pace { rate, paused: false });
    let (sender, mut news) = mpsc::channel(MAX_WAITING);
    // They end with this.
    let mut followers = JoinSet::new();
    for (server, session) in sessions.into_iter().enumerate() {
        followers.spawn(follow(server, session, paces.clone(), sender.clone()));
    }
    drop(sender);

    let first = watched.first(&mut news).await?;
    if !output.is_screen() || !Screen::is_there() {
        return print(&mut watched, first, &mut news, &state, output).await;
    }
    let goes_on = SignalKind::from_raw(Signal::CONT.as_raw());
    let mut continued = signal(goes_on).context("failed to wait for signals")?;
    let mut screen = Screen::open()?;
    let mut inputs = screen.input();
    // Without a terminal to read from the view goes on.
    let mut is_read = true;
    screen.draw(&watched.model, &mut state)?;
    loop {
        tokio::select! {
            Some(told) = news.recv() => {
                watched.take(told);
            }
            input = inputs.recv(), if is_read => match input {
                Some(Input::Key(key)) => match state.press(key, watched.model.servers.len()) {
                    Then::Draw => {}
                    Then::Settings => {
                        let set = Pace { rate: state.rate, paused: state.paused };
                        pace.send_replace(set);
                    }
                    Then::Quit => return Ok(()),
                    Then::Stop => screen.stop()?,
                },
                Some(Input::Resized) => {}
                None => is_read = false,
            },
            Some(()) = continued.recv() => screen.go_on()?,
            // None of them ends by itself.
            Some(Err(error)) = followers.join_next() => return Err(error).context("a reader failed"),
        }
        screen.draw(&watched.model, &mut state)?;
    }
}

/// Prints each server when something is heard of it, one text after the other.
async fn print(
    watched: &mut Watched,
    first: usize,
    news: &mut mpsc::Receiver<News>,
    state: &State,
    output: &mut Output,
) -> Result<()> {
    let text = |server: &Server| panel(server, state, PLAIN_WIDTH, PLAIN_HEIGHT).text() + "\n";
    output.print(&text(&watched.model.servers[first]))?;
    while let Some(told) = news.recv().await {
        let server = watched.take(told);
        output.print(&text(&watched.model.servers[server]))?;
    }
    Ok(())
}

/// Reads the metrics of a server all the time.
async fn follow(
    server: usize,
    session: Session,
    mut paces: watch::Receiver<Pace>,
    news: mpsc::Sender<News>,
) {
    loop {
        let begun = Instant::now();
        let late = paces.borrow().rate.max(LATE);
        let mut reading = pin!(session.metrics());
        let mut is_late = false;
        // It may take 30 s to fail.
        let what = loop {
            tokio::select! {
                reading = &mut reading => break match reading {
                    Ok(text) => What::Metrics(text),
                    Err(error) => What::Failure {
                        is_there: matches!(error, kes_client::Error::Status { .. }),
                        error: session.explain(error, Subject::Server),
                    },
                },
                () = sleep(late), if !is_late => {
                    is_late = true;
                    let late = News { server, at: Instant::now(), what: What::Late };
                    if news.send(late).await.is_err() {
                        return;
                    }
                }
            }
        };
        if news.send(News { server, at: Instant::now(), what }).await.is_err() {
            return;
        }
        loop {
            let Pace { rate, paused } = *paces.borrow_and_update();
            tokio::select! {
                () = sleep_until(begun + rate), if !paused => break,
                changed = paces.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

impl Watched {
    fn new(sessions: &[Session]) -> Self {
        let names = sessions.iter().map(|session| {
            let endpoints: Vec<String> =
                session.endpoints().iter().map(ToString::to_string).collect();
            endpoints.join(", ")
        });
        Self { model: Model::new(names), read: vec![None; sessions.len()] }
    }

    /// Waits until one server has answered, and returns it.
    ///
    /// # Errors
    /// That of the server that failed first, if all of them fail.
    async fn first(&mut self, news: &mut mpsc::Receiver<News>) -> Result<usize> {
        let mut failed = vec![false; self.read.len()];
        let mut why = None;
        loop {
            let told = news.recv().await.context("no server is read")?;
            match told {
                News { what: What::Metrics(_), .. } => return Ok(self.take(told)),
                News { server, what: What::Failure { error, is_there }, .. } => {
                    failed[server] = true;
                    let reason = format!("{error:#}");
                    self.model.servers[server].fails(&reason, is_there, Timestamp::now());
                    let why = why.get_or_insert(error);
                    if failed.iter().all(|failed| *failed) {
                        let why = std::mem::replace(why, Error::msg(""));
                        return Err(why.context("failed to get the metrics"));
                    }
                }
                News { what: What::Late, .. } => {
                    self.take(told);
                }
            }
        }
    }

    /// Takes what is heard of a server, and returns which one it is.
    fn take(&mut self, News { server, at, what }: News) -> usize {
        let (now, of) = (Timestamp::now(), &mut self.model.servers[server]);
        match what {
            What::Metrics(text) => {
                let before = self.read[server].replace(at);
                let since = before.map(|before| at.saturating_duration_since(before));
                of.read(&text, since.unwrap_or_default(), now);
            }
            What::Late => of.waits(now),
            What::Failure { error, is_there } => of.fails(&format!("{error:#}"), is_there, now),
        }
        server
    }
}
