//! Limits on a script: CPU time of one call, and memory.
//!
//! The count hook (ffi/calls.rs) checks the time every so many VM instructions once a call takes long
//! (ffi/watchdog.rs): the watchdog starts it at a tick of the kernel's clock, and a call may have used as much as
//! that before. The first check only starts the clock, so that a short call costs no system call. An exhausted
//! budget stays exhausted until the call ends, so that `pcall` in the script cannot continue.

use std::time::Duration;

/// How the message of an exhausted budget begins.
pub const OVER_TIME: &str = "ran longer than";

/// Running the config file and its modules.
pub const CONFIG: Duration = Duration::from_secs(5);

/// VM instructions between two checks of the clock: about 0.1 ms of work.
pub const INSTRUCTIONS: i32 = 10_000;

/// The rest of a call's time, on the thread's CPU clock.
#[derive(Default)]
pub struct Budget {
    limit: Option<Duration>,
    started: Option<Duration>,
    /// Before the call waited.
    used: Duration,
    exhausted: bool,
}

impl Budget {
    pub fn begin(&mut self, limit: Duration) {
        *self = Budget { limit: Some(limit), ..Budget::default() };
    }

    pub fn end(&mut self) {
        *self = Budget::default();
    }

    /// The call resumes after a wait: all that it runs from now on counts.
    pub fn resume(&mut self, now: Duration) {
        self.started = Some(now);
    }

    /// The call has to stop.
    pub fn exhaust(&mut self) {
        self.exhausted = true;
    }

    /// The call used more than its limit before it waited.
    pub fn is_over_limit(&self) -> bool {
        self.limit.is_some_and(|limit| self.used > limit)
    }

    /// What is left of it while the call waits.
    pub fn pause(self, now: impl FnOnce() -> Duration) -> Budget {
        let ran = self.started.map_or(Duration::ZERO, |started| now().saturating_sub(started));
        Budget { started: None, used: self.used + ran, ..self }
    }

    /// Returns true if the call has to stop before work that takes at least as long as `ahead`; `now` is called only if
    /// needed. `used` is what the call took, at least, before the first check.
    pub fn exhausts(&mut self, now: impl FnOnce() -> Duration, used: Duration, ahead: Duration) -> bool {
        let Some(limit) = self.limit else { return false };
        if !self.exhausted {
            let now = now();
            let started = *self.started.get_or_insert(now.saturating_sub(used));
            self.exhausted =
                self.used.saturating_add(now.saturating_sub(started)).saturating_add(ahead) > limit;
        }
        self.exhausted
    }

    pub fn is_of_config(&self) -> bool {
        self.limit == Some(CONFIG)
    }

    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The message for the script's author.
    pub fn text(&self) -> String {
        let limit = self.limit.unwrap_or_default();
        let (number, unit) = if limit.subsec_millis() == 0 {
            (limit.as_secs() as u128, "s")
        } else {
            (limit.as_millis(), "ms")
        };
        format!("{OVER_TIME} {number} {unit} of CPU time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_millis(10);

    impl Budget {
        fn check(&mut self, now: impl FnOnce() -> Duration) -> bool {
            self.exhausts(now, Duration::ZERO, Duration::ZERO)
        }
    }

    fn ms(n: u64) -> impl FnOnce() -> Duration {
        move || Duration::from_millis(n)
    }

    #[test]
    fn the_first_check_starts_the_clock_and_an_exhausted_budget_stays_exhausted() {
        let mut budget = Budget::default();
        assert!(!budget.check(|| panic!("no clock outside a call")));
        budget.begin(CALL);
        assert!(!budget.check(ms(1000)));
        assert!(!budget.check(ms(1010)));
        assert!(budget.check(ms(1011)));
        assert!(budget.check(|| panic!("the clock is not asked again")));
        budget.end();
        budget.begin(CALL);
        assert!(!budget.check(ms(2000)));
    }

    #[test]
    fn waiting_takes_no_time_and_gives_none_back() {
        let mut budget = Budget::default();
        budget.begin(CALL);
        assert!(!budget.check(ms(100)));
        budget = budget.pause(ms(106));
        assert!(!budget.check(ms(500)));
        assert!(!budget.check(ms(504)));
        assert!(budget.check(ms(505)));
        assert_eq!(budget.text(), "ran longer than 10 ms of CPU time");
    }

    #[test]
    fn work_that_would_exceed_the_budget_is_refused_before_it_is_done() {
        let mut budget = Budget::default();
        let none = Duration::ZERO;
        assert!(!budget.exhausts(|| panic!("no clock outside a call"), none, Duration::MAX));
        budget.begin(CALL);
        assert!(!budget.exhausts(ms(1000), none, CALL));
        assert!(budget.exhausts(ms(1001), none, CALL));
        assert!(budget.is_exhausted());
        budget.begin(CALL);
        assert!(budget.exhausts(ms(1000), none, Duration::MAX));
    }

    #[test]
    fn what_was_used_before_the_first_check_counts() {
        let mut budget = Budget::default();
        budget.begin(CALL);
        assert!(!budget.exhausts(ms(1000), CALL, Duration::ZERO));
        assert!(budget.check(ms(1001)));
    }

    #[test]
    fn the_text_names_the_limit() {
        let mut budget = Budget::default();
        budget.begin(CALL);
        assert_eq!(budget.text(), "ran longer than 10 ms of CPU time");
        budget.begin(CONFIG);
        assert_eq!(budget.text(), "ran longer than 5 s of CPU time");
        budget.begin(Duration::from_millis(1500));
        assert_eq!(budget.text(), "ran longer than 1500 ms of CPU time");
    }
}
