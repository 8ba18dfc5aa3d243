//! Permits for clients' connections (`max_connections`), of which the process has so many, whoever of its workers serves
//! them.
//!
//! A worker has its own share of the connections that wait in the kernel, and nobody else can take those. So where
//! all permits are taken, workers wait in line for the next one that becomes free: the one that frees it hands it to the
//! first of them and wakes it, and does not keep it for itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::log_limit::LogLimit;

pub struct Permits {
    most: usize,
    state: Mutex<State>,
    /// Of each worker, permits that were handed to it.
    handed: Vec<AtomicUsize>,
}

#[derive(Default)]
struct State {
    /// By clients, and handed to workers for the next one.
    taken: usize,
    /// Workers that wait for a permit, each once. While there are any, all are taken.
    waiting: VecDeque<usize>,
    full: LogLimit,
}

impl Permits {
    pub fn new(workers: usize, most: usize) -> Permits {
        let handed = (0..workers).map(|_| AtomicUsize::default()).collect();
        Permits { most, state: Mutex::default(), handed }
    }

    /// One for one more client. Without one this worker waits in line, and `was_handed` says when to ask again.
    pub fn acquire(&self, worker: usize) -> bool {
        let mut state = self.state();
        if self.was_handed(worker) {
            self.handed[worker].fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        if state.taken < self.most {
            state.taken += 1;
            return true;
        }
        if !state.waiting.contains(&worker) {
            state.waiting.push_back(worker);
        }
        false
    }

    pub fn was_handed(&self, worker: usize) -> bool {
        self.handed[worker].load(Ordering::Acquire) > 0
    }

    /// Gives one back. Says to whom it went, if anybody was waiting.
    pub fn release(&self) -> Option<usize> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        match next {
            Some(next) => _ = self.handed[next].fetch_add(1, Ordering::Release),
            None => state.taken -= 1,
        }
        next
    }

    /// This worker takes no more clients. Gives how many permits it has still to release.
    pub fn stop_waiting(&self, worker: usize) -> usize {
        self.state().waiting.retain(|waiting| *waiting != worker);
        self.handed[worker].swap(0, Ordering::Relaxed)
    }

    /// Looks whether all are taken. Says how often that was so, if it is time to log it.
    pub fn count_full(&self, now: u64) -> Option<u64> {
        let mut state = self.state();
        (state.taken >= self.most).then(|| state.full.count(now)).flatten()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_permits_from_one_number() {
        let permits = Permits::new(3, 4);
        let taken: Vec<bool> = (0..9).map(|n| permits.acquire(n % 3)).collect();
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 4);
    }

    #[test]
    fn a_permit_that_becomes_free_goes_to_the_worker_that_waits_longest() {
        let permits = Permits::new(3, 1);
        assert!(permits.acquire(0));
        assert!(!permits.acquire(1) && !permits.acquire(2) && !permits.acquire(0));
        for next in [1, 2, 0, 1] {
            assert_eq!(permits.release(), Some(next));
            assert!(permits.was_handed(next));
            assert!(!permits.acquire((next + 1) % 3), "another was first");
            assert!(permits.acquire(next));
            assert!(!permits.acquire(next), "it waits again, as the last");
        }
    }

    #[test]
    fn a_worker_that_stops_waiting_passes_on_what_it_was_handed() {
        let permits = Permits::new(2, 1);
        assert!(permits.acquire(0) && !permits.acquire(1) && !permits.acquire(0));
        assert_eq!(permits.release(), Some(1));
        assert_eq!(permits.stop_waiting(1), 1);
        assert_eq!(permits.release(), Some(0));
        assert!(permits.acquire(0));
        assert_eq!(permits.release(), None);
        assert!(permits.acquire(1), "nobody waits any more");
    }
}
