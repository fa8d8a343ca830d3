//! The header by which a client says that its request is part of a trace (W3C Trace Context, 3.2), and
//! this server says the same to the key store.
//! Nothing of it is used but numbers.

use http::HeaderMap;

/// The header.
const TRACEPARENT: &str = "traceparent";

/// What a request is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    /// The ID of the trace; never zero.
    pub(crate) trace: u128,
    /// The ID of the client's span; never zero.
    pub(crate) span: u64,
    /// Whether the client records the trace.
    pub(crate) is_sampled: bool,
}

impl Parent {
    /// What the headers of a request say. `None` without a valid header, and with more than one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    /// The value of the header, which [`Self::parse`] reads.
    pub(crate) fn text(&self) -> String {
        let Self { trace, span, is_sampled } = self;
        format!("00-{trace:032x}-{span:016x}-{:02x}", u8::from(*is_sampled))
    }

    /// Reads the value of the header, such as `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
    pub(crate) fn parse(header: &[u8]) -> Option<Self> {
        let header = std::str::from_utf8(header).ok()?;
        let mut parts = header.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str, digits| {
            text.len() == digits
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        // A later version may have more parts.
        let is_known =
            is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !is_known || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let trace = u128::from_str_radix(trace, 16).ok()?;
        let span = u64::from_str_radix(span, 16).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, is_sampled })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_parent_is_its_numbers() {
        let parse = |text: &str| Parent::parse(text.as_bytes());
        let parent = Parent {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            is_sampled: true,
        };
        assert_eq!(parse(&format!("00-{TRACE}-b7ad6b7169203331-01")), Some(parent));
        assert_eq!(parse(&format!("00-{TRACE}-b7ad6b7169203331-03")), Some(parent));
        assert_eq!(parse(&format!("cc-{TRACE}-b7ad6b7169203331-01-what-follows")), Some(parent));
        let unsampled = Parent { is_sampled: false, ..parent };
        assert_eq!(parse(&format!("00-{TRACE}-b7ad6b7169203331-00")), Some(unsampled));
        assert_eq!(parse(&format!("00-{TRACE}-b7ad6b7169203331-fe")), Some(unsampled));
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "00",
            &format!("00-{TRACE}-b7ad6b7169203331"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-x"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-"),
            &format!("00-{TRACE}-b7ad6b7169203331-1"),
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}\"-b7ad6b7169203331-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn of_two_headers_none_counts() {
        let value = || format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(Parent::of(&headers), None);
        headers.append(TRACEPARENT, value());
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, value());
        assert_eq!(Parent::of(&headers), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., flags: u8) {
            let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let is_sampled = flags % 2 == 1;
            let parent = Parent { trace, span, is_sampled };
            prop_assert_eq!(Parent::parse(text.as_bytes()), Some(parent));
            prop_assert_eq!(Parent::parse(parent.text().as_bytes()), Some(parent));
        }
    }
}
