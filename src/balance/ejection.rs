//! Ejection: what requests tell of a server, and the probes that bring it back. Its states are in `state.rs`, what is
//! counted for it in `outcomes.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::server::{Server, lock};
use super::slot::Probe;
use super::state::{Pauses, ServerState};
use crate::base::counted::counted;
use crate::config::Eject;

impl Server {
    /// Requests to it failed, and none was answered since; also while it is ejected.
    pub fn has_failed(&self) -> bool {
        self.outcomes.have_failures()
    }

    /// A request reached the server and was answered, with a status that is no failure.
    pub fn note_success(&self, eject: &Eject, now: u64) {
        if self.state() == ServerState::Ejected {
            return self.end_ejection(eject, now);
        }
        self.outcomes.succeeded();
        if eject.error_rate.is_some() {
            self.outcomes.count(false, now / 1_000_000);
        }
    }

    /// A request that was no probe (as of a script that named the server) was answered after the pause.
    fn end_ejection(&self, eject: &Eject, now: u64) {
        if lock(&self.states).begin_probe(now).is_some() {
            self.end_probe(Some(Ok(())), Pauses::of(eject), now);
        }
    }

    /// A request failed for a reason that speaks against the server.
    pub fn note_failure(&self, eject: &Eject, why: &dyn fmt::Display, now: u64) {
        let in_a_row = self.outcomes.failed();
        if in_a_row >= eject.failures {
            let failures = counted(u64::from(in_a_row), "failure");
            self.eject(eject, &format!("{failures} in a row, the last one: {why}"), now);
        }
        if let Some(most) = eject.error_rate {
            let second = now / 1_000_000;
            self.outcomes.count(true, second);
            let rate = self.outcomes.error_rate(second);
            if rate > 0.0 && rate >= most {
                let percent = (rate * 100.0).round();
                let reason =
                    format!("{percent} % of its requests in the last 10 s failed, the last one: {why}");
                self.eject(eject, &reason, now);
            }
        }
    }

    fn eject(&self, eject: &Eject, why: &str, now: u64) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut states = lock(&self.states);
        // One of weight 0 has only sessions, which go elsewhere when it fails them.
        if states.is_ejected() || states.state() != ServerState::Up || self.weight() == 0 || self.is_gone() {
            return;
        }
        if !pool.may_eject(eject.most) {
            drop(states);
            return pool.say_not_ejected(self, why, now);
        }
        let Some(pause) = states.eject(now, Pauses::of(eject)) else { return };
        self.counts_as_ejected.store(true, Relaxed);
        self.publish(&states, &why);
        drop(states);
        let pause = Duration::from_micros(pause);
        log::warn!("server {self} is ejected for {pause:?}: {why}");
        pool.changed();
    }

    /// When it may be probed, if it is ejected.
    pub fn probe_at(&self) -> Option<u64> {
        lock(&self.states).probe_at()
    }

    /// Begins a probe, if one is due.
    pub fn begin_probe(self: &Arc<Self>, eject: &Eject, now: u64) -> Option<Probe> {
        let pause = lock(&self.states).begin_probe(now)?;
        Some(Probe::new(self.clone(), Pauses::of(eject), pause, now))
    }

    /// `None`: the probe told nothing.
    pub(super) fn end_probe(&self, result: Option<Result<(), String>>, pauses: Pauses, now: u64) {
        let mut states = lock(&self.states);
        let was_ejected = states.is_ejected();
        states.end_probe(result.as_ref().map(Result::is_ok), now, pauses);
        let (after, next) = (states.state(), states.probe_at());
        self.publish(&states, &"it answered a request");
        drop(states);
        match result {
            Some(Err(why)) if was_ejected => {
                let pause = Duration::from_micros(next.unwrap_or(now).saturating_sub(now));
                log::info!("server {self} stays ejected for {pause:?}: the probe failed: {why}");
            }
            Some(Ok(())) if was_ejected => {
                self.outcomes.clear();
                self.uncount_ejected();
                self.comes_back(after, &"it answered a request", now);
            }
            _ => {}
        }
    }
}
