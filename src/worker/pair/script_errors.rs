//! Rate-limited logging of script failures. Requests can trigger failures and influence their messages, so one line per
//! request would let any client fill the log: the first failure at a place is logged at once, later ones together every
//! ten seconds, with the last as the example. The number of places is bounded; places beyond it share one line.

use crate::base::log_limit::LogLimit;
use crate::exchange::Failure;
use crate::script::ScriptError;

/// Places counted separately.
const PLACES: usize = 16;

#[derive(Default)]
pub struct ScriptErrors {
    /// The function that failed, and where (`site.lua:12`).
    known: Vec<(&'static str, String, LogLimit)>,
    others: LogLimit,
}

impl ScriptErrors {
    /// Logs that a call of `function` failed at `now`; `then` describes the consequence.
    pub fn log(&mut self, function: &'static str, error: &ScriptError, then: &str, now: u64) {
        if let Some(times) = self.count(function, error.place(), now) {
            log::error!("{function}: {}{then}{}", error.0, so_often(times));
        }
    }

    /// Returns the number of failures for a log line, if one is due.
    fn count(&mut self, function: &'static str, place: &str, now: u64) -> Option<u64> {
        let known = self.known.iter_mut().find(|(of, at, _)| *of == function && at == place);
        if let Some((_, _, limit)) = known {
            return limit.count(now);
        }
        if self.known.len() == PLACES {
            return self.others.count(now);
        }
        let mut limit = LogLimit::default();
        let times = limit.count(now);
        self.known.push((function, place.to_string(), limit));
        times
    }
}

/// What a failed call means for its request.
pub fn failure_of(error: &ScriptError) -> Failure {
    if error.is_short_of_memory() { Failure::ScriptMemory } else { Failure::Script }
}

fn so_often(times: u64) -> String {
    match times {
        1 => String::new(),
        times => format!(" ({times} times like this since the last line)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn the_first_failure_at_a_place_is_logged_at_once_and_later_ones_together() {
        let mut errors = ScriptErrors::default();
        assert_eq!(errors.count("on_request", "a.lua:1", 0), Some(1));
        assert_eq!(errors.count("on_request", "a.lua:1", 1), None);
        assert_eq!(errors.count("on_request", "a.lua:2", 2), Some(1));
        assert_eq!(errors.count("balance", "a.lua:1", 3), Some(1));
        assert_eq!(errors.count("on_request", "a.lua:1", 10 * SECOND), Some(2));
    }

    #[test]
    fn places_beyond_the_limit_share_one_line() {
        let mut errors = ScriptErrors::default();
        let logged = (0..1000).filter(|n| errors.count("on_request", &format!("x.lua:{n}"), 0).is_some());
        assert_eq!(logged.count(), PLACES + 1);
        assert_eq!(errors.count("on_request", "x.lua:5000", 10 * SECOND), Some(1000 - PLACES as u64));
        assert!(errors.known.len() == PLACES);
    }

    #[test]
    fn only_a_line_for_several_failures_has_a_count() {
        assert_eq!(so_often(1), "");
        assert_eq!(so_often(7), " (7 times like this since the last line)");
    }
}
