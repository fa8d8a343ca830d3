//! TLS 1.2 sessions that a client can resume by ID. A session holds the chain of its client, so the
//! store is limited in bytes. Most clients resume by ticket, which takes no memory of the server;
//! rustls stores the sessions of all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;
use zeroize::Zeroizing;

/// All sessions together: some 6,000 of clients with one certificate of usual size, and 480 of
/// clients with the largest chain. The oldest are forgotten first.
const MAX_BYTES: usize = 8 << 20;

/// What a session takes beside its ID and its content: entries of two maps.
const OVERHEAD: usize = 256;

/// The store.
#[derive(Default)]
pub(super) struct Sessions(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    by_id: HashMap<Vec<u8>, Session>,
    /// IDs by age.
    ids: BTreeMap<u64, Vec<u8>>,
    next: u64,
    bytes: usize,
}

struct Session {
    number: u64,
    /// Holds the secret of the session.
    content: Zeroizing<Vec<u8>>,
}

impl Stored {
    fn put(&mut self, id: Vec<u8>, content: Zeroizing<Vec<u8>>) -> bool {
        let size = size(&id, &content);
        if size > MAX_BYTES {
            return false;
        }
        self.take(&id);
        while self.bytes + size > MAX_BYTES
            && let Some((_, oldest)) = self.ids.pop_first()
        {
            self.take(&oldest);
        }
        self.bytes += size;
        let number = self.next;
        self.next += 1;
        self.ids.insert(number, id.clone());
        self.by_id.insert(id, Session { number, content });
        true
    }

    fn take(&mut self, id: &[u8]) -> Option<Session> {
        let session = self.by_id.remove(id)?;
        self.ids.remove(&session.number);
        self.bytes -= size(id, &session.content);
        Some(session)
    }
}

/// The bytes that a session takes; its ID is there twice.
fn size(id: &[u8], content: &[u8]) -> usize {
    2 * id.len() + content.len() + OVERHEAD
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, content: Vec<u8>) -> bool {
        self.0.lock().put(id, Zeroizing::new(content))
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.0.lock().by_id.get(id).map(|session| session.content.to_vec())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let session = self.0.lock().take(id);
        session.map(|mut session| std::mem::take(&mut *session.content))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> Vec<u8> {
        let mut id = vec![0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn a_session_is_there_until_it_is_taken_or_replaced() {
        let sessions = Sessions::default();
        assert!(sessions.can_cache());
        assert!(sessions.put(id(1), vec![1; 10]) && sessions.put(id(2), vec![2; 10]));
        assert_eq!(sessions.get(&id(1)), Some(vec![1; 10]));
        assert!(sessions.put(id(1), vec![3; 20]));
        assert_eq!(sessions.take(&id(1)), Some(vec![3; 20]));
        assert_eq!((sessions.get(&id(1)), sessions.take(&id(1))), (None, None));
        assert_eq!(sessions.get(&id(2)), Some(vec![2; 10]));
        sessions.take(&id(2));
        let stored = sessions.0.lock();
        assert_eq!((stored.bytes, stored.ids.len(), stored.by_id.len()), (0, 0, 0));
    }

    #[test]
    fn all_together_have_a_limit_in_bytes() {
        let sessions = Sessions::default();
        for (content, most) in [(1_000, 6_400), (16_000, 520)] {
            for number in 0..10_000 {
                assert!(sessions.put(id(number), vec![0; content]));
                assert!(sessions.0.lock().bytes <= MAX_BYTES);
            }
            let stored = sessions.0.lock().by_id.len();
            assert!(stored <= most && stored > most * 9 / 10, "{stored}");
            // The newest are kept.
            assert!(sessions.get(&id(9_999)).is_some() && sessions.get(&id(0)).is_none());
        }
        assert!(!sessions.put(id(1), vec![0; MAX_BYTES]));
    }
}
