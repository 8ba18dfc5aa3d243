//! When to say that log lines were lost: at once, and then not more often than every ten seconds, so that a log
//! that cannot keep up is not made busier by complaints about it.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Losses {
    reported: u64,
    last: Option<Instant>,
}

impl Losses {
    /// How many losses of `total` are to be reported now.
    pub fn due(&mut self, total: u64, now: Instant) -> Option<u64> {
        match self.wait(total, now) {
            Some(Duration::ZERO) => {
                self.last = Some(now);
                self.rest(total)
            }
            _ => None,
        }
    }

    /// How long until a report is due; `None` while there is nothing to report.
    pub fn wait(&self, total: u64, now: Instant) -> Option<Duration> {
        if total == self.reported {
            return None;
        }
        Some(self.last.map_or(Duration::ZERO, |last| PAUSE.saturating_sub(now.duration_since(last))))
    }

    /// What was not reported yet, whenever it is: for the end.
    pub fn rest(&mut self, total: u64) -> Option<u64> {
        let lost = total - self.reported;
        self.reported = total;
        (lost > 0).then_some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_reported_at_once_and_then_every_ten_seconds() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((losses.due(0, at(0)), losses.wait(0, at(0))), (None, None));
        assert_eq!(losses.due(5, at(1)), Some(5));
        assert_eq!((losses.due(5, at(2)), losses.wait(5, at(2))), (None, None));
        assert_eq!((losses.due(8, at(4)), losses.wait(8, at(4))), (None, Some(Duration::from_secs(7))));
        assert_eq!(losses.due(9, at(11)), Some(4));
        assert_eq!((losses.due(12, at(12)), losses.rest(12), losses.rest(12)), (None, Some(3), None));
    }
}
