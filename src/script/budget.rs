//! Limits on a script: CPU time of one call, and memory.
//!
//! The count hook (ffi/calls.rs) checks the time every so many VM instructions once a call takes long
//! (ffi/watchdog.rs): the watchdog starts it at a tick of the kernel's clock, and a call may have used as much as
//! that before. The first check only starts the clock, so that a short call costs no system call. A spent budget
//! stays spent until the call ends, so that `pcall` in the script cannot continue.
//! spent until the call ends, so a `pcall` in the script cannot turn the failure into another round.

use std::time::Duration;

/// How the message of a spent budget begins.
pub const OVER_TIME: &str = "ran longer than";

/// One handler call on the data path.
pub const CALL: Duration = Duration::from_millis(10);

/// Running the config file and its modules.
pub const CONFIG: Duration = Duration::from_secs(5);

/// Memory of a VM: generous for tables of routes, small beside a proxy's connections.
pub const MEMORY: usize = 64 * 1024 * 1024;

/// VM instructions between two checks of the clock: about 0.1 ms of work.
pub const INSTRUCTIONS: i32 = 10_000;

/// The rest of a call's time, on the thread's CPU clock.
#[derive(Default)]
pub struct Budget {
    limit: Option<Duration>,
    started: Option<Duration>,
    spent: bool,
}

impl Budget {
    pub fn begin(&mut self, limit: Duration) {
        *self = Budget { limit: Some(limit), started: None, spent: false };
    }

    pub fn end(&mut self) {
        *self = Budget::default();
    }

    /// Whether the call has to stop; `now` is called only if needed.
    pub fn is_spent(&mut self, now: impl FnOnce() -> Duration) -> bool {
        let Some(limit) = self.limit else { return false };
        if !self.spent {
            let now = now();
            let started = *self.started.get_or_insert(now);
            self.spent = now.saturating_sub(started) > limit;
        }
        self.spent
    }

    pub fn is_of_config(&self) -> bool {
        self.limit == Some(CONFIG)
    }

    pub fn was_spent(&self) -> bool {
        self.spent
    }

    /// The message for the script's author.
    pub fn text(&self) -> String {
        let limit = self.limit.unwrap_or_default();
        let (number, unit) =
            if limit.as_secs() > 0 { (limit.as_secs() as u128, "s") } else { (limit.as_millis(), "ms") };
        format!("{OVER_TIME} {number} {unit} of CPU time")
    }
}

/// The message for the script's author, in place of Lua's "not enough memory".
pub fn memory_text() -> String {
    format!("not enough memory: a script may use {} MiB", MEMORY / (1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> impl FnOnce() -> Duration {
        move || Duration::from_millis(n)
    }

    #[test]
    fn the_first_check_starts_the_clock_and_a_spent_budget_stays_spent() {
        let mut budget = Budget::default();
        assert!(!budget.is_spent(|| panic!("no clock outside a call")));
        budget.begin(CALL);
        assert!(!budget.is_spent(ms(1000)));
        assert!(!budget.is_spent(ms(1010)));
        assert!(budget.is_spent(ms(1011)));
        assert!(budget.is_spent(|| panic!("the clock is not asked again")));
        budget.end();
        budget.begin(CALL);
        assert!(!budget.is_spent(ms(2000)));
    }

    #[test]
    fn the_text_names_the_limit() {
        let mut budget = Budget::default();
        budget.begin(CALL);
        assert_eq!(budget.text(), "ran longer than 10 ms of CPU time");
        budget.begin(CONFIG);
        assert_eq!(budget.text(), "ran longer than 5 s of CPU time");
    }
}
