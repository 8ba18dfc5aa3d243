//! The pause of a server that could not be reached. It is short, doubles with every failure, and ends with the first
//! success. It is only a preference: if no other server is left, a paused one is tried. All workers share it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const FIRST: u64 = 100_000;
const LONGEST: u64 = 5_000_000;

/// Microseconds of the clock common to all workers.
#[derive(Default, Debug)]
pub struct Pause {
    until: AtomicU64,
    length: AtomicU64,
}

impl Pause {
    /// Starts or prolongs the pause. Returns true if the server was not failing before.
    pub fn failed(&self, now: u64) -> bool {
        let (until, length) = (self.until.load(Relaxed), self.length.load(Relaxed));
        // Requests in progress when the server went down all fail at once; they count as one failure.
        if now < until {
            return false;
        }
        let longer = (length * 2).clamp(FIRST, LONGEST);
        if self.until.compare_exchange(until, now + longer, Relaxed, Relaxed).is_err() {
            // Another worker prolonged the pause concurrently, and logs it.
            return false;
        }
        self.length.store(longer, Relaxed);
        length == 0
    }

    /// Ends the pause. Returns true if the server was failing.
    pub fn succeeded(&self) -> bool {
        if self.length.load(Relaxed) == 0 || self.length.swap(0, Relaxed) == 0 {
            return false;
        }
        self.until.store(0, Relaxed);
        true
    }

    pub fn is_over(&self, now: u64) -> bool {
        now >= self.until.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_ends_with_a_success() {
        let (pause, mut now) = (Pause::default(), 0);
        assert!(pause.is_over(0));
        for expected in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            pause.failed(now);
            pause.failed(now + 1);
            assert!(!pause.is_over(now + expected * 1000 - 1));
            now += expected * 1000;
            assert!(pause.is_over(now));
        }
        assert!(!pause.failed(now), "not news");
        assert!(pause.succeeded() && !pause.succeeded());
        assert!(pause.is_over(now));
        assert!(pause.failed(now), "news again");
    }
}
