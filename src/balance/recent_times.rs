//! How long responses of a pool took lately, for second tries: each worker notes its own, readers sum over the workers.
//!
//! Times are counted in four buckets for each power of two, so a quantile is at most a fifth too long. There are two
//! windows of ten seconds each, the present one and the one before: a quantile is of the last ten to twenty seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The length of a window, in microseconds.
const WINDOW: u64 = 10_000_000;
/// Two bits of a time beside the highest one say its bucket.
const SHIFT: u32 = 2;
const BUCKETS: usize = 32 << SHIFT;
/// A quantile of fewer times says nothing.
pub const LEAST: u64 = 100;

/// One worker's times, on cache lines of its own.
#[repr(align(128))]
pub struct RecentTimes {
    windows: [Window; 2],
}

struct Window {
    /// Its number since the clock's zero.
    number: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

impl Default for RecentTimes {
    fn default() -> RecentTimes {
        let window =
            || Window { number: AtomicU64::new(0), counts: std::array::from_fn(|_| AtomicU32::new(0)) };
        RecentTimes { windows: [window(), window()] }
    }
}

impl RecentTimes {
    /// Notes a time in microseconds; only its worker calls this.
    pub fn note(&self, time: u64, now: u64) {
        let number = now / WINDOW;
        let window = &self.windows[(number % 2) as usize];
        if window.number.load(Relaxed) != number {
            window.counts.iter().for_each(|count| count.store(0, Relaxed));
            window.number.store(number, Relaxed);
        }
        let count = &window.counts[bucket(time)];
        count.store(count.load(Relaxed).saturating_add(1), Relaxed);
    }
}

/// Below a bucket's number, times are shorter. The first ones are wide: 4 µs and less.
fn bucket(time: u64) -> usize {
    let time = time.saturating_add(1 << SHIFT);
    let octave = time.ilog2() - SHIFT;
    let within = (time >> octave) as usize & ((1 << SHIFT) - 1);
    (((octave as usize) << SHIFT) + within).min(BUCKETS - 1)
}

/// The time that those in this bucket do not reach.
fn end(bucket: usize) -> u64 {
    let (octave, within) = (bucket >> SHIFT, bucket & ((1 << SHIFT) - 1));
    ((((1 << SHIFT) + within + 1) as u64) << octave) - (1 << SHIFT)
}

/// The time, in microseconds, that this share of the last ones did not reach; `None` where there were too few.
pub fn quantile(workers: &[Arc<RecentTimes>], share: f64, now: u64) -> Option<u64> {
    let (number, mut sums) = (now / WINDOW, [0_u64; BUCKETS]);
    for window in workers.iter().flat_map(|worker| &worker.windows) {
        if window.number.load(Relaxed) + 1 >= number {
            sums.iter_mut()
                .zip(&window.counts)
                .for_each(|(sum, count)| *sum += u64::from(count.load(Relaxed)));
        }
    }
    let all: u64 = sums.iter().sum();
    if all < LEAST {
        return None;
    }
    let (wanted, mut seen) = ((all as f64 * share).ceil() as u64, 0);
    let found = sums.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    found.map(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_that_ends_at_most_a_fourth_later() {
        let mut last = 0;
        for time in (0..2_000).chain([50_000, 1_234_567, 60_000_000]) {
            let (at, end) = (bucket(time), end(bucket(time)));
            assert!(at >= last && time < end && end <= time + time / 4 + 2, "{time}: {end}");
            last = at;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_of_all_workers_and_needs_enough_times() {
        let workers: Vec<Arc<RecentTimes>> = (0..2).map(|_| Arc::default()).collect();
        (0..60).for_each(|_| workers[0].note(1_000, 1));
        (0..36).for_each(|_| workers[1].note(1_000, 1));
        assert_eq!(quantile(&workers, 0.95, 1), None);
        (0..4).for_each(|_| workers[1].note(200_000, 1));
        let within = |share, low, high| {
            let found = quantile(&workers, share, 1).unwrap();
            assert!((low..=high).contains(&found), "{found}");
        };
        within(0.95, 1_000, 1_250);
        within(0.96, 1_000, 1_250);
        within(0.97, 200_000, 250_000);
    }

    #[test]
    fn times_are_forgotten_after_two_windows() {
        let workers = [Arc::<RecentTimes>::default()];
        (0..LEAST).for_each(|_| workers[0].note(500, WINDOW));
        assert!(quantile(&workers, 0.5, 3 * WINDOW - 1).is_some());
        assert_eq!(quantile(&workers, 0.5, 3 * WINDOW), None);
        workers[0].note(500, 3 * WINDOW);
        assert_eq!(quantile(&workers, 0.5, 3 * WINDOW), None, "the old window is used again");
    }
}
