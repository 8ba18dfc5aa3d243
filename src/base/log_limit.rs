//! Rate limit for log lines about repeated events: the first is logged at once, the others together at most every ten
//! seconds with their count.

/// Microseconds between two lines.
const INTERVAL: u64 = 10_000_000;

#[derive(Default, Debug)]
pub struct LogLimit {
    total: u64,
    reported: u64,
    quiet_until: u64,
}

impl LogLimit {
    /// Counts one event. Returns how many events to report, if a line is due.
    pub fn count(&mut self, now: u64) -> Option<u64> {
        self.total += 1;
        self.due(now)
    }

    /// Sets the total, for events that are counted elsewhere.
    pub fn note_total(&mut self, total: u64) {
        self.total = self.total.max(total);
    }

    /// How many events to report, if there are any and a line is due.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        if now < self.quiet_until {
            return None;
        }
        let new = self.rest()?;
        self.quiet_until = now + INTERVAL;
        Some(new)
    }

    /// When the next line is due; `None` if all events were reported.
    pub fn due_at(&self) -> Option<u64> {
        (self.total > self.reported).then_some(self.quiet_until)
    }

    /// Events not reported yet, due or not: for the last line at shutdown.
    pub fn rest(&mut self) -> Option<u64> {
        let new = self.total - self.reported;
        self.reported = self.total;
        (new > 0).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_at_once_and_the_others_together_every_ten_seconds() {
        let mut limit = LogLimit::default();
        assert_eq!((limit.due(4), limit.due_at()), (None, None));
        assert_eq!(limit.count(5), Some(1));
        assert_eq!((limit.count(6), limit.count(INTERVAL + 4)), (None, None));
        assert_eq!(limit.count(INTERVAL + 5), Some(3));
        assert_eq!(limit.count(3 * INTERVAL), Some(1));
    }

    #[test]
    fn unreported_events_are_due_after_the_interval_and_at_shutdown() {
        let mut limit = LogLimit::default();
        assert_eq!((limit.count(5), limit.due_at()), (Some(1), None));
        assert_eq!((limit.count(6), limit.due_at()), (None, Some(INTERVAL + 5)));
        assert_eq!(
            (limit.due(INTERVAL + 4), limit.due(INTERVAL + 5), limit.due(3 * INTERVAL)),
            (None, Some(1), None)
        );
        assert_eq!((limit.count(3 * INTERVAL), limit.count(3 * INTERVAL + 1)), (Some(1), None));
        assert_eq!((limit.rest(), limit.rest()), (Some(1), None));
    }

    #[test]
    fn events_can_be_counted_elsewhere() {
        let mut limit = LogLimit::default();
        limit.note_total(5);
        assert_eq!(limit.due(0), Some(5));
        limit.note_total(7);
        assert_eq!((limit.due(1), limit.due(INTERVAL)), (None, Some(2)));
    }
}
