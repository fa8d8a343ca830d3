use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use kes_api::{Identity, KeyName, ListPattern, Operation};

use crate::{StoreLimited, StoreTrace};

/// The permission to run one operation on one resource. It is neither `Clone` nor `Copy`, and
/// [`Policies::permit`](crate::Policies::permit) alone makes one.
///
/// Who acts on a resource checks that the permit is for that: [`Permit::check`]. Who calls the key
/// store for it passes the gate first: [`Permit::enter_store`].
#[must_use]
pub struct Permit<'a> {
    identity: Option<Identity>,
    operation: Operation,
    resource: &'a str,
    is_limited: bool,
    gate: Option<&'a dyn StoreGate>,
}

/// Stands between permitted requests and the key store: the budgets of calls of those who ask.
pub trait StoreGate: Send + Sync {
    /// Waits until the caller may make one more call.
    fn enter(&self) -> Entering<'_>;

    /// The trace of the request, if that is traced.
    fn trace(&self) -> Option<Arc<dyn StoreTrace>> {
        None
    }
}

/// The future of [`StoreGate::enter`].
type Entering<'a> = Pin<Box<dyn Future<Output = Result<StorePlace, StoreLimited>> + Send + 'a>>;

/// The place of a call to the key store in the budget of its caller. It is free again when this is
/// dropped: whoever makes the call keeps it until the call has ended.
#[must_use]
pub struct StorePlace(#[expect(dead_code, reason = "kept until it is dropped")] Box<dyn Send>);

/// The permission to create one key that the configuration lists, in the name of the admin. No
/// request can get one: [`Policies::with_startup_keys`](crate::Policies::with_startup_keys)
/// alone makes it, before the policies are in use.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct StartupPermit {
    name: KeyName,
    author: Option<Identity>,
}

/// A permit was used for something else than what it permits, which is a bug of the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a permit for {permitted:?} '{}' was used for {used:?} '{}'",
    permitted_resource.escape_debug(),
    used_resource.escape_debug()
)]
pub struct WrongPermit {
    /// What the permit is for.
    pub permitted: Operation,
    /// The name or pattern that it is for.
    pub permitted_resource: String,
    /// What it was used for.
    pub used: Operation,
    /// The name or pattern that it was used for.
    pub used_resource: String,
}

impl<'a> Permit<'a> {
    pub(crate) const fn new(
        identity: Option<Identity>,
        operation: Operation,
        resource: &'a str,
        is_limited: bool,
    ) -> Self {
        Self { identity, operation, resource, is_limited, gate: None }
    }

    /// The same permit, whose calls to the key store pass a gate.
    pub fn through(self, gate: &'a dyn StoreGate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Whether the request counts against the limits of its caller.
    pub const fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// Waits until a call to the key store may be made; without a gate that is at once. The place is
    /// to be kept until the call has ended.
    ///
    /// # Errors
    /// [`StoreLimited`] if the caller has to wait for longer than its request can.
    pub async fn enter_store(&self) -> Result<Option<StorePlace>, StoreLimited> {
        match self.gate {
            None => Ok(None),
            Some(gate) => gate.enter().await.map(Some),
        }
    }

    /// The trace of the request, if that is traced. Whoever makes a call to the key store for it, or
    /// waits for one, tells the trace.
    pub fn trace(&self) -> Option<Arc<dyn StoreTrace>> {
        self.gate?.trace()
    }

    /// Who asked; `None` for a caller without a certificate, which only an operation that needs no
    /// authentication has.
    pub const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Checks that this permits an operation on a key.
    ///
    /// # Errors
    /// [`WrongPermit`] if it is for another operation or another key.
    pub fn check(&self, operation: Operation, name: &KeyName) -> Result<(), WrongPermit> {
        self.expect(operation, self.resource == name.as_str(), || name.to_string())
    }

    /// Checks that this permits an operation on the names that match a pattern.
    ///
    /// # Errors
    /// [`WrongPermit`] if it is for another operation or another pattern.
    pub fn check_pattern(
        &self,
        operation: Operation,
        pattern: &ListPattern<'_>,
    ) -> Result<(), WrongPermit> {
        // A pattern has several spellings.
        let is_same = ListPattern::parse(self.resource).is_ok_and(|own| own == *pattern);
        self.expect(operation, is_same, || pattern.continue_at(pattern.from()))
    }

    fn expect(
        &self,
        operation: Operation,
        is_same_resource: bool,
        resource: impl FnOnce() -> String,
    ) -> Result<(), WrongPermit> {
        if self.operation == operation && is_same_resource {
            return Ok(());
        }
        Err(WrongPermit {
            permitted: self.operation,
            permitted_resource: self.resource.to_owned(),
            used: operation,
            used_resource: resource(),
        })
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("identity", &self.identity)
            .field("operation", &self.operation)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl StorePlace {
    /// A place that is free again when `held` is dropped.
    pub fn new(held: impl Send + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl StartupPermit {
    pub(crate) const fn new(name: KeyName, author: Option<Identity>) -> Self {
        Self { name, author }
    }

    /// The key to create.
    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    /// In whose name: the admin's; `None` if there is no admin.
    pub const fn author(&self) -> Option<Identity> {
        self.author
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::StoreLimit;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    /// A gate that lets callers through or refuses them, and knows how many are inside.
    struct Gate {
        is_open: bool,
        inside: Arc<()>,
    }

    impl StoreGate for Gate {
        fn enter(&self) -> Entering<'_> {
            let limited =
                StoreLimited { limit: StoreLimit::PerSecond, retry_after: Duration::from_secs(7) };
            let place = || StorePlace::new(Arc::clone(&self.inside));
            Box::pin(async move { self.is_open.then(place).ok_or(limited) })
        }
    }

    /// A gate of a request that is traced.
    struct Traced(Arc<dyn StoreTrace>);

    impl StoreGate for Traced {
        fn enter(&self) -> Entering<'_> {
            Box::pin(async { Ok(StorePlace::new(())) })
        }

        fn trace(&self) -> Option<Arc<dyn StoreTrace>> {
            Some(Arc::clone(&self.0))
        }
    }

    struct Trace;

    impl StoreTrace for Trace {
        fn call_begins(&self) -> u64 {
            7
        }

        fn traceparent(&self, span: u64) -> String {
            span.to_string()
        }

        fn call_ended(&self, _: &crate::StoreCall) {}
    }

    /// Enters the key store by a permit that need not wait.
    fn enter(permit: &Permit<'_>) -> Result<Option<StorePlace>, StoreLimited> {
        match pin!(permit.enter_store()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(entered) => entered,
            Poll::Pending => panic!("the gate lets it wait"),
        }
    }

    #[test]
    fn a_permit_is_for_one_operation_on_one_key() {
        let permit = Permit::new(None, Operation::DecryptKey, "k", false);
        assert_eq!(permit.check(Operation::DecryptKey, &name("k")), Ok(()));
        for operation in kes_api::route::ROUTES.map(|route| route.operation) {
            let is_its = operation == Operation::DecryptKey;
            assert_eq!(permit.check(operation, &name("k")).is_ok(), is_its, "{operation:?}");
            for other in ["kk", "K", "l"] {
                assert!(permit.check(operation, &name(other)).is_err(), "{operation:?} {other}");
            }
            let pattern = ListPattern::parse("k").unwrap();
            assert_eq!(permit.check_pattern(operation, &pattern).is_ok(), is_its);
        }
        let error = permit.check(Operation::DeleteKey, &name("l")).unwrap_err();
        let text = "a permit for DecryptKey 'k' was used for DeleteKey 'l'";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_permit_to_list_is_for_one_pattern_in_any_spelling() {
        let permit = Permit::new(None, Operation::ListKeys, "k*", false);
        let check = |text: &str| {
            permit.check_pattern(Operation::ListKeys, &ListPattern::parse(text).unwrap())
        };
        assert_eq!((check("k"), check("k*")), (Ok(()), Ok(())));
        for other in ["", "*", "k*k1", "kk"] {
            assert!(check(other).is_err(), "{other}");
        }
        assert!(permit.check(Operation::DeleteKey, &name("k")).is_err());
    }

    #[test]
    fn who_calls_the_key_store_passes_the_gate_of_the_permit() {
        let permit = || Permit::new(None, Operation::DecryptKey, "k", false);
        assert!(enter(&permit()).is_ok_and(|place| place.is_none()), "there is no gate");
        assert!(permit().trace().is_none());

        let open = Gate { is_open: true, inside: Arc::default() };
        let inside = || Arc::strong_count(&open.inside) - 1;
        let permit_through = permit().through(&open);
        let place = enter(&permit_through).unwrap().expect("a place in the budget of the caller");
        assert_eq!(inside(), 1);
        drop(place);
        assert_eq!(inside(), 0, "the place is free again");

        let closed = Gate { is_open: false, inside: Arc::default() };
        let refused = enter(&permit().through(&closed)).map(drop).unwrap_err();
        assert_eq!(refused.limit, StoreLimit::PerSecond);
        assert_eq!(refused.retry_after, Duration::from_secs(7));
    }

    #[test]
    fn a_permit_knows_the_trace_of_its_request() {
        let permit = || Permit::new(None, Operation::DecryptKey, "k", false);
        let gate = Traced(Arc::new(Trace));
        let trace = permit().through(&gate).trace().expect("the request is traced");
        assert!(Arc::ptr_eq(&trace, &gate.0));
        let untraced = Gate { is_open: true, inside: Arc::default() };
        assert!(permit().through(&untraced).trace().is_none());
    }

    #[test]
    fn a_permit_shows_what_it_is_for() {
        let identity = Identity::of_public_key(b"client");
        let permit = Permit::new(Some(identity), Operation::DecryptKey, "my-key", false);
        let shown = format!("{permit:?}");
        for part in [&*identity.to_string(), "DecryptKey", "my-key"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
