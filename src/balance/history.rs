//! How a server came to its state: for people, who ask since when and why.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::server::lock;
use super::state::ServerState;

/// Longer reasons are cut: servers and scripts have a say in them.
const LONGEST: usize = 200;

/// Since when a server is in its state, and why.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: SystemTime,
    pub reason: String,
    /// How long it was down before.
    pub down: Duration,
}

pub struct History {
    /// How often it came into each state.
    counts: [AtomicU64; ServerState::ALL.len()],
    last: Mutex<Change>,
    failed_checks: AtomicU64,
}

impl History {
    pub(super) fn new(now: SystemTime) -> History {
        let first = Change { at: now, reason: "config".into(), down: Duration::ZERO };
        History { counts: Default::default(), last: Mutex::new(first), failed_checks: AtomicU64::new(0) }
    }

    pub(super) fn note(
        &self,
        before: ServerState,
        after: ServerState,
        why: &dyn fmt::Display,
        now: SystemTime,
    ) {
        self.counts[after as usize].fetch_add(1, Relaxed);
        let mut last = lock(&self.last);
        if before == ServerState::Down {
            let down = now.duration_since(last.at).unwrap_or_default();
            last.down += down;
        }
        last.reason = why.to_string().chars().take(LONGEST).collect();
        last.at = now;
    }

    pub(super) fn note_failed_check(&self) {
        self.failed_checks.fetch_add(1, Relaxed);
    }

    /// Since when it is in its state, and why.
    pub fn last(&self) -> Change {
        lock(&self.last).clone()
    }

    /// How often it came into this state.
    pub fn count(&self, state: ServerState) -> u64 {
        self.counts[state as usize].load(Relaxed)
    }

    pub fn failed_checks(&self) -> u64 {
        self.failed_checks.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_is_told_with_the_time_down_before_it() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let history = History::new(at(0));
        history.note(ServerState::Up, ServerState::Down, &"refused", at(10));
        history.note(ServerState::Down, ServerState::Up, &"x".repeat(1000), at(15));
        let last = history.last();
        assert_eq!((last.at, last.down, last.reason.len()), (at(15), Duration::from_secs(5), LONGEST));
        assert_eq!((history.count(ServerState::Down), history.count(ServerState::Maint)), (1, 0));
    }
}
