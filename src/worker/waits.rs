//! What handlers of scripts wait for: until when, and what came of it. The handlers themselves wait with their requests
//! (`pair::waiting`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::script::Waited;
use crate::worker::conn::table::ClientToken;
use crate::worker::pair::waiting::WaitingCount;
use crate::worker::shared::challenges::ChallengeSender;
use crate::worker::shared::jobs::JobSender;

/// One worker's waits.
#[derive(Default)]
pub(crate) struct Waits {
    last: u64,
    running: BTreeMap<u64, RunningWait>,
    /// When each is over at the latest, in microseconds, and its number.
    due: BTreeSet<(u64, u64)>,
    ended: Rc<RefCell<Vec<(u64, Waited)>>>,
    inbox: Arc<Inbox>,
    /// Where files of ACME challenges are asked for.
    pub challenges: Option<ChallengeSender>,
    /// Where work for handlers goes.
    pub jobs: Option<JobSender>,
    /// Handlers of all workers that wait.
    pub count: WaitingCount,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiter {
    /// The request of this client.
    Client(ClientToken),
    /// `on_start`, or a function of `rsp.every`.
    Task,
}

/// One wait.
#[derive(Clone, Copy)]
pub(crate) struct RunningWait {
    pub waiter: Waiter,
    pub kind: WaitKind,
    /// When its handler first waited, in microseconds.
    pub since: u64,
    /// When it is over at the latest.
    pub until: u64,
    /// The handler has waited as long as it may when this one is over.
    pub is_last: bool,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitKind {
    Sleep,
    /// The internal request's number, if it has begun.
    Fetch(Option<u64>),
    Resolve,
    /// The request's body is being held.
    Body,
    /// A password is being checked.
    Check,
}

/// What other threads have done for handlers of a worker that wait.
#[derive(Default)]
pub struct Inbox {
    filled: AtomicBool,
    ended: Mutex<Vec<(u64, Waited)>>,
}

/// Where another thread leaves what it has done.
pub struct Reply {
    number: u64,
    inbox: Arc<Inbox>,
    waker: Arc<Waker>,
}

impl Reply {
    /// One that nobody reads.
    #[cfg(test)]
    pub fn to_nobody() -> Reply {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        Reply { number: 0, inbox: Arc::default(), waker: Arc::new(waker) }
    }

    pub fn send(self, waited: Waited) {
        self.inbox.ended.lock().unwrap_or_else(PoisonError::into_inner).push((self.number, waited));
        self.inbox.filled.store(true, Ordering::Release);
        // Failing means that the worker has ended.
        let _ = self.waker.wake();
    }
}

impl Waits {
    /// Begins a wait and returns its number.
    pub fn begin(&mut self, wait: RunningWait) -> u64 {
        self.last += 1;
        self.due.insert((wait.until, self.last));
        self.running.insert(self.last, wait);
        self.last
    }

    /// A wait that is not over.
    pub fn get(&self, number: u64) -> Option<&RunningWait> {
        self.running.get(&number)
    }

    /// The internal request of a wait has begun.
    pub fn fetches(&mut self, number: u64, inside: Option<u64>) {
        if let Some(wait) = self.running.get_mut(&number) {
            wait.kind = WaitKind::Fetch(inside);
        }
    }

    /// Ends a wait, unless it has ended before.
    pub fn end(&mut self, number: u64) -> Option<RunningWait> {
        let wait = self.running.remove(&number)?;
        self.due.remove(&(wait.until, number));
        Some(wait)
    }

    /// When there is something to do, in microseconds.
    pub fn next(&self) -> Option<u64> {
        if self.has_ended() { Some(0) } else { self.due.first().map(|(due, _)| *due) }
    }

    pub fn has_ended(&self) -> bool {
        !self.ended.borrow().is_empty() || self.inbox.filled.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Where this worker's thread leaves what has ended.
    pub fn results(&self) -> Rc<RefCell<Vec<(u64, Waited)>>> {
        self.ended.clone()
    }

    pub fn reply(&self, number: u64, waker: Arc<Waker>) -> Reply {
        Reply { number, inbox: self.inbox.clone(), waker }
    }

    /// Takes what has ended.
    pub fn take_ended(&mut self) -> Vec<(u64, Waited)> {
        let mut ended = std::mem::take(&mut *self.ended.borrow_mut());
        if self.inbox.filled.swap(false, Ordering::AcqRel) {
            ended.append(&mut self.inbox.ended.lock().unwrap_or_else(PoisonError::into_inner));
        }
        ended
    }

    /// The number of a wait that is over.
    pub fn overdue(&self, now: u64) -> Option<u64> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(until: u64, kind: WaitKind) -> RunningWait {
        let waiter = Waiter::Client(ClientToken::from_bits(0));
        RunningWait { waiter, kind, since: 0, until, is_last: false }
    }

    #[test]
    fn a_wait_ends_once() {
        let mut waits = Waits::default();
        let (first, second) =
            (waits.begin(wait(20, WaitKind::Sleep)), waits.begin(wait(10, WaitKind::Resolve)));
        assert_eq!((waits.next(), waits.overdue(9), waits.overdue(10)), (Some(10), None, Some(second)));
        assert_eq!(waits.end(second).unwrap().kind, WaitKind::Resolve);
        assert!(waits.end(second).is_none());
        assert_eq!(waits.next(), Some(20));
        waits.end(first);
        assert_eq!((waits.next(), waits.len()), (None, 0));
    }

    #[test]
    fn what_another_thread_leaves_is_found() {
        let mut waits = Waits::default();
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let number = waits.begin(wait(10, WaitKind::Resolve));
        let reply = waits.reply(number, waker);
        assert!(!waits.has_ended());
        std::thread::spawn(move || reply.send(Waited::Slept)).join().unwrap();
        assert_eq!(waits.next(), Some(0));
        assert!(matches!(waits.take_ended()[..], [(n, Waited::Slept)] if n == number));
        assert_eq!(waits.next(), Some(10));
    }
}
