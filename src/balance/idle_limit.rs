//! How long a server keeps an idle connection, learnt from when it closes them and from `Keep-Alive: timeout=`. A
//! connection that is retired before that does not die under a request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::server::lock;

/// Two closes tell of a limit if their ages differ by less than this share.
const ALIKE: f64 = 0.15;
/// Of a learnt limit this share is used: the rest is the way of the request to the server.
const USED: f64 = 0.85;
/// A limit that is not confirmed again is forgotten after this time, in microseconds: the server may have changed.
const REMEMBERED: u64 = 600_000_000;

/// Younger connections die of other reasons, as when a server is killed.
const SHORTEST: u64 = 100_000;

/// All times are in microseconds.
#[derive(Default, Debug)]
pub struct IdleLimit {
    /// The age of the last connection that the server closed, and when.
    last: Option<(u64, u64)>,
    /// The limit, and when it was last confirmed.
    learnt: Option<(u64, u64)>,
}

impl IdleLimit {
    /// The server closed a connection that was idle for `age`. One close tells nothing: a server that restarts closes
    /// all of them at once, of any age.
    pub fn closed(&mut self, age: u64, now: u64) {
        if age < SHORTEST {
            return;
        }
        let before = self.last.replace((age, now));
        let Some((other, at)) = before else { return };
        let alike = age.abs_diff(other) as f64 <= ALIKE * age.max(other) as f64;
        if alike && now.saturating_sub(at) > age / 2 {
            self.learnt = Some((age.min(other), now));
        }
    }

    /// The server named its limit.
    pub fn told(&mut self, limit: u64, now: u64) {
        self.learnt = Some((limit, now));
    }

    /// For how long a connection may stay idle, at most `configured`.
    pub fn within(&self, configured: u64, now: u64) -> u64 {
        match self.learnt {
            Some((limit, at)) if now.saturating_sub(at) < REMEMBERED => {
                configured.min((limit as f64 * USED) as u64)
            }
            _ => configured,
        }
    }
}

/// The limit of one server, learnt by all workers.
pub struct LearntIdleLimit {
    limit: Mutex<IdleLimit>,
    /// What it comes to, in microseconds; `u64::MAX` if nothing is known.
    idle_for: AtomicU64,
    /// The limit that the server named last, and the minute.
    told: AtomicU64,
}

impl Default for LearntIdleLimit {
    fn default() -> LearntIdleLimit {
        let (limit, told) = (Mutex::default(), AtomicU64::new(0));
        LearntIdleLimit { limit, idle_for: AtomicU64::new(u64::MAX), told }
    }
}

impl LearntIdleLimit {
    /// The server closed a connection that was idle for `age` microseconds.
    pub fn note_close(&self, age: u64, now: u64) {
        self.learn(now, |limit| limit.closed(age, now));
    }

    /// The server named its limit (`Keep-Alive: timeout=`), in microseconds.
    pub fn note_limit(&self, limit: u64, now: u64) {
        // Most servers say so with every response: once a minute is enough.
        let word = limit << 16 | (now / 60_000_000) & 0xffff;
        if self.told.load(Relaxed) != word {
            self.told.store(word, Relaxed);
            self.learn(now, |known| known.told(limit, now));
        }
    }

    /// Forgets a limit that was not confirmed for long. Called once a second.
    pub fn review(&self, now: u64) {
        if self.get() != u64::MAX {
            self.learn(now, |_| {});
        }
    }

    fn learn(&self, now: u64, lesson: impl FnOnce(&mut IdleLimit)) {
        let mut limit = lock(&self.limit);
        lesson(&mut limit);
        self.idle_for.store(limit.within(u64::MAX, now), Relaxed);
    }

    /// How long a connection may stay idle, as far as it is learnt, in microseconds.
    pub fn get(&self) -> u64 {
        self.idle_for.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn two_closes_at_the_same_age_tell_the_limit() {
        let mut limit = IdleLimit::default();
        limit.closed(SECOND, 10 * SECOND);
        assert_eq!(limit.within(4 * SECOND, 10 * SECOND), 4 * SECOND, "one tells nothing");
        limit.closed(SECOND + 3000, 12 * SECOND);
        assert_eq!(limit.within(4 * SECOND, 12 * SECOND), 850_000);
        assert_eq!(limit.within(500_000, 12 * SECOND), 500_000, "the config's is shorter");
    }

    #[test]
    fn a_restart_that_closes_all_at_once_is_not_taken_for_a_limit() {
        let mut limit = IdleLimit::default();
        for age in [1_300_000, 1_310_000, 2_000_000, 1_305_000] {
            limit.closed(age, 100 * SECOND);
        }
        (0..3).for_each(|n| limit.closed(90_000, (101 + n) * SECOND));
        assert_eq!(limit.within(4 * SECOND, 100 * SECOND), 4 * SECOND);
    }

    #[test]
    fn a_limit_is_given_up_after_ten_minutes() {
        let mut limit = IdleLimit::default();
        limit.told(5 * SECOND, 0);
        assert_eq!(limit.within(60 * SECOND, SECOND), 4_250_000);
        assert_eq!(limit.within(60 * SECOND, REMEMBERED), 60 * SECOND);
    }
}
