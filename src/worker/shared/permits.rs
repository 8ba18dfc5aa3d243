//! Permits for client connections (`max_connections`), shared by all workers of the process.
//!
//! Each worker has its own accept queue, which no other worker can serve. So when all permits are taken, workers queue
//! for the next free one: releasing a permit hands it to the first worker in the queue and wakes it, instead of keeping
//! it in the releasing worker.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::log_limit::LogLimit;

pub struct Permits {
    state: Mutex<PermitState>,
    /// For each worker, permits handed to it and not yet used.
    handed: Vec<AtomicUsize>,
}

struct PermitState {
    most: usize,
    /// Held for clients, or handed to workers.
    taken: usize,
    /// Workers queued for a permit, each at most once. Not empty only if all permits are taken.
    waiting: VecDeque<usize>,
    full: LogLimit,
}

impl Permits {
    pub fn new(workers: usize, most: usize) -> Permits {
        let handed = (0..workers).map(|_| AtomicUsize::default()).collect();
        let state = PermitState { most, taken: 0, waiting: VecDeque::new(), full: LogLimit::default() };
        Permits { state: Mutex::new(state), handed }
    }

    /// Changes the number of permits. Those taken beyond it end with their clients. Returns the workers that were
    /// handed one.
    pub fn set_most(&self, most: usize) -> Vec<usize> {
        let mut state = self.state();
        state.most = most;
        let mut next = Vec::new();
        while state.taken < most
            && let Some(worker) = state.waiting.pop_front()
        {
            state.taken += 1;
            self.handed[worker].fetch_add(1, Ordering::Release);
            next.push(worker);
        }
        next
    }

    /// Acquires a permit. If there is none, queues the worker and returns false; retry once `was_handed` returns true.
    pub fn acquire(&self, worker: usize) -> bool {
        let mut state = self.state();
        if self.was_handed(worker) {
            self.handed[worker].fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        if state.taken < state.most {
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

    /// Releases a permit. Returns the worker it was handed to, if one was queued.
    pub fn release(&self) -> Option<usize> {
        let mut state = self.state();
        let next = if state.taken > state.most { None } else { state.waiting.pop_front() };
        match next {
            Some(next) => _ = self.handed[next].fetch_add(1, Ordering::Release),
            None => state.taken -= 1,
        }
        next
    }

    /// Removes the worker from the queue. Returns the number of permits handed to it, which it must release.
    pub fn stop_waiting(&self, worker: usize) -> usize {
        self.state().waiting.retain(|waiting| *waiting != worker);
        self.handed[worker].swap(0, Ordering::Relaxed)
    }

    /// Counts that all permits are taken, if so. Returns the count when it is time to log it.
    pub fn count_full(&self, now: u64) -> Option<u64> {
        let mut state = self.state();
        (state.taken >= state.most).then(|| state.full.count(now)).flatten()
    }

    fn state(&self) -> MutexGuard<'_, PermitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_number_of_permits() {
        let permits = Permits::new(3, 4);
        let taken: Vec<bool> = (0..9).map(|n| permits.acquire(n % 3)).collect();
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 4);
    }

    #[test]
    fn a_released_permit_goes_to_the_longest_waiting_worker() {
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
    fn more_permits_go_to_workers_that_wait_and_fewer_end_with_their_clients() {
        let permits = Permits::new(2, 1);
        assert!(permits.acquire(0) && !permits.acquire(1));
        assert_eq!(permits.set_most(3), [1]);
        assert!(permits.acquire(1) && permits.acquire(0) && !permits.acquire(0));
        assert!(permits.set_most(1).is_empty());
        assert_eq!([(); 3].map(|()| permits.release()), [None, None, Some(0)]);
        assert!(permits.acquire(0), "it waited for the only one");
        assert_eq!(permits.release(), None);
    }

    #[test]
    fn a_worker_that_stops_waiting_passes_on_its_permits() {
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
