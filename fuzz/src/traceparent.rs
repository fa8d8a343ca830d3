use kes_server::fuzzing::traceparent as parse;

/// The value of `traceparent`: what is read is written as the begin of the value, but for its version and
/// the flags beside the first, and only a later version has more.
pub(crate) fn traceparent(data: &[u8]) {
    let Some((trace, span, is_sampled)) = parse(data) else { return };
    assert!(trace != 0 && span != 0);
    let text = std::str::from_utf8(data).expect("it is text");
    let (version, rest) = text.split_at(2);
    assert_ne!(version, "ff");
    let flags = rest.strip_prefix(&*format!("-{trace:032x}-{span:016x}-")).expect("the numbers");
    let (flags, more) = flags.split_at(2);
    let last = u8::from_str_radix(flags, 16).expect("hexadecimal digits");
    assert_eq!(last % 2 == 1, is_sampled);
    assert!(more.is_empty() || version != "00" && more.starts_with('-'));
}
