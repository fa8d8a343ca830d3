use kes_server::fuzzing::handed_over;

/// Keys of a server that hands over: what is read is written in one form, which is read as the same.
pub(crate) fn handover(data: &[u8]) {
    let Some(written) = handed_over(data) else { return };
    assert_eq!(handed_over(&written).as_deref(), Some(&*written));
}
