use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use kes_api::KeyName;
use kes_keys::Order;
use kes_keystore::wrap::{self, ChangeKind, Forget, Predecessor, Question, Succession, Underway};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::super::state::Running;
use super::message::{Change, FromNew, FromOld};
use super::pair::{Frame, receive, send};

/// Both directions of the pair.
pub(super) type Halves = (OwnedReadHalf, OwnedWriteHalf);

/// How many frames wait here: more than all changes have at one time, so that neither process waits
/// for the other to read while that one waits for it.
const FRAMES: usize = 64 * 1024;

/// Receives frames one after the other; a frame is never lost half read.
fn frames(mut from: OwnedReadHalf) -> mpsc::Receiver<Frame> {
    let (to, frames) = mpsc::channel(FRAMES);
    tokio::spawn(async move {
        while let Ok(frame) = receive(&mut from).await {
            if to.send(frame).await.is_err() {
                return;
            }
        }
    });
    frames
}

/// Asks the process that has taken over for the turn of each change that begins here, until
/// `is_over` and all that was to be told has been told.
pub(super) async fn ask(
    order: Order,
    mut succession: Succession,
    (from, mut to): Halves,
    mut is_over: oneshot::Receiver<()>,
) {
    let mut frames = frames(from);
    let mut answers = HashMap::new();
    loop {
        tokio::select! {
            biased;
            question = succession.next() => match question {
                None => return,
                Some(Question::Turn { change, answer }) => {
                    answers.insert(change.number, answer);
                    if send(&mut to, &FromOld::Turn(Change::of(&change))).await.is_err() {
                        return;
                    }
                }
                Some(Question::Settled(number)) => {
                    answers.remove(&number);
                    if send(&mut to, &FromOld::Settled(number)).await.is_err() {
                        return;
                    }
                }
            },
            frame = frames.recv() => {
                // If the other process is gone, changes are made here again.
                let Some(Ok(message)) = frame.map(|frame| frame.parse()) else { return };
                match message {
                    FromNew::Granted(number) => {
                        answers.remove(&number).map(|answer| answer.send(Ok(())));
                    }
                    FromNew::Denied(number, reason) => {
                        answers.remove(&number).map(|answer| answer.send(Err(reason)));
                    }
                    FromNew::Forget(number, name) => {
                        if let Ok(name) = KeyName::parse(&name) {
                            order.forget(&name);
                        }
                        if send(&mut to, &FromOld::Forgotten(number)).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                }
            }
            _ = &mut is_over => return,
        }
    }
}

/// The changes of the process that has handed over.
pub(super) struct Inherited {
    order: Order,
    predecessor: Predecessor,
    forgotten: mpsc::Receiver<Forget>,
}

impl Inherited {
    pub(super) fn new(order: Order) -> Self {
        let forgotten = order.forgotten();
        Self { order, predecessor: Predecessor::default(), forgotten }
    }

    /// Some that have begun there.
    pub(super) fn began(&mut self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            let is_noted =
                change.parse().is_some_and(|change| self.predecessor.began(&self.order, &change));
            if !is_noted {
                return Err(io::Error::other("its changes of keys are not understood"));
            }
        }
        Ok(())
    }

    /// How many have begun there and are not settled.
    pub(super) fn len(&self) -> usize {
        self.predecessor.len()
    }

    /// Gives turns to changes of the process that has handed over, until it has ended, and no change
    /// of it can be carried out any more.
    pub(super) async fn follow(mut self, (from, mut to): Halves, running: Arc<Running>) {
        let mut frames = frames(from);
        let (mut last, mut forgetting) = (0, HashMap::new());
        let mut waiting: HashMap<u64, AbortHandle> = HashMap::new();
        let mut turns = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(Forget { name, done }) = self.forgotten.recv() => {
                    last += 1;
                    forgetting.insert(last, done);
                    let forget = FromNew::Forget(last, name.as_str().to_owned());
                    let _ = send(&mut to, &forget).await;
                }
                frame = frames.recv() => match frame.map(|frame| frame.parse()) {
                    Some(Ok(FromOld::Turn(change))) => {
                        if let Some(change) = change.parse() {
                            let turn = turn(self.order.clone(), change, Arc::clone(&running));
                            waiting.insert(change.number, turns.spawn(turn));
                        }
                    }
                    Some(Ok(FromOld::Settled(number))) => {
                        if let Some(turn) = waiting.remove(&number) {
                            turn.abort();
                        }
                        self.predecessor.settled(number);
                    }
                    Some(Ok(FromOld::Forgotten(number))) => {
                        forgetting.remove(&number).map(|done| done.send(()));
                    }
                    _ => break,
                },
                Some(ended) = turns.join_next(), if !turns.is_empty() => {
                    let Ok((number, turn)) = ended else { continue };
                    // It was given up meanwhile.
                    if waiting.remove(&number).is_none() {
                        continue;
                    }
                    let answer = match turn {
                        Ok(turn) => {
                            self.predecessor.begins(number, turn);
                            FromNew::Granted(number)
                        }
                        Err(error) => FromNew::Denied(number, reason(error)),
                    };
                    let _ = send(&mut to, &answer).await;
                }
            }
        }
        // The other process has ended, and serves nothing.
        drop((self.forgotten, forgetting));
        if !self.predecessor.is_empty() {
            tracing::warn!(
                "the process that has handed over left {} changes of keys that the key store may \
                 still carry out; these keys are not changed for up to 90 s",
                self.predecessor.len()
            );
        }
        self.predecessor.outlast().await;
    }
}

type Ended = (u64, Result<wrap::Turn, kes_keystore::Error>);

async fn turn(order: Order, change: Underway, running: Arc<Running>) -> Ended {
    let what = match change.kind {
        ChangeKind::Delete => wrap::Change::Delete,
        ChangeKind::Create | ChangeKind::OverwritingCreate => wrap::Change::Create,
    };
    // As for a change of a request to this process.
    order.forget(&change.name);
    let turn = match order.turn(&change.name, what).await {
        Ok(turn) if what == wrap::Change::Delete => {
            let keys = Arc::clone(&running.service.generation.load().keys);
            keys.purge_snapshot(&change.name).await.map(|()| turn)
        }
        turn => turn,
    };
    (change.number, turn)
}

/// An error of an order without what the other process puts before it.
fn reason(error: kes_keystore::Error) -> String {
    match error {
        kes_keystore::Error::Unavailable { reason } => reason,
        other => other.to_string(),
    }
}
