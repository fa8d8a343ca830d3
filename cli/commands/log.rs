//! `kes log`: follows one server, or several at the same time.
//!
//! One server is followed until it ends the log. Of several, one whose log ends or breaks off is
//! asked again and again as long as another one is followed: servers that are restarted one after
//! the other stay in view.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Error, Result};
use kes_api::Timestamp;
use kes_client::LogStream;
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connect::{Session, clients};
use super::explain::Subject;
use crate::args::LogArgs;
use crate::error::usage;
use crate::output::{LABEL, Output, clean, note, warning};

use filter::Filter;
use line::Render;

mod filter;
mod line;

/// How long a server is left alone before it is asked again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many lines may wait until they are printed. If more come, the servers wait, or leave lines
/// out.
const MAX_WAITING: usize = 64;

/// What is heard of a server.
enum Heard {
    /// It is followed from now on.
    Followed,
    Line(String),
    /// It is not followed any more, or not at all.
    Gone(Gone),
}

/// Why a server is not followed.
enum Gone {
    Ended,
    BrokeOff(Error),
    Unanswered(Error),
}

/// The servers that are followed.
struct Followed {
    names: Vec<String>,
    /// Why each of them is not followed; `None` for one that is, or that has not answered yet.
    gone: Vec<Option<Gone>>,
}

/// Follows the logs until the servers end them, the reader closes the pipe, or Ctrl-C. All three are
/// success.
pub(super) async fn run(args: LogArgs) -> Result<()> {
    const COMMAND: &str = "kes log";
    if args.audit && args.error {
        return Err(usage("--audit and --error are both specified", COMMAND));
    }
    let filter = Filter::of(&args);
    if let Some(flag) = filter.flag().filter(|_| args.error) {
        let text =
            format!("{flag} is for the audit log: lines of the error log tell a message only");
        return Err(usage(text, COMMAND));
    }
    let sessions = clients(&args.connect)?;
    if args.since.is_some_and(|since| since < Timestamp::now()) {
        note("the log begins now; 'kes audit grep --since' finds earlier requests in audit files");
    }
    // One future for the whole loop, so that a signal that arrives while a line is printed counts.
    let mut interrupted = pin!(ctrl_c());
    tokio::select! {
        result = follow_all(&args, &filter, sessions) => result,
        signal = &mut interrupted => Ok(signal?),
    }
}

async fn follow_all(args: &LogArgs, filter: &Filter, sessions: Vec<Session>) -> Result<()> {
    let mut followed = Followed::new(&sessions);
    let is_alone = sessions.len() == 1;
    let render: Render = if args.error { line::error } else { line::audit };
    let (sender, mut heard) = mpsc::channel(MAX_WAITING);
    // They end with this.
    let mut followers = JoinSet::new();
    for (server, session) in sessions.into_iter().enumerate() {
        followers.spawn(follow(server, session, args.error, sender.clone()));
    }
    drop(sender);

    let mut output = Output::new();
    while let Some((server, what)) = heard.recv().await {
        match what {
            Heard::Followed => followed.is_back(server),
            Heard::Gone(why) => {
                if let Some(last) = followed.is_gone(server, why) {
                    return last.result(args.error);
                }
            }
            Heard::Line(line) if !filter.passes(&line) => {}
            Heard::Line(line) if args.json => output.json_line(&line)?,
            Heard::Line(line) => {
                // A line of an unknown form is printed as it is.
                let text = render(&line, output.is_terminal())
                    .unwrap_or_else(|| clean(&line).into_owned());
                if is_alone {
                    output.print(&text)?;
                } else {
                    output
                        .print(&format!("{LABEL}{}{LABEL:#}  {text}", followed.padded(server)))?;
                }
            }
        }
    }
    Ok(())
}

/// Follows a server, and again when that has ended.
async fn follow(
    server: usize,
    session: Session,
    is_error_log: bool,
    heard: mpsc::Sender<(usize, Heard)>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let opened = match is_error_log {
            true => session.error_log().await,
            false => session.audit_log().await,
        };
        let gone = match opened {
            Ok(lines) => {
                pause = FIRST_PAUSE;
                pass_on(server, lines, &heard).await
            }
            Err(error) => Gone::Unanswered(session.explain(error, Subject::Server)),
        };
        if heard.send((server, Heard::Gone(gone))).await.is_err() {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes on all lines of a log.
async fn pass_on(
    server: usize,
    mut lines: LogStream,
    heard: &mpsc::Sender<(usize, Heard)>,
) -> Gone {
    let mut next = Heard::Followed;
    loop {
        if heard.send((server, next)).await.is_err() {
            return Gone::Ended;
        }
        next = match lines.next_line().await {
            Ok(Some(line)) => Heard::Line(line),
            Ok(None) => return Gone::Ended,
            Err(error) => return Gone::BrokeOff(error.into()),
        };
    }
}

impl Followed {
    fn new(sessions: &[Session]) -> Self {
        let name = |session: &Session| {
            let names: Vec<String> = session.endpoints().iter().map(ToString::to_string).collect();
            clean(&names.join(", ")).into_owned()
        };
        let gone = sessions.iter().map(|_| None).collect();
        Self { names: sessions.iter().map(name).collect(), gone }
    }

    /// The name of a server, as long as the longest one.
    fn padded(&self, server: usize) -> String {
        let longest = self.names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
        format!("{:longest$}", self.names[server])
    }

    fn is_back(&mut self, server: usize) {
        if self.gone[server].take().is_some() {
            let name = &self.names[server];
            note(&format!("{name} is followed again; what it logged meanwhile is missing"));
        }
    }

    /// Tells that a server is not followed. If no other one is, returns why this one, the last, is
    /// not.
    fn is_gone(&mut self, server: usize, why: Gone) -> Option<Gone> {
        // It is told once, not at each try.
        let is_new = self.gone[server].is_none();
        let others = self.gone.iter().enumerate().filter(|(other, _)| *other != server);
        if others.map(|(_, gone)| gone).all(Option::is_some) {
            return Some(why);
        }
        if is_new {
            let name = &self.names[server];
            warning(&format!("{name} is not followed, and asked again: {why}"));
        }
        self.gone[server] = Some(why);
        None
    }
}

impl Gone {
    /// How the command ends after this.
    fn result(self, is_error_log: bool) -> Result<()> {
        match self {
            Self::Ended => Ok(()),
            Self::BrokeOff(error) => Err(error.context("the log stream broke off")),
            Self::Unanswered(error) if is_error_log => {
                Err(error.context("failed to follow the error log"))
            }
            Self::Unanswered(error) => Err(error.context("failed to follow the audit log")),
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("it has ended the log"),
            Self::BrokeOff(error) => write!(f, "the log stream broke off: {error:#}"),
            Self::Unanswered(error) => write!(f, "{error:#}"),
        }
    }
}
