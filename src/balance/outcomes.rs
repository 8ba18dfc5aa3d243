//! What became of a server's last requests, to find one that fails too often.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Seconds that the error rate is of.
const WINDOW: u64 = 10;
/// So few requests have no rate.
const FEW: u64 = 20;

/// Bits of a count; a second with more requests than that counts as so many.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

/// Written by all workers.
#[derive(Default)]
pub struct Outcomes {
    failures_in_a_row: AtomicU32,
    /// For each of the last seconds: the second (24 bits), its requests and its failures (20 bits each).
    seconds: [AtomicU64; WINDOW as usize],
}

impl Outcomes {
    /// Returns the number of failures in a row.
    pub fn failed(&self) -> u32 {
        self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1)
    }

    pub fn have_failures(&self) -> bool {
        self.failures_in_a_row.load(Relaxed) != 0
    }

    pub fn succeeded(&self) {
        // Mostly nothing changes: the cache line stays shared.
        if self.have_failures() {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    pub fn clear(&self) {
        self.failures_in_a_row.store(0, Relaxed);
        self.seconds.iter().for_each(|second| second.store(0, Relaxed));
    }

    /// Counts a request for the error rate.
    pub fn count(&self, failed: bool, second: u64) {
        let stamp = second & 0xff_ffff;
        let next = |word: u64| {
            let (requests, failures) = if word >> (2 * BITS) == stamp { parts(word) } else { (0, 0) };
            let (requests, failures) = ((requests + 1).min(MASK), (failures + u64::from(failed)).min(MASK));
            Some(stamp << (2 * BITS) | requests << BITS | failures)
        };
        let _always_set = self.seconds[(second % WINDOW) as usize].fetch_update(Relaxed, Relaxed, next);
    }

    /// The share of failures among the requests of the last ten seconds; 0 while they are too few.
    pub fn error_rate(&self, second: u64) -> f64 {
        let words = self.seconds.iter().map(|word| word.load(Relaxed));
        let recent = words.filter(|word| {
            let age = (second & 0xff_ffff).wrapping_sub(word >> (2 * BITS)) & 0xff_ffff;
            age < WINDOW
        });
        let (requests, failures) = recent
            .map(parts)
            .fold((0, 0), |(all, bad), (requests, failures)| (all + requests, bad + failures));
        if requests < FEW { 0.0 } else { failures as f64 / requests as f64 }
    }
}

fn parts(word: u64) -> (u64, u64) {
    (word >> BITS & MASK, word & MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_a_row_of_failures() {
        let outcomes = Outcomes::default();
        assert_eq!([(); 3].map(|()| outcomes.failed()), [1, 2, 3]);
        outcomes.succeeded();
        assert!(!outcomes.have_failures());
        assert_eq!(outcomes.failed(), 1);
    }

    #[test]
    fn the_error_rate_is_of_the_last_ten_seconds_from_twenty_requests_on() {
        let outcomes = Outcomes::default();
        for n in 0..19 {
            outcomes.count(n % 2 == 0, 100 + n % 5);
        }
        assert_eq!(outcomes.error_rate(104), 0.0, "too few");
        outcomes.count(false, 104);
        assert_eq!(outcomes.error_rate(104), 0.5);
        assert_eq!(outcomes.error_rate(109), 0.5);
        assert_eq!(outcomes.error_rate(112), 0.0, "too few are left");
        (0..60).for_each(|_| outcomes.count(true, 112));
        assert!(outcomes.error_rate(112) > 0.9);
        outcomes.clear();
        assert_eq!(outcomes.error_rate(112), 0.0);
    }
}
