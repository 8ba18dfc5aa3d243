//! What the workers of one process have in common, because it is the process that has limits. Looked at when a connection
//! comes or goes, and never for a request.

pub(crate) mod gateway_errors;
pub(crate) mod per_client;
pub(crate) mod permits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mio::Waker;

use self::gateway_errors::GatewayErrors;
use self::per_client::ClientCounts;
use self::permits::Permits;
use crate::base::log_limit::LogLimit;
use crate::base::os_error::os_error;
use crate::net::Reserve;

/// Workers are not asked more often than this for descriptors they only keep, in microseconds: looking for them
/// takes time.
const CALL_AGAIN: u64 = 10_000;

/// What all workers share, in the hands of one of them.
#[derive(Clone)]
pub struct Shared {
    state: Arc<State>,
    /// Which of them, from 0.
    worker: usize,
}

struct State {
    permits: Permits,
    /// One a worker.
    wakers: Vec<OnceLock<Arc<Waker>>>,
    /// Nobody accepts before this.
    accept_after: AtomicU64,
    accept_failed: Mutex<LogLimit>,
    /// When one lacked descriptors for connections to servers and asked the others for theirs.
    called: AtomicU64,
    per_client: ClientCounts,
    gateway_errors: GatewayErrors,
    reserve: Reserve,
}

/// For so many workers, who serve at most so many clients together.
pub fn share(workers: usize, max_connections: usize) -> Vec<Shared> {
    let state = Arc::new(State {
        permits: Permits::new(workers, max_connections),
        wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        accept_after: AtomicU64::new(0),
        accept_failed: Mutex::default(),
        called: AtomicU64::new(0),
        per_client: ClientCounts::default(),
        gateway_errors: GatewayErrors::default(),
        reserve: Reserve::default(),
    });
    (0..workers).map(|worker| Shared { state: state.clone(), worker }).collect()
}

impl Shared {
    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.state.wakers.len()
    }

    /// Which of them this is, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    pub fn per_client(&self) -> ClientCounts {
        self.state.per_client.clone()
    }

    pub fn gateway_errors(&self) -> GatewayErrors {
        self.state.gateway_errors.shared()
    }

    pub fn reserve(&self) -> Reserve {
        self.state.reserve.clone()
    }

    pub fn wake_by(&self, waker: Arc<Waker>) {
        // Set once a worker, when it starts.
        let _ = self.state.wakers[self.worker].set(waker);
    }

    /// A permit for one more client; see `Permits::acquire`.
    pub fn acquire_permit(&self) -> bool {
        self.state.permits.acquire(self.worker)
    }

    pub fn was_handed_a_permit(&self) -> bool {
        self.state.permits.was_handed(self.worker)
    }

    /// Gives permits back, first of all to those who wait for one.
    pub fn release_permits(&self, count: usize) {
        for _ in 0..count {
            let next = self.state.permits.release();
            // A worker finds by itself what it gave to itself.
            if let Some(next) = next.filter(|next| *next != self.worker) {
                self.wake(next);
            }
        }
    }

    /// This worker takes no more clients.
    pub fn stop_waiting_for_permits(&self) {
        self.release_permits(self.state.permits.stop_waiting(self.worker));
    }

    /// Looks whether all permits are taken. Says how often that was so, if it is time to log it.
    pub fn count_full(&self, now: u64) -> Option<u64> {
        self.state.permits.count_full(now)
    }

    /// When connections may be accepted again; 0 if nothing ever stood in the way.
    pub fn accept_after(&self) -> u64 {
        self.state.accept_after.load(Ordering::Relaxed)
    }

    /// Nobody accepts until then: what this worker lacks the others lack as well, and they hear of it at once. Says
    /// how often that was, if it is time to log it.
    pub fn pause_accepting(&self, until: u64, now: u64) -> Option<u64> {
        self.state.accept_after.fetch_max(until, Ordering::Relaxed);
        self.wake_others();
        self.state.accept_failed.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }

    /// Asks the others to give back descriptors that they only keep to be fast.
    pub fn call_for_descriptors(&self, now: u64) {
        if now >= self.called() + CALL_AGAIN || self.called() == 0 {
            self.state.called.fetch_max(now, Ordering::Relaxed);
            self.wake_others();
        }
    }

    /// When that was asked for last; 0 if never.
    pub fn called(&self) -> u64 {
        self.state.called.load(Ordering::Relaxed)
    }

    fn wake_others(&self) {
        (0..self.count()).filter(|worker| *worker != self.worker).for_each(|worker| self.wake(worker));
    }

    fn wake(&self, worker: usize) {
        if let Some(waker) = self.state.wakers[worker].get()
            && let Err(error) = waker.wake()
        {
            log::error!("cannot wake a worker: {}", os_error(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_in_accepting_is_everybodys() {
        let workers = share(2, 1);
        assert_eq!(workers[0].pause_accepting(100, 0), Some(1));
        assert_eq!(workers[1].pause_accepting(50, 0), None, "told already");
        assert_eq!((workers[0].accept_after(), workers[1].accept_after()), (100, 100));
    }

    #[test]
    fn a_call_for_descriptors_is_not_repeated_at_once() {
        let workers = share(2, 1);
        for (now, called) in [(5, 5), (6, 5), (5 + CALL_AGAIN, 5 + CALL_AGAIN)] {
            workers[0].call_for_descriptors(now);
            assert_eq!(workers[1].called(), called);
        }
    }
}
