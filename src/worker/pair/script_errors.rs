//! Rate-limited logging of script failures. Requests can trigger failures and influence their messages, so one line per
//! request would let any client fill the log: the first failure of a kind is logged at once, later ones together every
//! ten seconds, with the last as the example. A kind is a function, a place and a message. The number of messages of a
//! place, and of places, is bounded; those beyond share one line.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::log_limit::LogLimit;
use crate::exchange::Failure;
use crate::script::ScriptError;

/// Places counted separately.
const PLACES: usize = 16;
/// Messages of a place counted separately.
const MESSAGES: usize = 4;

#[derive(Default)]
pub struct ScriptErrors {
    known: Vec<Known>,
    others: LogLimit,
}

/// Failures of one function at one place.
struct Known {
    function: &'static str,
    /// `site.lua:12`
    place: String,
    /// By their hashes.
    messages: Vec<(u64, LogLimit)>,
    others: LogLimit,
}

impl ScriptErrors {
    /// Logs that a call of `function` failed at `now`; `then` describes the consequence.
    pub fn log(&mut self, function: &'static str, error: &ScriptError, then: &str, now: u64) {
        if let Some(times) = self.count(function, error.place(), &error.0, now) {
            log::error!("{function}: {}{then}{}", error.0, repeat_suffix(times));
        }
    }

    /// Logs a failed call and returns the failure of its request.
    pub fn failed(&mut self, function: &'static str, error: &ScriptError, now: u64) -> Failure {
        self.log(function, error, "", now);
        if error.is_short_of_memory() { Failure::ScriptMemory } else { Failure::Script }
    }

    /// Logs that `on_response` failed, and that the response is passed on all the same.
    pub fn response_unchanged(&mut self, error: &ScriptError, now: u64) {
        self.log("on_response", error, " (the response passes as it came)", now);
    }

    /// Returns the number of failures for a log line, if one is due.
    fn count(&mut self, function: &'static str, place: &str, message: &str, now: u64) -> Option<u64> {
        let is_same = |known: &Known| known.function == function && known.place == place;
        let at = match self.known.iter().position(is_same) {
            Some(at) => at,
            None if self.known.len() == PLACES => return self.others.count(now),
            None => {
                let (place, messages, others) = (place.to_string(), Vec::new(), LogLimit::default());
                self.known.push(Known { function, place, messages, others });
                self.known.len() - 1
            }
        };
        self.known[at].count(message, now)
    }
}

impl Known {
    fn count(&mut self, message: &str, now: u64) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some((_, limit)) = self.messages.iter_mut().find(|(known, _)| *known == hash) {
            return limit.count(now);
        }
        if self.messages.len() == MESSAGES {
            return self.others.count(now);
        }
        let mut limit = LogLimit::default();
        let times = limit.count(now);
        self.messages.push((hash, limit));
        times
    }
}

fn repeat_suffix(times: u64) -> String {
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
    fn the_first_failure_of_a_kind_is_logged_at_once_and_later_ones_together() {
        let mut errors = ScriptErrors::default();
        assert_eq!(errors.count("on_request", "a.lua:1", "no", 0), Some(1));
        assert_eq!(errors.count("on_request", "a.lua:1", "no", 1), None);
        assert_eq!(errors.count("on_request", "a.lua:2", "no", 2), Some(1));
        assert_eq!(errors.count("balance", "a.lua:1", "no", 3), Some(1));
        assert_eq!(errors.count("on_request", "a.lua:1", "another", 4), Some(1));
        assert_eq!(errors.count("on_request", "a.lua:1", "no", 10 * SECOND), Some(2));
    }

    #[test]
    fn places_and_messages_beyond_the_limit_share_one_line() {
        let mut errors = ScriptErrors::default();
        let mut count = |n: usize, now| errors.count("on_request", &format!("x.lua:{n}"), "no", now);
        let logged = (0..1000).filter(|n| count(*n, 0).is_some());
        assert_eq!(logged.count(), PLACES + 1);
        assert_eq!(count(5000, 10 * SECOND), Some(1000 - PLACES as u64));
        assert!(errors.known.len() == PLACES);
        let mut errors = ScriptErrors::default();
        let mut count = |n: usize, now| errors.count("on_request", "x.lua:1", &format!("no {n}"), now);
        let logged = (0..1000).filter(|n| count(*n, 0).is_some());
        assert_eq!(logged.count(), MESSAGES + 1);
        assert_eq!(count(5000, 10 * SECOND), Some(1000 - MESSAGES as u64));
        assert_eq!(errors.known[0].messages.len(), MESSAGES);
        assert_eq!(errors.count("on_request", "x.lua:2", "no 1", 0), Some(1), "another place is not hidden");
    }

    #[test]
    fn only_a_line_for_several_failures_has_a_count() {
        assert_eq!(repeat_suffix(1), "");
        assert_eq!(repeat_suffix(7), " (7 times like this since the last line)");
    }
}
