//! Consistent reads from a cluster.
//!
//! A standby of OpenBao answers reads from its own copy, which lags behind the active node by
//! some 100 ms: a key that was just created is "not found" there, even on the connection that
//! created it. A request can name the oldest state that it accepts (`X-Vault-Index`), and ask a
//! node with an older copy to forward it to the active node (`X-Vault-Inconsistent`). A request
//! that names a state of the far future is always forwarded, and the active node answers it from
//! its current state. Servers without such copies send no state, and are not sent these headers.

use arc_swap::ArcSwapOption;
use base64ct::{Base64, Encoding};
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// The header with a state of a cluster.
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");

/// The header that says what a node without that state is to do.
const INCONSISTENT: HeaderName = HeaderName::from_static("x-vault-inconsistent");

/// A state that is never reached, and far from the largest signed number.
const NEVER: &str = "4611686018427387904";

/// A state is some 100 bytes long.
const MAX_LEN: usize = 1024;

/// The headers of consistent reads: a state of the far future, for the cluster that answered last.
#[derive(Default)]
pub(super) struct Consistency {
    cluster: ArcSwapOption<(String, HeaderValue)>,
}

#[derive(Deserialize, Serialize)]
struct Index {
    cluster: String,
    value: String,
}

impl Consistency {
    /// Learns the cluster from the headers of an answer.
    #[expect(clippy::expect_used, reason = "a structure of texts is JSON, and base64 is a header")]
    pub(super) fn learn(&self, headers: &http::HeaderMap) {
        let Some(cluster) = headers.get(INDEX).and_then(cluster) else { return };
        if self.cluster.load().as_ref().is_some_and(|known| known.0 == cluster) {
            return;
        }
        let future = Index { cluster: cluster.clone(), value: NEVER.to_owned() };
        let future = serde_json::to_vec(&future).expect("texts are JSON");
        let header = HeaderValue::try_from(Base64::encode_string(&future));
        let header = header.expect("base64 is a header");
        self.cluster.store(Some((cluster, header).into()));
    }

    /// The headers of a consistent read; `None` if no server has sent a state.
    pub(super) fn headers(&self) -> Option<[(HeaderName, HeaderValue); 2]> {
        let cluster = self.cluster.load();
        let future = cluster.as_ref()?.1.clone();
        let forward = HeaderValue::from_static("forward-active-node");
        Some([(INDEX, future), (INCONSISTENT, forward)])
    }

    /// Whether a consistent read may have another answer than any other read.
    pub(super) fn matters(&self) -> bool {
        self.cluster.load().is_some()
    }
}

/// The cluster of a state in the form of OpenBao; other servers have other forms.
fn cluster(index: &HeaderValue) -> Option<String> {
    if index.len() > MAX_LEN {
        return None;
    }
    let index = Base64::decode_vec(index.to_str().ok()?).ok()?;
    let index: Index = serde_json::from_slice(&index).ok()?;
    Some(index.cluster)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(index: &str) -> http::HeaderMap {
        [(INDEX, HeaderValue::from_str(index).unwrap())].into_iter().collect()
    }

    #[test]
    fn the_future_of_the_cluster_that_answered_last() {
        let consistency = Consistency::default();
        assert!(consistency.headers().is_none() && !consistency.matters());
        for cluster in ["a", "b"] {
            let index = Index { cluster: cluster.to_owned(), value: "35".to_owned() };
            let index = Base64::encode_string(&serde_json::to_vec(&index).unwrap());
            consistency.learn(&headers(&index));
            let future = consistency.headers().unwrap()[0].1.clone();
            let future = Base64::decode_vec(future.to_str().unwrap()).unwrap();
            let expected = format!(r#"{{"cluster":"{cluster}","value":"{NEVER}"}}"#);
            assert_eq!(future, expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_other_form_is_ignored(index in "[ -~]{0,300}") {
            let consistency = Consistency::default();
            consistency.learn(&headers(&index));
            prop_assert!(!consistency.matters());
        }
    }
}
