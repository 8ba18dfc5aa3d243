//! Which requests of a pool are copied (`mirror`), and how many copies run at a time.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The whole, as a share.
const WHOLE: u64 = 1 << 32;

/// Takes a share of what comes, evenly: of 0.1, every tenth one.
#[derive(Default)]
pub struct Sampler {
    /// What the next ones begin with, below the whole.
    rest: Cell<u64>,
}

impl Sampler {
    /// Whether this one is taken.
    pub fn takes(&self, share: f64) -> bool {
        let sum = self.rest.get() + (share * WHOLE as f64).ceil() as u64;
        self.rest.set(sum % WHOLE);
        sum >= WHOLE
    }
}

/// Copies of a pool's requests that run, of all workers.
#[derive(Clone, Default)]
pub struct CopyCount(Arc<AtomicU32>);

/// One of them, counted until it is dropped.
pub struct CopyPermit(Arc<AtomicU32>);

impl CopyCount {
    pub fn begin(&self, most: u32) -> Option<CopyPermit> {
        let more = |now: u32| (now < most).then(|| now + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok().map(|_| CopyPermit(self.0.clone()))
    }

    /// How many run.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

impl Drop for CopyPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_even() {
        for (share, every) in [(1.0, 1), (0.5, 2), (0.1, 10), (0.02, 50)] {
            let sampler = Sampler::default();
            let taken: Vec<usize> = (1..=1000).filter(|_| sampler.takes(share)).collect();
            let expected = 1000 / every;
            assert!(taken.len().abs_diff(expected) <= 1, "{share}: {}", taken.len());
            assert!(taken.windows(2).all(|two| (two[1] - two[0]).abs_diff(every) <= 1), "{share}: {taken:?}");
        }
        let sampler = Sampler::default();
        assert_eq!((0..300_000).filter(|_| sampler.takes(1.0 / 3.0)).count(), 100_000);
        assert_eq!((0..1000).filter(|_| sampler.takes(1e-12)).count(), 0, "hardly ever");
    }

    #[test]
    fn no_more_copies_run_than_may() {
        let count = CopyCount::default();
        let (first, second) = (count.begin(2), count.begin(2));
        assert!(first.is_some() && second.is_some() && count.begin(2).is_none());
        drop(first);
        assert!(count.begin(2).is_some());
        assert_eq!(count.get(), 1);
    }
}
