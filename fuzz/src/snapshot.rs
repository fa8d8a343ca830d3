use kes_server::fuzzing;

/// Snapshots of keys, once they are opened: what is read is written in one form, which is read as the
/// same.
pub(crate) fn snapshot(data: &[u8]) {
    let Some(written) = fuzzing::snapshot(data) else { return };
    assert_eq!(fuzzing::snapshot(&written).as_deref(), Some(&*written));
}
