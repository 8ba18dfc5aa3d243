//! When to log something that can happen again and again, be it a peer's doing or the machine's: at once, and then not
//! more often than every ten seconds, with how often it happened.

/// Microseconds between two lines.
const PAUSE: u64 = 10_000_000;

#[derive(Default, Debug)]
pub struct LogLimit {
    total: u64,
    said: u64,
    quiet_until: u64,
}

impl LogLimit {
    /// It happened once more. Says how many of it a line has to speak of, if one is due.
    pub fn count(&mut self, now: u64) -> Option<u64> {
        self.total += 1;
        self.due(now)
    }

    /// Somebody else counts, and it has happened so often in all.
    pub fn note_total(&mut self, total: u64) {
        self.total = self.total.max(total);
    }

    /// How many a line has to speak of, if there are any and one is due.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        if now < self.quiet_until {
            return None;
        }
        let new = self.rest()?;
        self.quiet_until = now + PAUSE;
        Some(new)
    }

    /// When a line will be due; `None` while there is nothing to say.
    pub fn due_at(&self) -> Option<u64> {
        (self.total > self.said).then_some(self.quiet_until)
    }

    /// What no line has spoken of, whenever that is: for the end.
    pub fn rest(&mut self) -> Option<u64> {
        let new = self.total - self.said;
        self.said = self.total;
        (new > 0).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_at_once_and_the_others_together_every_ten_seconds() {
        let mut rarely = LogLimit::default();
        assert_eq!((rarely.due(4), rarely.due_at()), (None, None));
        assert_eq!(rarely.count(5), Some(1));
        assert_eq!((rarely.count(6), rarely.count(PAUSE + 4)), (None, None));
        assert_eq!(rarely.count(PAUSE + 5), Some(3));
        assert_eq!(rarely.count(3 * PAUSE), Some(1));
    }

    #[test]
    fn what_was_not_said_is_due_when_the_pause_is_over_and_at_the_end() {
        let mut rarely = LogLimit::default();
        assert_eq!((rarely.count(5), rarely.due_at()), (Some(1), None));
        assert_eq!((rarely.count(6), rarely.due_at()), (None, Some(PAUSE + 5)));
        assert_eq!(
            (rarely.due(PAUSE + 4), rarely.due(PAUSE + 5), rarely.due(3 * PAUSE)),
            (None, Some(1), None)
        );
        assert_eq!((rarely.count(3 * PAUSE), rarely.count(3 * PAUSE + 1)), (Some(1), None));
        assert_eq!((rarely.rest(), rarely.rest()), (Some(1), None));
    }

    #[test]
    fn it_can_be_counted_elsewhere() {
        let mut rarely = LogLimit::default();
        rarely.note_total(5);
        assert_eq!(rarely.due(0), Some(5));
        rarely.note_total(7);
        assert_eq!((rarely.due(1), rarely.due(PAUSE)), (None, Some(2)));
    }
}
