use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;

/// What a text is compared by in place of the text itself. Its key is random and stays in the
/// process, so that nothing is learned from a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest(u64);

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Digest {
    pub(crate) fn of(value: impl Hash) -> Self {
        Self(KEY.hash_one(value))
    }
}
