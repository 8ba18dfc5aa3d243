//! What the workers of one process have in common, because it is the process that has limits, and a worker's seat
//! among the others. Looked at when a connection comes or goes, and never for a request.
//!
//! A worker has its own share of the connections that wait in the kernel, and nobody else can take those. So where
//! all places are taken, workers stand in line for the next one that becomes free: the one that frees it hands it to
//! the first of them and wakes it, and does not keep it for itself.

pub(crate) mod gateway_errors;
pub(crate) mod per_client;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mio::Waker;

use crate::balance::{Board, Pause, Pools, Row};
use crate::base::log_limit::LogLimit;
use crate::base::os_error::reason;
use crate::config::Config;
use crate::net::Reserve;
use crate::worker::shared::gateway_errors::GatewayErrors;
use crate::worker::shared::per_client::ClientCounts;

/// Workers are not asked more often than this for descriptors they only keep, in microseconds: looking for them
/// takes time.
const CALL_AGAIN: u64 = 10_000;

/// A worker's part in what all share.
pub struct Seat {
    shared: Arc<Shared>,
    number: usize,
}

struct Shared {
    /// Places for clients (`max_connections`).
    most: usize,
    places: Mutex<Places>,
    workers: Vec<Own>,
    /// Nobody accepts before this.
    accept_after: AtomicU64,
    /// When one lacked descriptors for connections to servers and asked the others for theirs.
    called: AtomicU64,
    per_client: ClientCounts,
    gateway_errors: GatewayErrors,
    reserve: Reserve,
    pauses: Vec<Arc<Pause>>,
    board: Arc<Board>,
}

#[derive(Default)]
struct Places {
    /// Of clients, and handed to workers for the next one.
    taken: usize,
    /// Workers that wait for a place, each once. While there are any, all places are taken.
    line: VecDeque<usize>,
    full: LogLimit,
    accept_failed: LogLimit,
}

/// What others have to reach of one worker.
#[derive(Default)]
struct Own {
    /// Places that were handed to it.
    handed: AtomicUsize,
    waker: OnceLock<Arc<Waker>>,
}

/// Seats for so many workers, who serve at most so many clients together as the config says.
pub fn seats(workers: usize, config: &Config) -> Vec<Seat> {
    let shared = Arc::new(Shared {
        most: config.settings.max_connections,
        places: Mutex::default(),
        workers: (0..workers).map(|_| Own::default()).collect(),
        accept_after: AtomicU64::new(0),
        called: AtomicU64::new(0),
        per_client: ClientCounts::default(),
        gateway_errors: GatewayErrors::default(),
        reserve: Reserve::default(),
        pauses: Pools::pauses(config),
        board: Arc::new(Board::new(workers, config.pools.iter().map(|pool| pool.servers.len()).sum())),
    });
    (0..workers).map(|number| Seat { shared: shared.clone(), number }).collect()
}

impl Seat {
    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.shared.workers.len()
    }

    /// Which of them this is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    pub fn per_client(&self) -> ClientCounts {
        self.shared.per_client.clone()
    }

    pub fn gateway_errors(&self) -> GatewayErrors {
        self.shared.gateway_errors.shared()
    }

    pub fn reserve(&self) -> Reserve {
        self.shared.reserve.clone()
    }

    pub fn pauses(&self) -> &[Arc<Pause>] {
        &self.shared.pauses
    }

    /// Where this worker tells others of its requests, if there are others.
    pub fn row(&self) -> Option<Row> {
        (self.count() > 1).then(|| Row { board: self.shared.board.clone(), number: self.number })
    }

    pub fn wake_by(&self, waker: Arc<Waker>) {
        // Set once a worker, when it starts.
        let _ = self.own().waker.set(waker);
    }

    /// A place for one more client. Without one this worker stands in line, and `was_handed_a_place` says when to
    /// ask again.
    pub fn take_place(&self) -> bool {
        let mut places = self.places();
        if self.was_handed_a_place() {
            self.own().handed.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        if places.taken < self.shared.most {
            places.taken += 1;
            return true;
        }
        if !places.line.contains(&self.number) {
            places.line.push_back(self.number);
        }
        false
    }

    pub fn was_handed_a_place(&self) -> bool {
        self.own().handed.load(Ordering::Acquire) > 0
    }

    /// Gives places back, first of all to those who wait for one.
    pub fn give_back(&self, count: usize) {
        for _ in 0..count {
            let next = self.hand_on();
            // A worker finds by itself what it gave to itself.
            if let Some(next) = next.filter(|next| *next != self.number) {
                self.wake(next);
            }
        }
    }

    /// Says to whom a place went, if anybody was waiting.
    fn hand_on(&self) -> Option<usize> {
        let mut places = self.places();
        let next = places.line.pop_front();
        match next {
            Some(next) => _ = self.shared.workers[next].handed.fetch_add(1, Ordering::Release),
            None => places.taken -= 1,
        }
        next
    }

    /// This worker takes no more clients.
    pub fn leave_line(&self) {
        self.places().line.retain(|number| *number != self.number);
        self.give_back(self.own().handed.swap(0, Ordering::Relaxed));
    }

    /// Looks whether all places are taken. Says how often that was so, if it is time to tell.
    pub fn count_full(&self, now: u64) -> Option<u64> {
        let mut places = self.places();
        (places.taken >= self.shared.most).then(|| places.full.count(now)).flatten()
    }

    /// When connections may be accepted again; 0 if nothing ever stood in the way.
    pub fn accept_after(&self) -> u64 {
        self.shared.accept_after.load(Ordering::Relaxed)
    }

    /// Nobody accepts until then: what this worker lacks the others lack as well, and they hear of it at once. Says
    /// how often that was, if it is time to tell.
    pub fn pause_accepting(&self, until: u64, now: u64) -> Option<u64> {
        self.shared.accept_after.fetch_max(until, Ordering::Relaxed);
        self.wake_others();
        self.places().accept_failed.count(now)
    }

    /// Asks the others to give back descriptors that they only keep to be fast.
    pub fn call_for_descriptors(&self, now: u64) {
        if now >= self.called() + CALL_AGAIN || self.called() == 0 {
            self.shared.called.fetch_max(now, Ordering::Relaxed);
            self.wake_others();
        }
    }

    /// When that was asked for last; 0 if never.
    pub fn called(&self) -> u64 {
        self.shared.called.load(Ordering::Relaxed)
    }

    fn wake_others(&self) {
        for other in (0..self.count()).filter(|number| *number != self.number) {
            self.wake(other);
        }
    }

    fn wake(&self, number: usize) {
        if let Some(waker) = self.shared.workers[number].waker.get()
            && let Err(error) = waker.wake()
        {
            log::error!("cannot wake a worker: {}", reason(&error));
        }
    }

    fn own(&self) -> &Own {
        &self.shared.workers[self.number]
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.shared.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Source, load};
    use std::path::Path;

    fn seats_for(workers: usize, most: usize) -> Vec<Seat> {
        let text = format!(
            "rsp.listen '127.0.0.1:1' rsp.pool {{ servers = {{ '127.0.0.1:2' }} }}
             rsp.settings {{ max_connections = {most} }}"
        );
        let (config, _) = load(&mut Source::in_memory(Path::new("site.lua"), text.as_bytes())).unwrap();
        seats(workers, &config)
    }

    #[test]
    fn all_workers_together_have_so_many_places() {
        let seats = seats_for(3, 4);
        let taken: Vec<bool> = (0..9).map(|n| seats[n % 3].take_place()).collect();
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 4);
    }

    #[test]
    fn a_place_goes_to_who_waited_longest_and_not_to_who_was_quickest() {
        let seats = seats_for(3, 1);
        assert!(seats[0].take_place());
        assert!(!seats[1].take_place() && !seats[2].take_place() && !seats[0].take_place());
        for holder in [0, 1, 2, 0] {
            seats[holder].give_back(1);
            let next = (holder + 1) % 3;
            assert!(seats[next].was_handed_a_place());
            assert!(!seats[(next + 1) % 3].take_place(), "another was first");
            assert!(seats[next].take_place());
            assert!(!seats[next].take_place(), "it waits again, as the last");
        }
    }

    #[test]
    fn who_leaves_the_line_hands_on_what_it_was_handed() {
        let seats = seats_for(2, 1);
        assert!(seats[0].take_place() && !seats[1].take_place() && !seats[0].take_place());
        seats[0].give_back(1);
        seats[1].leave_line();
        assert!(seats[0].take_place());
        seats[0].give_back(1);
        assert!(seats[1].take_place(), "nobody waits any more");
    }

    #[test]
    fn a_pause_of_one_is_a_pause_of_all() {
        let seats = seats_for(2, 1);
        assert_eq!(seats[0].pause_accepting(100, 0), Some(1));
        assert_eq!(seats[1].pause_accepting(50, 0), None, "told already");
        assert_eq!((seats[0].accept_after(), seats[1].accept_after()), (100, 100));
    }

    #[test]
    fn a_call_for_descriptors_is_not_repeated_at_once() {
        let seats = seats_for(2, 1);
        for (now, called) in [(5, 5), (6, 5), (5 + CALL_AGAIN, 5 + CALL_AGAIN)] {
            seats[0].call_for_descriptors(now);
            assert_eq!(seats[1].called(), called);
        }
    }
}
