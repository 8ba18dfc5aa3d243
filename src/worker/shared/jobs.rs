//! Work for handlers that wait which no loop may do itself: names to be resolved. Workers put it here, threads beside
//! the loops do it (`control::jobs`) and leave what came of it in the worker's inbox.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::worker::waits::Reply;

/// Jobs that may wait for a thread.
const MAX_WAITING: usize = 64;

/// What is to be done, and for whom.
pub struct Job {
    pub work: Work,
    pub reply: Reply,
}

pub enum Work {
    /// The addresses of a host, from this name server or from the system's.
    Resolve { name: String, server: Option<SocketAddr> },
}

/// Where a worker's jobs go.
#[derive(Clone)]
pub(crate) struct JobSender {
    sender: SyncSender<Job>,
    /// The worker's.
    pub waker: Arc<Waker>,
}

impl JobSender {
    /// Gives the job back where too many wait.
    pub fn send(&self, job: Job) -> Result<(), Job> {
        self.sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

/// Both ends: every worker has the one, the threads take the other.
pub(super) struct Jobs {
    sender: SyncSender<Job>,
    receiver: Mutex<Option<Receiver<Job>>>,
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        let (sender, receiver) = sync_channel(MAX_WAITING);
        Jobs { sender, receiver: Mutex::new(Some(receiver)) }
    }

    pub(super) fn sender(&self, waker: Arc<Waker>) -> JobSender {
        JobSender { sender: self.sender.clone(), waker }
    }

    /// `None` if somebody has it already.
    pub(super) fn take_receiver(&self) -> Option<Receiver<Job>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
