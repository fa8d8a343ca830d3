use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant, SystemTime};

use kes_api::{Identity, Operation};
use kes_audit::record::{Contexts, Gap, Kind, Request, Role};
use parking_lot::{Condvar, Mutex};

use super::{Recorded, Target};
use crate::observe::logging::receipt::Signature;
use crate::observe::metrics::Queued;

/// How much may wait to be written, in bytes: some 20,000 records of usual requests.
const MAX: usize = 8 * 1024 * 1024;

/// How much of changes of keys may wait beside that. Only who may change keys can cause them.
const MAX_WITH_CHANGES: usize = MAX + 4 * 1024 * 1024;

/// How long records come together until they are written.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// With so many bytes of them they are written at once.
const BATCH: usize = 256 * 1024;

/// The most bytes of a text that is kept; fewer are written.
const MAX_TEXT: usize = 2048;

/// What waits to be written.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// Whether something in it is waited for.
    is_urgent: bool,
    /// How many controls are in it.
    controls: usize,
}

/// Records in their order, and their texts.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    texts: Vec<u8>,
}

/// What the writer has to do.
pub(super) enum Item {
    Write(Waiting),
    /// Records that did not fit.
    Gap(Gap),
    Control(Control),
}

/// What is not about a record.
pub(super) enum Control {
    /// Go on with other settings, or none.
    Configure(Box<Option<Target>>),
    /// Close the file, and say so.
    Close(SyncSender<()>),
}

/// A record that waits.
pub(super) struct Waiting {
    kind: Kind,
    time: SystemTime,
    number: Option<u64>,
    operation: Option<Operation>,
    has_target: bool,
    identity: Option<Identity>,
    is_admin: bool,
    address: Option<IpAddr>,
    answer: Option<(u16, Duration)>,
    /// Where its texts begin.
    start: usize,
    texts: [Length; 7],
    pub(super) is_change: bool,
    pub(super) signature: Option<Signature>,
}

/// The length of a text; nothing for none.
type Length = Option<u32>;

impl Queue {
    /// Leaves a record. One that does not fit is counted where it is missing.
    pub(super) fn record(&self, recorded: &Recorded<'_>, signature: Option<Signature>) {
        let audited = recorded.audited;
        let is_change = audited.may_have_changed() || recorded.kind != Kind::Request;
        let is_urgent = signature.is_some();
        let limit = if is_change { MAX_WITH_CHANGES } else { MAX };
        let contexts = recorded.contexts.map(Contexts::packed);
        let needed = contexts.map_or(0, <[u8]>::len) + MAX_TEXT;
        let time = SystemTime::now();
        let mut state = self.state.lock();
        if state.batch.bytes() + needed > limit {
            state.batch.add_gap(is_change);
            return;
        }
        let was_empty = state.batch.items.is_empty();
        let before = state.batch.bytes();
        state.batch.add(recorded, time, is_change, signature);
        let is_full = before < BATCH && state.batch.bytes() >= BATCH;
        state.is_urgent |= is_urgent;
        drop(state);
        if was_empty || is_urgent || is_full {
            self.wake.notify_one();
        }
    }

    /// Leaves a control, which always fits.
    pub(super) fn control(&self, control: Control) {
        let mut state = self.state.lock();
        state.batch.items.push(Item::Control(control));
        state.is_urgent = true;
        state.controls += 1;
        drop(state);
        self.wake.notify_one();
    }

    /// Takes what has come together into `batch`, which is empty before; nothing if nothing has come
    /// until then.
    pub(super) fn take(&self, batch: &mut Batch, until: Instant) {
        let mut state = self.state.lock();
        while state.batch.items.is_empty() {
            if self.wake.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
        let soon = Instant::now() + BATCH_TIME;
        while !state.is_urgent && state.batch.bytes() < BATCH {
            if self.wake.wait_until(&mut state, soon).timed_out() {
                break;
            }
        }
        std::mem::swap(&mut state.batch, batch);
        (state.is_urgent, state.controls) = (false, 0);
    }

    /// How much waits.
    pub(super) fn queued(&self) -> Queued {
        let state = self.state.lock();
        let controls = state.controls;
        let records = state.batch.items.len().saturating_sub(controls);
        Queued { records, bytes: state.batch.bytes() }
    }

    /// Takes the next control out of the queue, before the records that wait there.
    pub(super) fn take_control(&self, until: Instant) -> Option<Control> {
        let mut state = self.state.lock();
        while state.controls == 0 {
            if self.wake.wait_until(&mut state, until).timed_out() {
                return None;
            }
        }
        state.controls -= 1;
        take_control(&mut state.batch.items)
    }
}

/// Takes out the first control, before the records that wait.
pub(super) fn take_control(items: &mut Vec<Item>) -> Option<Control> {
    let at = items.iter().position(|item| matches!(item, Item::Control(_)))?;
    match items.remove(at) {
        Item::Control(control) => Some(control),
        Item::Write(_) | Item::Gap(_) => None,
    }
}

impl Batch {
    fn bytes(&self) -> usize {
        self.texts.len() + self.items.len() * size_of::<Item>()
    }

    fn add_gap(&mut self, is_change: bool) {
        if !matches!(self.items.last(), Some(Item::Gap(_))) {
            self.items.push(Item::Gap(Gap::default()));
        }
        if let Some(Item::Gap(gap)) = self.items.last_mut() {
            gap.records += 1;
            gap.changes += u64::from(is_change);
        }
    }

    fn add(
        &mut self,
        recorded: &Recorded<'_>,
        time: SystemTime,
        is_change: bool,
        signature: Option<Signature>,
    ) {
        let Recorded { audited, kind, number, role, is_routed, contexts } = *recorded;
        let start = self.texts.len();
        let has_target = !is_routed || audited.status == 405;
        let policy = if let Role::Policy(name) = role { Some(name) } else { None };
        let resource = (!audited.resource.is_empty()).then_some(audited.resource);
        let texts = [
            self.text(has_target.then_some(audited.method)),
            self.text(has_target.then_some(audited.path)),
            self.text(resource),
            self.text(policy),
            self.text(audited.refusal),
            self.text(audited.reason.as_deref()),
            self.bytes_of(contexts.map(Contexts::packed)),
        ];
        let is_answered = kind != Kind::Announced;
        self.items.push(Item::Write(Waiting {
            kind,
            time,
            number,
            operation: is_routed.then_some(audited.operation),
            has_target,
            identity: audited.identity,
            is_admin: role == Role::Admin,
            address: audited.ip,
            answer: is_answered.then_some((audited.status, audited.took)),
            start,
            texts,
            is_change,
            signature,
        }));
    }

    fn text(&mut self, text: Option<&str>) -> Length {
        let text = text?;
        let most = text.floor_char_boundary(MAX_TEXT);
        self.bytes_of(text.get(..most).map(str::as_bytes))
    }

    fn bytes_of(&mut self, bytes: Option<&[u8]>) -> Length {
        let bytes = bytes?;
        self.texts.extend_from_slice(bytes);
        u32::try_from(bytes.len()).ok()
    }

    /// A record with its texts.
    pub(super) fn request<'a>(texts: &'a Texts, waiting: &Waiting) -> Request<'a> {
        let mut at = waiting.start;
        let mut next = |length: &Length| {
            let length = usize::try_from((*length)?).ok()?;
            let bytes = texts.0.get(at..at + length)?;
            at += length;
            Some(bytes)
        };
        let [method, path, resource, policy, message, reason, contexts] =
            waiting.texts.each_ref().map(&mut next);
        let text =
            |bytes: Option<&'a [u8]>| bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let is_of_key = waiting.operation.is_some_and(is_of_key);
        let (key, name) = if is_of_key { (text(resource), None) } else { (None, text(resource)) };
        Request {
            kind: waiting.kind,
            time: waiting.time,
            number: waiting.number,
            operation: waiting.operation.map(Operation::name),
            target: waiting.has_target.then(|| text(method).zip(text(path))).flatten(),
            identity: waiting.identity,
            role: match text(policy) {
                _ if waiting.is_admin => Role::Admin,
                Some(policy) => Role::Policy(policy),
                None => Role::Stranger,
            },
            address: waiting.address,
            key,
            name,
            answer: waiting.answer,
            message: text(message),
            reason: text(reason),
            contexts: contexts.unwrap_or_default(),
        }
    }

    /// Takes the items, and the texts that they refer to. The memory goes back by [`Self::reuse`].
    pub(super) fn split(&mut self) -> (Vec<Item>, Texts) {
        (std::mem::take(&mut self.items), Texts(std::mem::take(&mut self.texts)))
    }

    /// Keeps the memory of a batch for the next one, unless it was unusually large.
    pub(super) fn reuse(&mut self, mut items: Vec<Item>, Texts(mut texts): Texts) {
        items.clear();
        texts.clear();
        items.shrink_to(4096);
        texts.shrink_to(4 * BATCH);
        *self = Self { items, texts };
    }
}

/// The texts of a batch.
pub(super) struct Texts(Vec<u8>);

/// Whether the name in the path of an operation is that of a key.
fn is_of_key(operation: Operation) -> bool {
    use Operation as Op;
    matches!(
        operation,
        Op::CreateKey
            | Op::ImportKey
            | Op::DescribeKey
            | Op::DeleteKey
            | Op::GenerateKey
            | Op::EncryptKey
            | Op::DecryptKey
            | Op::BulkDecrypt
            | Op::Hmac
    )
}
