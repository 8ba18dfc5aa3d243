//! Files of ACME challenges that requests wait for: workers ask for them here, a thread beside the loops reads them
//! (`control::challenges`) and leaves what it found where the request looks again.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Requests that may wait for the thread. Beyond that a request is routed as if there were no file.
const MAX_WAITING: usize = 64;

/// What the file says; `None`: there is none. Not set before it was looked for.
pub(crate) type ChallengeText = Arc<OnceLock<Option<Vec<u8>>>>;

/// A file that is asked for.
pub struct ChallengeAsk {
    pub(crate) directory: Arc<Path>,
    pub(crate) token: String,
    pub(crate) text: ChallengeText,
}

pub(crate) type ChallengeSender = SyncSender<ChallengeAsk>;

/// Both ends: every worker has the one, the thread takes the other.
pub(super) struct Challenges {
    pub(super) sender: ChallengeSender,
    receiver: Mutex<Option<Receiver<ChallengeAsk>>>,
}

impl Challenges {
    pub(super) fn new() -> Challenges {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        Challenges { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// `None` if a thread has it already.
    pub(super) fn take_receiver(&self) -> Option<Receiver<ChallengeAsk>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ChallengeAsk {
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn answer(self, text: Option<Vec<u8>>) {
        // It is asked once.
        let _ = self.text.set(text);
    }
}
