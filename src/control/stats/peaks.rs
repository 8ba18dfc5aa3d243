//! What haproxy keeps besides counters: the highest values that samples of each second have found (`smax`, `rate_max` and
//! `qmax`; shorter peaks are not seen), averages of the last requests, and what `clear counters all` takes off
//! `show stat`.

use std::collections::HashMap;
use std::time::Instant;

use super::averages::Averages;
use super::recent::PoolSample;
use super::{ListenerTotals, Sample};
use crate::balance::{PHASES, PoolState, ServerTotals};

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
    pools: HashMap<String, Seen>,
    servers: HashMap<(String, String), Seen>,
}

/// What was seen of a pool or a server.
#[derive(Default)]
struct Seen {
    peak: Peak,
    averages: Averages,
    /// When a server last got a request.
    last: Option<Instant>,
}

impl Peaks {
    /// As if nothing had been counted before this sample.
    pub fn since(sample: &Sample) -> Peaks {
        let seen = |totals: &ServerTotals| Seen { averages: Averages::since(totals), ..Seen::default() };
        let pools = sample.pools.iter().map(|(name, pool)| (name.clone(), seen(&pool.all()))).collect();
        let of_pool = |(pool, sample): (&String, &PoolSample)| -> Vec<_> {
            let of = |(name, totals): (&String, &ServerTotals)| ((pool.clone(), name.clone()), seen(totals));
            sample.servers.iter().map(of).collect()
        };
        Peaks { pools, servers: sample.pools.iter().flat_map(of_pool).collect(), ..Peaks::default() }
    }

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
        let queued = state.queue.by_server(&state.members());
        for (name, server) in &pool.servers {
            let tries = rate(server.tries, then.server(name).tries);
            let queue = queued.get(name).copied().unwrap_or_default();
            let peak = Peak { now: server.in_flight, rate: tries, queue, ..Peak::default() };
            (whole.now, whole.rate) = (whole.now + peak.now, whole.rate + tries);
            let known = self.servers.entry((state.name().to_owned(), name.clone())).or_default();
            known.peak.rise(peak);
            known.averages = known.averages.with(server);
            if server.tries > then.server(name).tries {
                known.last = Some(Instant::now());
            }
        }
        let known = self.pools.entry(state.name().to_owned()).or_default();
        known.peak.rise(whole);
        known.averages = known.averages.with(&pool.all());
    }

    pub fn of_process(&self) -> Peak {
        self.process
    }

    pub fn of_listener(&self, name: &str) -> Peak {
        self.listeners.get(name).copied().unwrap_or_default()
    }

    pub fn of_pool(&self, name: &str) -> Peak {
        self.pools.get(name).map(|seen| seen.peak).unwrap_or_default()
    }

    pub fn of_server(&self, pool: &str, name: &str) -> Peak {
        self.server(pool, name).map(|seen| seen.peak).unwrap_or_default()
    }

    /// The times of the phases of the last requests, in microseconds, with those that were counted by now.
    pub fn pool_times(&self, pool: &str, now: &ServerTotals) -> [u64; PHASES] {
        self.pools.get(pool).map(|seen| seen.averages).unwrap_or_default().with(now).get()
    }

    pub fn server_times(&self, pool: &str, name: &str, now: &ServerTotals) -> [u64; PHASES] {
        self.server(pool, name).map(|seen| seen.averages).unwrap_or_default().with(now).get()
    }

    /// Seconds without a request; -1 if there was none.
    pub fn idle_for(&self, pool: &str, name: &str) -> i64 {
        let last = self.server(pool, name).and_then(|seen| seen.last);
        last.map_or(-1, |last| last.elapsed().as_secs() as i64)
    }

    fn server(&self, pool: &str, name: &str) -> Option<&Seen> {
        self.servers.get(&(pool.to_owned(), name.to_owned()))
    }

    /// Forgets the highest values.
    pub fn clear(&mut self) {
        self.process = Peak::default();
        self.listeners.clear();
        self.pools.values_mut().chain(self.servers.values_mut()).for_each(|seen| seen.peak = Peak::default());
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
