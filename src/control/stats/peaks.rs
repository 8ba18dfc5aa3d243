//! The highest values that samples of each second have found: haproxy's `smax`, `rate_max` and `qmax`. Shorter peaks are
//! not seen. And what `clear counters all` takes off `show stat`.

use std::collections::HashMap;
use std::time::Instant;

use super::recent::PoolSample;
use super::{ListenerTotals, Sample};
use crate::balance::{PoolState, ServerTotals};

/// Of a listener, a pool or a server.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Peak {
    /// Connections or requests at a time.
    pub now: u64,
    /// Connections or requests a second.
    pub rate: u64,
    /// Requests a second of a listener.
    pub requests: u64,
    pub queue: u64,
}

impl Peak {
    fn rise(&mut self, to: Peak) {
        self.now = self.now.max(to.now);
        self.rate = self.rate.max(to.rate);
        self.requests = self.requests.max(to.requests);
        self.queue = self.queue.max(to.queue);
    }
}

#[derive(Default)]
pub struct Peaks {
    process: Peak,
    listeners: HashMap<String, Peak>,
    pools: HashMap<String, Peak>,
    servers: HashMap<(String, String), (Peak, Option<Instant>)>,
}

impl Peaks {
    /// A sample was taken `ago` seconds after the one before.
    pub fn note(&mut self, pools: &[std::sync::Arc<PoolState>], now: &Sample, before: &Sample, ago: f64) {
        let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / ago).round() as u64;
        let mut accepted = 0;
        self.listeners.retain(|name, _| now.listeners.contains_key(name));
        for (name, totals) in &now.listeners {
            let then = before.listeners.get(name).copied().unwrap_or_default();
            let requests = |totals: &ListenerTotals| totals.answers.iter().sum::<u64>();
            let peak = Peak {
                now: totals.connections,
                rate: rate(totals.accepted, then.accepted),
                requests: rate(requests(totals), requests(&then)),
                queue: 0,
            };
            accepted += peak.rate;
            self.listeners.entry(name.clone()).or_default().rise(peak);
        }
        self.process.rise(Peak { rate: accepted, ..Peak::default() });
        self.pools.retain(|name, _| now.pools.contains_key(name));
        self.servers.retain(|(pool, name), _| {
            now.pools.get(pool).is_some_and(|pool| pool.servers.contains_key(name))
        });
        for pool in pools {
            self.note_pool(pool, now, before, rate);
        }
    }

    fn note_pool(
        &mut self,
        state: &PoolState,
        now: &Sample,
        before: &Sample,
        rate: impl Fn(u64, u64) -> u64,
    ) {
        let (pool, then) = (now.pool(state.name()), before.pool(state.name()));
        let mut whole = Peak { queue: state.queue.count() as u64, ..Peak::default() };
        for (name, server) in &pool.servers {
            let tries = rate(server.tries, then.server(name).tries);
            let peak = Peak { now: server.in_flight, rate: tries, ..Peak::default() };
            (whole.now, whole.rate) = (whole.now + peak.now, whole.rate + tries);
            let known = self.servers.entry((state.name().to_owned(), name.clone())).or_default();
            known.0.rise(peak);
            if server.tries > then.server(name).tries {
                known.1 = Some(Instant::now());
            }
        }
        self.pools.entry(state.name().to_owned()).or_default().rise(whole);
    }

    pub fn of_process(&self) -> Peak {
        self.process
    }

    pub fn of_listener(&self, name: &str) -> Peak {
        self.listeners.get(name).copied().unwrap_or_default()
    }

    pub fn of_pool(&self, name: &str) -> Peak {
        self.pools.get(name).copied().unwrap_or_default()
    }

    pub fn of_server(&self, pool: &str, name: &str) -> Peak {
        self.server(pool, name).map_or(Peak::default(), |(peak, _)| *peak)
    }

    /// Seconds without a request; -1 if there was none.
    pub fn idle_for(&self, pool: &str, name: &str) -> i64 {
        let last = self.server(pool, name).and_then(|(_, last)| *last);
        last.map_or(-1, |last| last.elapsed().as_secs() as i64)
    }

    fn server(&self, pool: &str, name: &str) -> Option<&(Peak, Option<Instant>)> {
        self.servers.get(&(pool.to_owned(), name.to_owned()))
    }

    pub fn clear(&mut self) {
        let last =
            |(key, (_, last)): ((String, String), (Peak, Option<Instant>))| (key, (Peak::default(), last));
        let servers = std::mem::take(&mut self.servers).into_iter().map(last).collect();
        *self = Peaks { servers, ..Peaks::default() };
    }
}

/// What the counters were when they were cleared.
#[derive(Default)]
pub struct Cleared(Option<Sample>);

impl Cleared {
    pub fn at(sample: Sample) -> Cleared {
        Cleared(Some(sample))
    }

    pub fn listener(&self, name: &str) -> ListenerTotals {
        self.0.as_ref().and_then(|sample| sample.listeners.get(name)).copied().unwrap_or_default()
    }

    /// Of all servers that it had then.
    pub fn pool(&self, name: &str) -> ServerTotals {
        let pool = self.0.as_ref().and_then(|sample| sample.pools.get(name));
        pool.map_or(ServerTotals::default(), PoolSample::all)
    }

    pub fn server(&self, pool: &str, name: &str) -> ServerTotals {
        let pool = self.0.as_ref().and_then(|sample| sample.pools.get(pool));
        pool.map_or(ServerTotals::default(), |pool| pool.server(name))
    }
}
