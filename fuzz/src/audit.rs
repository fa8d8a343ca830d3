use std::io;

use kes_audit::note::{Checkpoint, logged_heads};
use kes_audit::search::{Search, search};
use kes_audit::verify::{Known, verify};
use kes_audit::{AuditKey, Input};

/// A file of the audit log, a checkpoint, and a text with heads: what is unchanged with a key is a
/// chain of this key, and has no line that a search leaves out; a checkpoint is written as it was
/// read.
pub(crate) fn audit(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let key = || AuditKey::of_bytes(&[7; 32]).expect("32 bytes");
    if let Ok((checkpoint, _)) = Checkpoint::parse(&text, &[&key()]) {
        assert!(text.starts_with(checkpoint.note(None).trim_end()));
    }
    let input = Input::Bytes("input".to_owned(), data.to_vec());
    let known = Known {
        keys: vec![key()],
        heads: logged_heads(&text),
        checkpoints: vec![("checkpoint".to_owned(), text)],
    };
    // It is no checkpoint, or no segment.
    assert!(!verify(std::slice::from_ref(&input), &known).is_good());
    let known = Known { keys: known.keys, ..Known::default() };
    let report = verify(std::slice::from_ref(&input), &known);
    let mut found = 0;
    let searched = search::<io::Error>(&input, &Search::default(), |_, entry| {
        assert!(entry.is_record());
        found += 1;
        Ok(())
    });
    if report.is_good() {
        let Ok(missed) = searched else { panic!("it was read before") };
        assert!(report.keyed && found < report.lines);
        assert!(missed.unsealed == 0 || !report.notes.is_empty());
    }
}
