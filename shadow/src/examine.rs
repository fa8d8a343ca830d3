//! What is done with the answers of both servers, after the client has its own.

use std::sync::Arc;
use std::time::Duration;

use kes_api::Operation;
use kes_client::{Error, Relayed};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Shadow;
use crate::changes::AFTER_CREATE;
use crate::compare::compare;
use crate::cross::decrypt_crosswise;
use crate::exchange::Exchange;
use crate::plan::Reason;
use crate::sides::{Side, Sides};
use crate::verdict::Verdict;

/// What cross-decryptions are called in the report.
const CROSS_DECRYPTION: &str = "CrossDecryption";

/// How long after a difference both servers are asked again: something may have changed between the
/// two answers, such as the state of a key store, and two servers do not see it at the same moment.
const AGAIN: Duration = Duration::from_secs(2);

impl Shadow {
    /// Compares the answer of a client with the one that is under way from the other server.
    pub(crate) async fn examine(
        self: Arc<Self>,
        exchange: Arc<Exchange>,
        answered: Option<Relayed>,
        other: JoinHandle<Result<Relayed, Error>>,
        _permit: OwnedSemaphorePermit,
    ) {
        // Its task does not panic.
        let Ok(other) = other.await else { return };
        let other = self.answer_of(self.answers.other(), other);
        let verdict = match (answered, other) {
            (Some(answered), Some(other)) => {
                let answers = Sides::of(self.answers, answered, other);
                let verdict = self.judge(&exchange, &answers).await;
                if verdict == Verdict::Equal {
                    self.cross(&exchange, &answers).await;
                }
                verdict
            }
            _ => Verdict::Not(Reason::NoAnswer),
        };
        self.report.verdict(exchange.name(), &exchange.resource, verdict);
    }

    /// The answer of a server, if there is one.
    pub(crate) fn answer_of(&self, side: Side, answer: Result<Relayed, Error>) -> Option<Relayed> {
        answer.inspect_err(|error| self.report.no_answer(side, error)).ok()
    }

    /// Compares answers. If they differ, both servers are asked again, and it counts what they say
    /// then.
    async fn judge(&self, exchange: &Exchange, answers: &Sides<Relayed>) -> Verdict {
        let Some(operation) = exchange.operation else { return Verdict::Not(Reason::NoRoute) };
        let verdict = compare(operation, &exchange.resource, answers);
        // What changes a key is not repeated.
        if !matches!(verdict, Verdict::Differs(_)) || operation.changes_key() {
            return verdict;
        }
        // A difference of all requests would send each of them twice.
        let Some(_turn) = self.room.own_request().await else { return Verdict::Not(Reason::Busy) };
        sleep(AGAIN).await;
        let Sides { old, new } = exchange.ask_both().await;
        let again = match (self.answer_of(Side::Old, old), self.answer_of(Side::New, new)) {
            (Some(old), Some(new)) => compare(operation, &exchange.resource, &Sides { old, new }),
            _ => Verdict::Not(Reason::NoAnswer),
        };
        match again {
            Verdict::Equal | Verdict::Known(_) => Verdict::Not(Reason::Passing),
            _ if self.changes.may_show(operation, &exchange.resource) => {
                Verdict::Not(Reason::ChangedLately)
            }
            again => again,
        }
    }

    /// Has each server decrypt what the other one has encrypted.
    async fn cross(&self, exchange: &Exchange, answers: &Sides<Relayed>) {
        use Operation as Op;
        let encrypts = matches!(exchange.operation, Some(Op::GenerateKey | Op::EncryptKey));
        if !encrypts || !answers.old.status.is_success() {
            return;
        }
        self.report.request(CROSS_DECRYPTION);
        let Some(_turn) = self.room.own_request().await else {
            return self.report.not_compared(CROSS_DECRYPTION, Reason::Busy);
        };
        let Some(mut verdict) = decrypt_crosswise(exchange, answers).await else {
            return self.report.not_compared(CROSS_DECRYPTION, Reason::NoAnswer);
        };
        if let Verdict::Differs(_) = verdict
            && self.changes.may_show(Op::DecryptKey, &exchange.resource)
        {
            verdict = Verdict::Not(Reason::ChangedLately);
        }
        self.report.verdict(CROSS_DECRYPTION, &exchange.resource, verdict);
    }

    /// Looks whether both servers describe a key in the same way that one of them has created, once
    /// the other one can know it.
    pub(crate) async fn describe_created(
        self: Arc<Self>,
        created: Arc<Exchange>,
        _permit: OwnedSemaphorePermit,
    ) {
        sleep(AFTER_CREATE + Duration::from_secs(1)).await;
        let exchange = created.another(Operation::DescribeKey, bytes::Bytes::new());
        let Sides { old, new } = exchange.ask_both().await;
        let verdict = match (self.answer_of(Side::Old, old), self.answer_of(Side::New, new)) {
            (Some(old), Some(new)) if old.status == 403 && new.status == 403 => {
                Verdict::Not(Reason::NotAllowed)
            }
            (Some(old), Some(new)) => self.judge(&exchange, &Sides { old, new }).await,
            _ => Verdict::Not(Reason::NoAnswer),
        };
        self.report.verdict(created.name(), &created.resource, verdict);
    }
}
