//! How long a server that could not be reached is left alone: a short pause that doubles with every failure and
//! is forgotten with the first success. It is a preference, not a verdict: with no other server left, one that
//! pauses is tried all the same.

const FIRST: u64 = 100_000;
const LONGEST: u64 = 5_000_000;

/// All in microseconds.
#[derive(Clone, Copy, Default, Debug)]
pub struct Pause {
    until: u64,
    length: u64,
}

impl Pause {
    /// Begins or prolongs the pause. True if the server was fine until now.
    pub fn failed(&mut self, now: u64) -> bool {
        // Requests that were under way when the server went down all fail at once; that is one failure.
        if now < self.until {
            return false;
        }
        let was_fine = self.length == 0;
        self.length = (self.length * 2).clamp(FIRST, LONGEST);
        self.until = now + self.length;
        was_fine
    }

    /// Forgets the failures. True if there were any.
    pub fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.length) > 0 && std::mem::take(&mut self.until) > 0
    }

    pub fn is_over(&self, now: u64) -> bool {
        now >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_ends_with_a_success() {
        let (mut pause, mut now) = (Pause::default(), 0);
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
