//! The retry budget of a pool: so that an outage is not multiplied, retries are at most a share of the requests of the
//! last ten seconds, plus three a second. Requests are counted per worker; retries, which are rare, together.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::pool_state::PoolState;

/// Seconds that are looked at.
const WINDOW: usize = 10;
/// Retries a second that are always allowed.
const FLOOR: f64 = 3.0;

/// A number of the present second and of the nine before, for many writers.
#[derive(Default)]
pub struct RecentCount {
    /// The second in the upper half, its count in the lower.
    seconds: [AtomicU64; WINDOW],
}

impl RecentCount {
    pub fn add(&self, second: u64) {
        let place = &self.seconds[second as usize % WINDOW];
        let next = |word: u64| {
            Some(if word >> 32 == second & 0xffff_ffff { word.saturating_add(1) } else { second << 32 | 1 })
        };
        let _always_set = place.fetch_update(Relaxed, Relaxed, next);
    }

    pub fn sum(&self, second: u64) -> u32 {
        let oldest = second.saturating_sub(WINDOW as u64 - 1);
        let words = self.seconds.iter().map(|word| word.load(Relaxed));
        words.filter(|word| (oldest..=second).contains(&(word >> 32))).map(|word| word as u32).sum()
    }
}

/// One worker's requests to a pool, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct RequestCounter {
    total: AtomicU32,
    in_flight: AtomicU32,
    /// What `total` was at the end of the last seconds.
    before: [AtomicU32; WINDOW],
    /// The last second for which there is one.
    ended: AtomicU64,
}

impl RequestCounter {
    /// Counts a request; only its worker calls this.
    pub fn add(&self) {
        self.total.store(self.total.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// A request is sent to a server; only its worker calls this.
    pub fn begins(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn ends(&self) {
        self.in_flight.store(self.in_flight.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// A second has begun; only its worker calls this, before it counts a request of that second.
    pub fn tick(&self, second: u64) {
        let (total, last) = (self.total.load(Relaxed), self.ended.load(Relaxed));
        // Seconds without a tick were without requests.
        let first = (last + 1).max((second + 1).saturating_sub(WINDOW as u64));
        (first..=second).for_each(|second| self.before[second as usize % WINDOW].store(total, Relaxed));
        self.ended.store(second, Relaxed);
    }

    /// The requests of this second and the nine before.
    fn recent(&self, second: u64) -> u32 {
        let ended = self.ended.load(Relaxed);
        let oldest = (second + 1).saturating_sub(WINDOW as u64);
        if ended < oldest {
            return 0;
        }
        self.total.load(Relaxed).wrapping_sub(self.before[oldest as usize % WINDOW].load(Relaxed))
    }
}

impl PoolState {
    /// Takes one retry from the budget, a share of the pool's requests.
    pub fn take_retry(&self, share: f64, now: u64) -> bool {
        let second = now / 1_000_000;
        let allowed = allows(share, &self.requests, &self.retries, second);
        if allowed {
            self.retries.add(second);
        }
        allowed
    }
}

/// Whether one more retry is within the budget.
fn allows(
    share: f64,
    requests: &[std::sync::Arc<RequestCounter>],
    retries: &RecentCount,
    second: u64,
) -> bool {
    within(share, FLOOR, requests, retries, second)
}

/// Whether one more is at most this share of the requests and so many a second.
pub fn within(
    share: f64,
    floor: f64,
    requests: &[std::sync::Arc<RequestCounter>],
    count: &RecentCount,
    second: u64,
) -> bool {
    let requests: u32 = requests.iter().map(|worker| worker.recent(second)).sum();
    let most = share * f64::from(requests) + floor * WINDOW as f64;
    f64::from(count.sum(second)) + 1.0 <= most
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_recent_count_forgets_after_ten_seconds() {
        let count = RecentCount::default();
        (0..20).for_each(|second| count.add(second));
        assert_eq!(count.sum(19), 10);
        assert_eq!((count.sum(24), count.sum(28), count.sum(29)), (5, 1, 0));
        count.add(1_000_000);
        assert_eq!(count.sum(1_000_000), 1);
    }

    #[test]
    fn requests_of_the_last_ten_seconds_are_counted_over_pauses() {
        let counter = RequestCounter::default();
        for second in 100..110 {
            counter.tick(second);
            (0..3).for_each(|_| counter.add());
        }
        assert_eq!(counter.recent(109), 30);
        assert_eq!(counter.recent(112), 21);
        assert_eq!(counter.recent(119), 0);
        counter.tick(114);
        counter.add();
        assert_eq!(counter.recent(114), 16);
        counter.tick(200);
        assert_eq!(counter.recent(200), 0);
    }

    #[test]
    fn retries_are_a_share_of_the_requests_and_three_a_second() {
        let workers = [Arc::<RequestCounter>::default(), Arc::default()];
        for worker in &workers {
            worker.tick(50);
            (0..100).for_each(|_| worker.add());
        }
        let retries = RecentCount::default();
        let mut allowed = 0;
        while allows(0.2, &workers, &retries, 50) {
            retries.add(50);
            allowed += 1;
        }
        assert_eq!(allowed, 200 / 5 + 30);
        assert!(allows(0.2, &workers, &retries, 60), "later there is a budget again");
        assert!(allows(0.0, &[], &RecentCount::default(), 1), "a little is always allowed");
    }
}
