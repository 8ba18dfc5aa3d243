//! What is measured of a run.

use crate::origin::Origin;
use crate::world::{BEGIN, Load, SECOND, Setup};

pub struct Figures {
    /// Requests that arrived before this are not measured.
    from: u64,
    /// The time in which some server had a fault; all of it if none had.
    faults: (u64, u64),
    /// Of all answers, in microseconds.
    times: Vec<u64>,
    requests: u64,
    failed: u64,
    /// Requests that arrived during faults, and their tries.
    requests_in_faults: u64,
    tries_in_faults: u64,
    /// From the end of the last fault to the first answer of a server.
    recovered: Option<u64>,
    /// The average number of requests in flight on a server, if that is given.
    average: Option<f64>,
    /// Requests of the busiest server divided by the average, by weight.
    spread: f64,
    /// The most requests in flight on one server at any moment, divided by the average.
    peak: Option<f64>,
    /// A server had more requests in flight than its limit.
    over_limit: bool,
}

impl Figures {
    pub fn new(setup: &Setup) -> Figures {
        let second = |number: u64| BEGIN + number * SECOND;
        let first = setup.episodes.iter().map(|episode| second(episode.from)).min();
        let last = setup.episodes.iter().map(|episode| second(episode.until)).max();
        let average = match setup.load {
            Load::Open(_) => None,
            Load::Closed(count) => Some(count as f64 / setup.servers.len() as f64),
        };
        Figures {
            from: BEGIN + setup.seconds * SECOND / 10,
            faults: (first.unwrap_or(BEGIN), last.unwrap_or(u64::MAX)),
            times: Vec::new(),
            requests: 0,
            failed: 0,
            requests_in_faults: 0,
            tries_in_faults: 0,
            recovered: None,
            average,
            spread: 0.0,
            peak: None,
            over_limit: false,
        }
    }

    fn in_faults(&self, arrived: u64) -> bool {
        (self.faults.0..self.faults.1).contains(&arrived)
    }

    pub fn tried(&mut self, arrived: u64) {
        self.tries_in_faults += u64::from(self.in_faults(arrived));
    }

    pub fn answered(&mut self, arrived: u64, now: u64, success: bool) {
        self.requests_in_faults += u64::from(self.in_faults(arrived));
        if success && now >= self.faults.1 && self.recovered.is_none() {
            self.recovered = Some(now - self.faults.1);
        }
        if arrived >= self.from {
            self.requests += 1;
            self.failed += u64::from(!success);
            if success {
                self.times.push(now - arrived);
            }
        }
    }

    /// The run ended before its answer: it has waited at least so long.
    pub fn unanswered(&mut self, arrived: u64, end: u64) {
        self.requests_in_faults += u64::from(self.in_faults(arrived));
        if (self.from..end).contains(&arrived) {
            self.requests += 1;
            self.times.push(end - arrived);
        }
    }

    pub fn count_servers(&mut self, origins: &[Origin]) {
        let shares = origins.iter().map(|origin| origin.received as f64 / f64::from(origin.spec.weight));
        let (most, sum) =
            shares.fold((0.0, 0.0), |(most, sum): (f64, f64), share| (most.max(share), sum + share));
        self.spread = most * origins.len() as f64 / sum;
        let peak = origins.iter().map(|origin| origin.peak).max().unwrap_or(0);
        self.peak = self.average.map(|average| f64::from(peak) / average);
        self.over_limit =
            origins.iter().any(|origin| origin.spec.max_connections.is_some_and(|most| origin.peak > most));
    }

    fn time_at(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        self.times
            .get(((self.times.len() as f64 * share) as usize).min(last))
            .map_or(0.0, |time| *time as f64)
    }

    /// Each with its name.
    pub fn list(mut self) -> Vec<(&'static str, f64)> {
        self.times.sort_unstable();
        let mut list = vec![
            ("requests", self.requests as f64),
            ("p50_us", self.time_at(0.5)),
            ("p99_us", self.time_at(0.99)),
            ("spread", self.spread),
            ("attempts", self.tries_in_faults as f64 / self.requests_in_faults.max(1) as f64),
            ("failed", self.failed as f64 / self.requests.max(1) as f64),
            ("over_limit", f64::from(u8::from(self.over_limit))),
        ];
        list.extend(self.peak.map(|peak| ("peak", peak)));
        list.extend(self.recovered.map(|time| ("recovered_us", time as f64)));
        list
    }
}
