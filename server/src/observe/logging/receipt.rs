//! Tells whoever needs a line to be written whether it was.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a change of a key waits for one of its two lines if it must not go unrecorded. That is
/// long for a disk or a pipe, and both waits together are shorter than the time limit of a request.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// Stands for a line that is to be written.
pub(crate) struct Receipt {
    /// Nothing for a target that keeps nothing.
    signed: Option<oneshot::Receiver<()>>,
    is_of_file: bool,
}

/// Signs a [`Receipt`]. If it is dropped instead, the line is lost.
pub(super) struct Signature(oneshot::Sender<()>);

/// Why a line does not count as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The target keeps nothing.
    Discarded,
    /// The target or the queue did not take it.
    Lost,
    /// It still waits to be written.
    Late,
    /// The audit file did not take it.
    LostByFile,
    /// It still waits to be written to the audit file.
    LateInFile,
}

/// A receipt, and what it is signed with.
pub(super) fn receipt() -> (Signature, Receipt) {
    let (sender, receiver) = oneshot::channel();
    (Signature(sender), Receipt { signed: Some(receiver), is_of_file: false })
}

impl Signature {
    /// The line is written.
    pub(super) fn sign(self) {
        // Nobody may wait for it any longer.
        let _ = self.0.send(());
    }
}

impl Receipt {
    /// For a target that keeps nothing.
    pub(super) const fn discarded() -> Self {
        Self { signed: None, is_of_file: false }
    }

    /// The same for a record of the audit file.
    pub(super) fn of_file(self) -> Self {
        Self { is_of_file: true, ..self }
    }

    /// Waits until the line is written.
    ///
    /// # Errors
    /// [`Unwritten`] if it is not, or not in time.
    pub(crate) async fn signed(self) -> Result<(), Unwritten> {
        let Some(receiver) = self.signed else { return Err(Unwritten::Discarded) };
        match (timeout(WRITE_TIME, receiver).await, self.is_of_file) {
            (Ok(Ok(())), _) => Ok(()),
            (Ok(Err(_)), false) => Err(Unwritten::Lost),
            (Ok(Err(_)), true) => Err(Unwritten::LostByFile),
            (Err(_), false) => Err(Unwritten::Late),
            (Err(_), true) => Err(Unwritten::LateInFile),
        }
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discarded => f.write_str("standard output is closed or /dev/null"),
            Self::Lost => f.write_str("the line about it could not be written to standard output"),
            Self::Late => write!(
                f,
                "standard output did not take the line about it within {} s",
                WRITE_TIME.as_secs()
            ),
            Self::LostByFile => {
                f.write_str("the record of it could not be written to the audit file")
            }
            Self::LateInFile => write!(
                f,
                "the audit file did not take the record of it within {} s",
                WRITE_TIME.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_counts_as_written_only_once_it_is() {
        let (signature, written) = receipt();
        signature.sign();
        assert_eq!(written.signed().await, Ok(()));

        let (signature, lost) = receipt();
        drop(signature);
        assert_eq!(lost.signed().await, Err(Unwritten::Lost));

        let (_signature, late) = receipt();
        assert_eq!(late.signed().await, Err(Unwritten::Late));
        assert_eq!(Receipt::discarded().signed().await, Err(Unwritten::Discarded));
    }
}
