//! Samples of the counters, one a second, for what happens now: rates and latencies of the last ten seconds. Taken only
//! while there is an admin address or a control socket.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ListenerTotals;
use super::process::cpu_used;
use crate::balance::{Others, PoolState, PoolTotals, ServerTotals};
use crate::base::buffer::Traffic;
use crate::base::cells::CLASSES;
use crate::exchange::counters::Counters;

const EVERY: Duration = Duration::from_secs(1);
/// Seconds that are looked at.
const WINDOW: usize = 10;

/// Everything that is counted, at one time.
#[derive(Clone, Default)]
pub struct Sample {
    pub own: [u64; CLASSES],
    pub traffic: Traffic,
    /// CPU time of the process, in seconds.
    pub cpu: f64,
    pub pools: HashMap<String, PoolSample>,
    /// Of servers of pools that are gone.
    pub gone: ServerTotals,
    pub listeners: HashMap<String, ListenerTotals>,
}

#[derive(Clone, Default)]
pub struct PoolSample {
    pub totals: PoolTotals,
    pub servers: HashMap<String, ServerTotals>,
    /// Of servers that it had.
    pub gone: ServerTotals,
}

pub struct Recent {
    samples: VecDeque<(Instant, Sample)>,
    due: Instant,
}

impl Recent {
    pub fn new(now: Instant) -> Recent {
        Recent { samples: VecDeque::new(), due: now }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn add(&mut self, now: Instant, sample: Sample) {
        if self.samples.len() > WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
        // After a standstill there is nothing to catch up on.
        self.due = if self.due + EVERY > now { self.due + EVERY } else { now + EVERY };
    }

    /// The oldest sample, and how many seconds ago it was taken.
    pub fn before(&self, now: Instant) -> Option<(f64, &Sample)> {
        let (at, sample) = self.samples.front()?;
        let ago = now.saturating_duration_since(*at).as_secs_f64();
        (ago > 0.0).then_some((ago, sample))
    }

    /// The one of a second ago.
    pub fn last(&self, now: Instant) -> Option<(f64, &Sample)> {
        let aged = |(at, _): &&(Instant, Sample)| now.saturating_duration_since(*at) >= EVERY / 2;
        let (at, sample) = self.samples.iter().rev().find(aged)?;
        Some((now.saturating_duration_since(*at).as_secs_f64(), sample))
    }
}

impl Sample {
    pub fn take(
        counters: &[Arc<Counters>],
        (pools, others): (&[Arc<PoolState>], Others),
        listeners: Vec<(String, ListenerTotals)>,
    ) -> Sample {
        let (listeners, cpu) = (listeners.into_iter().collect(), cpu_used());
        let mut sample = Sample { listeners, cpu, ..Sample::default() };
        for counters in counters {
            let own = counters.own.get();
            sample.own.iter_mut().zip(own).for_each(|(sum, more)| *sum += more);
            let Traffic { client_in, client_out, server_in, server_out } = counters.traffic();
            sample.traffic.client_in += client_in;
            sample.traffic.client_out += client_out;
            sample.traffic.server_in += server_in;
            sample.traffic.server_out += server_out;
        }
        for pool in pools {
            let members = pool.members();
            let servers = members.iter().map(|server| (server.name().to_owned(), server.totals()));
            let gone = ServerTotals::default();
            let sampled = PoolSample { totals: pool.totals(), servers: servers.collect(), gone };
            sample.pools.insert(pool.name().to_owned(), sampled);
        }
        let servers = others.servers.into_iter().map(|(pool, _, totals)| (pool, totals));
        for (pool, totals) in servers.chain(others.rest) {
            let pool = sample.pools.get_mut(&pool).map(|pool| &mut pool.gone);
            pool.unwrap_or(&mut sample.gone).add(&totals);
        }
        sample
    }

    /// Requests by class, whoever answered.
    pub fn answers(&self) -> [u64; CLASSES] {
        let pools = self.pools.values().map(PoolSample::answers);
        super::sum_of(pools.chain([self.own, self.gone.answers]))
    }

    pub fn pool(&self, name: &str) -> PoolSample {
        self.pools.get(name).cloned().unwrap_or_default()
    }
}

impl PoolSample {
    pub fn server(&self, name: &str) -> ServerTotals {
        self.servers.get(name).copied().unwrap_or_default()
    }

    /// Of all its servers, also those that it had.
    pub fn all(&self) -> ServerTotals {
        self.servers.values().fold(self.gone, |mut sum, server| {
            sum.add(server);
            sum
        })
    }

    pub fn answers(&self) -> [u64; CLASSES] {
        self.all().answers
    }

    /// Received from all its servers, and sent to them.
    pub fn bytes(&self) -> (u64, u64) {
        let add = |(received, sent), server: &ServerTotals| (received + server.received, sent + server.sent);
        self.servers.values().fold((0, 0), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_are_kept() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut recent = Recent::new(start);
        assert!(recent.before(start).is_none());
        for number in 0..30u32 {
            let sample = Sample { own: [u64::from(number); CLASSES], ..Sample::default() };
            recent.add(start + second * number, sample);
        }
        let now = start + second * 30;
        let (ago, oldest) = recent.before(now).unwrap();
        assert_eq!((ago, oldest.own[0]), (11.0, 19));
        assert_eq!(recent.last(now).unwrap().1.own[0], 29);
        assert_eq!(recent.due(), now);
    }
}
