//! Rate-limited logging of requests that rsp answered with 502, 503 or 504. A pool that is down must not cost a log
//! line per request: for each pool and reason the first is logged at once, later ones together every ten seconds. All
//! workers share the counts; their lock is taken only for such a response.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::counted::counted;
use crate::base::log_limit::LogLimit;
use crate::exchange::Failure;
use crate::exchange::end::Party;
use crate::net::Network;
use crate::worker::core::Core;
use crate::worker::pair::table::PairKey;

/// Pool name and reason, counted separately; both are bounded in number.
type Kind = (String, Failure);

#[derive(Default)]
struct Count {
    limit: LogLimit,
    /// The server of the last failure.
    server: Option<String>,
}

/// A log line that is due: the number of requests, and the server of the last one.
struct Due {
    kind: Kind,
    times: u64,
    server: Option<String>,
}

impl Due {
    fn say(&self) {
        let (pool, failure) = &self.kind;
        let server = self.server.as_ref().map(|server| format!(" (the last one's server: {server})"));
        log::error!(
            "pool {pool}: {} answered with {}, {}: {}{}",
            counted(self.times, "request"),
            failure.status(),
            failure.end().text(),
            failure.text(),
            server.unwrap_or_default()
        );
    }
}

/// One worker's handle to the shared counts.
pub struct GatewayErrors {
    counts: Arc<Mutex<HashMap<Kind, Count>>>,
    /// When this worker next checks for unlogged counts, in microseconds; `u64::MAX` if it left none.
    look_at: u64,
}

impl Default for GatewayErrors {
    fn default() -> GatewayErrors {
        GatewayErrors { counts: Arc::default(), look_at: u64::MAX }
    }
}

impl GatewayErrors {
    /// Returns a handle to the same counts for another worker.
    pub fn shared(&self) -> GatewayErrors {
        GatewayErrors { counts: self.counts.clone(), look_at: u64::MAX }
    }

    fn count(&mut self, kind: Kind, server: Option<String>, now: u64) -> Option<Due> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(kind.clone()).or_default();
        count.server = server.clone();
        let times = count.limit.count(now);
        let later = count.limit.due_at();
        drop(counts);
        self.look_at = self.look_at.min(later.unwrap_or(u64::MAX));
        times.map(|times| Due { kind, times, server })
    }

    /// Returns the log lines that are due.
    fn due(&mut self, now: u64) -> Vec<Due> {
        let mut counts = lock(&self.counts);
        let due = counts.iter_mut().filter_map(|(kind, count)| {
            let times = count.limit.due(now)?;
            Some(Due { kind: kind.clone(), times, server: count.server.clone() })
        });
        let due = due.collect();
        let later = counts.values().filter_map(|count| count.limit.due_at()).min();
        drop(counts);
        self.look_at = later.unwrap_or(u64::MAX);
        due
    }

    fn rest(&self) -> Vec<Due> {
        let rest = |(kind, count): (&Kind, &mut Count)| {
            let times = count.limit.rest()?;
            Some(Due { kind: kind.clone(), times, server: count.server.clone() })
        };
        lock(&self.counts).iter_mut().filter_map(rest).collect()
    }
}

fn lock(counts: &Mutex<HashMap<Kind, Count>>) -> MutexGuard<'_, HashMap<Kind, Count>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<N: Network> Core<N> {
    /// Counts a request that is answered with a gateway error.
    pub(crate) fn note_gateway_error(&mut self, pair_key: PairKey, failure: Failure) {
        let pair = &self.pairs[pair_key];
        let Some(route) = &pair.route else { return };
        let server = pair.server.as_ref().filter(|_| failure.side() == Party::Server);
        let (pool, server) = (route.pool.config.name.clone(), server.map(|server| server.name().to_string()));
        if let Some(due) = self.gateway_errors.count((pool, failure), server, self.tools.now) {
            due.say();
        }
    }

    /// Returns when `report` is due, in microseconds; `u64::MAX` if nothing is pending.
    pub fn report_at(&self) -> u64 {
        self.gateway_errors.look_at
    }

    /// Logs the counts that are due.
    pub fn report(&mut self) {
        if self.tools.now >= self.gateway_errors.look_at {
            let due = self.gateway_errors.due(self.tools.now);
            due.iter().for_each(Due::say);
        }
    }

    /// Logs all remaining counts at the worker's end.
    pub fn report_rest(&self) {
        self.gateway_errors.rest().iter().for_each(Due::say);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    fn refused() -> Kind {
        ("web".into(), Failure::Refused)
    }

    fn times(due: impl IntoIterator<Item = Due>) -> Vec<(Kind, u64)> {
        due.into_iter().map(|due| (due.kind, due.times)).collect()
    }

    #[test]
    fn each_pool_and_reason_is_logged_at_once_then_every_ten_seconds_with_the_last_server() {
        let mut errors = GatewayErrors::default();
        for kind in [refused(), ("api".into(), Failure::Refused), ("web".into(), Failure::ServerClosed)] {
            assert_eq!(times(errors.count(kind.clone(), None, 0)), [(kind, 1)]);
        }
        assert_eq!(errors.look_at, u64::MAX, "all was said");
        for server in [3, 4] {
            assert!(errors.count(refused(), Some(server.to_string()), 1).is_none());
        }
        assert_eq!(errors.look_at, 10 * SECOND);
        assert!(errors.due(9 * SECOND).is_empty());
        let due = errors.due(10 * SECOND);
        assert_eq!((due[0].server.clone(), times(due)), (Some("4".into()), vec![(refused(), 2)]));
        assert_eq!(errors.look_at, u64::MAX);
    }

    #[test]
    fn workers_share_counts_and_log_each_failure_once() {
        let mut one = GatewayErrors::default();
        let mut two = one.shared();
        assert!(one.count(refused(), None, 0).is_some());
        assert!(two.count(refused(), None, 1).is_none() && one.count(refused(), None, 2).is_none());
        assert_eq!(times(one.due(10 * SECOND)), [(refused(), 2)]);
        assert!(two.due(two.look_at).is_empty());
        assert_eq!(two.look_at, u64::MAX);
        assert!(one.count(refused(), None, 11 * SECOND).is_none());
        assert_eq!((times(two.rest()), times(one.rest())), (vec![(refused(), 1)], vec![]));
    }
}
