//! Minimum transfer rates. The gap timeouts are satisfied by an occasional byte; a minimum average rate bounds how long
//! a slow client can hold a connection. It is checked when the connection's timer fires, several times per window, and
//! costs nothing in between.

use crate::config::Settings;
use crate::worker::time::timeouts::micros;

/// Checks per window. A client is too slow only if every check finds it to be the one waited for.
pub const CHECKS: u64 = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The client sends its request's body.
    Sending,
    /// The client reads its response.
    Taking,
}

/// The minimum rate: bytes per second, averaged over a window in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MinRate {
    pub rate: u64,
    pub window: u64,
}

impl MinRate {
    /// Returns the configured minimum rate, if any.
    pub fn of(settings: &Settings, direction: Direction) -> Option<MinRate> {
        let Settings { timeouts, min_request_rate, min_response_rate, .. } = settings;
        let (rate, window) = match direction {
            Direction::Sending => (*min_request_rate, timeouts.rate),
            // A pause that the write timeout allows must not count as too slow.
            Direction::Taking => (*min_response_rate, timeouts.rate.max(timeouts.write)),
        };
        (rate > 0).then_some(MinRate { rate, window: micros(window) })
    }

    fn is_met(self, moved: u64, micros: u64) -> bool {
        u128::from(moved) * 1_000_000 >= u128::from(self.rate) * u128::from(micros)
    }
}

/// The start of an exchange's present window.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateWindow {
    began: Option<Mark>,
    looked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    direction: Direction,
    at: u64,
    moved: u64,
}

impl RateWindow {
    /// Checks a client that is being waited for and has moved `moved` bytes of this exchange. Returns true if it moved
    /// too few in the window that ends now.
    pub fn is_too_slow(&mut self, direction: Direction, moved: u64, demand: MinRate, now: u64) -> bool {
        let mark = Mark { direction, at: now, moved };
        // After a long time without checks, something other than the client was waited for.
        let broken = now - std::mem::replace(&mut self.looked, now) > demand.window / 2;
        let Some(began) = self.began.filter(|began| began.direction == direction && !broken) else {
            self.began = Some(mark);
            return false;
        };
        let micros = now - began.at;
        if micros < demand.window {
            return false;
        }
        self.began = Some(mark);
        !demand.is_met(moved.saturating_sub(began.moved), micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const DEMAND: MinRate = MinRate { rate: 100, window: 30 * SECOND };

    /// Checks every three seconds the bytes moved by then. Returns the second at which the client is too slow.
    fn verdict(moved: impl Fn(u64) -> u64) -> Option<u64> {
        let mut pace = RateWindow::default();
        (1..100).map(|n| n * 3).find(|s| pace.is_too_slow(Direction::Sending, moved(*s), DEMAND, s * SECOND))
    }

    #[test]
    fn a_slow_client_is_found_after_one_window_and_the_minimum_rate_is_enough() {
        assert_eq!(verdict(|second| second / 9), Some(33));
        assert_eq!(verdict(|second| second * 99), Some(33));
        assert_eq!(verdict(|second| second * 100), None);
    }

    #[test]
    fn a_burst_counts_only_for_its_own_window() {
        assert_eq!(verdict(|second| if second > 9 { 1 << 30 } else { 0 }), Some(63));
    }

    #[test]
    fn time_not_spent_waiting_for_the_client_does_not_count() {
        let mut pace = RateWindow::default();
        for second in [0, 3, 6, 9, 30, 33, 36, 60, 63] {
            assert!(!pace.is_too_slow(Direction::Sending, 0, DEMAND, second * SECOND));
        }
    }

    #[test]
    fn the_other_direction_starts_a_new_window() {
        let mut pace = RateWindow::default();
        for second in (0..30).step_by(3) {
            assert!(!pace.is_too_slow(Direction::Sending, 0, DEMAND, second * SECOND));
        }
        assert!(!pace.is_too_slow(Direction::Taking, 0, DEMAND, 30 * SECOND));
        assert!(!pace.is_too_slow(Direction::Taking, 0, DEMAND, 33 * SECOND));
    }
}
