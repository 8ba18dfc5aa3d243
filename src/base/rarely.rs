//! When to log something that any peer can make happen again and again: at once, and then not more often than
//! every ten seconds, with how often it happened.

/// Microseconds between two lines.
const PAUSE: u64 = 10_000_000;

#[derive(Default, Debug)]
pub struct Rarely {
    total: u64,
    said: u64,
    quiet_until: u64,
}

impl Rarely {
    /// It happened once more. Says how many of it a line has to speak of, if one is due.
    pub fn count(&mut self, now: u64) -> Option<u64> {
        self.total += 1;
        if now < self.quiet_until {
            return None;
        }
        self.quiet_until = now + PAUSE;
        let new = self.total - self.said;
        self.said = self.total;
        Some(new)
    }

    /// How often it happened since the start.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_together_every_ten_seconds() {
        let mut rarely = Rarely::default();
        assert_eq!(rarely.count(5), Some(1));
        assert_eq!((rarely.count(6), rarely.count(PAUSE + 4)), (None, None));
        assert_eq!(rarely.count(PAUSE + 5), Some(3));
        assert_eq!(rarely.count(3 * PAUSE), Some(1));
        assert_eq!(rarely.total(), 5);
    }
}
