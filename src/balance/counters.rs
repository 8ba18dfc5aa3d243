//! What happened at servers and in pools: cells that each worker writes by itself, and readers sum. The cells of servers
//! and pools that are gone are kept for a while, so that one that a reload removes and another one brings back goes on
//! counting; the number of those is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use super::server::lock;
use crate::base::cells::{CLASSES, Classes, Count, Histogram, Most, Spread};

/// Upper bounds of `request_seconds`, in microseconds.
pub const REQUEST_BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Servers that are gone and whose counters are kept, and the same of pools.
const KEPT_SERVERS: usize = 256;
const KEPT_POOLS: usize = 64;

/// One worker's counters of a server. Only that worker writes them, on cache lines of their own (some processors fetch
/// them in pairs).
#[derive(Default)]
#[repr(align(128))]
pub struct ServerCounters {
    pub(super) in_flight: AtomicU32,
    /// Requests that were sent here, also those that were tried elsewhere afterwards.
    pub tries: Count,
    /// Connections that are open, and those of them that are idle.
    pub connections: Count,
    pub idle: Count,
    /// Responses that clients got.
    pub answers: Classes,
    /// Body bytes received from clients for it and sent to them.
    pub received: Count,
    pub sent: Count,
    /// Connections that failed, and those opened.
    pub connect_errors: Count,
    pub opened: Count,
    /// Responses that failed, whatever became of the request.
    pub response_errors: Count,
    /// Requests that went on to another server.
    pub redispatched: Count,
    /// Requests that clients left, and responses that ended before they were whole.
    pub client_aborts: Count,
    pub server_aborts: Count,
    pub phases: PhaseTimes,
}

/// How long the phases of requests took that a server answered, in microseconds; not of tunnels.
#[derive(Default)]
pub struct PhaseTimes {
    requests: Count,
    sums: [Count; PHASES],
    longest: [Most; PHASES],
}

/// In the queue, connecting, until the response began, and all together.
pub const PHASES: usize = 4;

impl PhaseTimes {
    pub fn add(&self, times: [u32; PHASES]) {
        self.requests.add(1);
        for (at, time) in times.into_iter().enumerate() {
            self.sums[at].add(time.into());
            self.longest[at].raise(time.into());
        }
    }
}

/// One worker's counters of a pool.
#[derive(Default)]
#[repr(align(128))]
pub struct PoolCounters {
    /// From the first byte of the request to the end.
    pub seconds: Histogram<{ REQUEST_BOUNDS.len() }>,
    /// Requests that were sent again, to whichever server.
    pub retries: Count,
    /// Second tries, and copies, by what became of them.
    pub hedges: [Count; HedgeEnd::ALL.len()],
    pub mirrors: [Count; MirrorEnd::ALL.len()],
}

/// Whose response the client got of a request that was sent to a second server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HedgeEnd {
    Second,
    First,
    /// The client left, or rsp answered.
    None,
}

impl HedgeEnd {
    pub const ALL: [HedgeEnd; 3] = [HedgeEnd::Second, HedgeEnd::First, HedgeEnd::None];

    pub fn text(self) -> &'static str {
        match self {
            HedgeEnd::Second => "second",
            HedgeEnd::First => "first",
            HedgeEnd::None => "none",
        }
    }
}

/// What became of the copy of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MirrorEnd {
    /// A whole response came.
    Answered,
    /// None came, or only a part.
    Failed,
    /// The response was too long, or took too long.
    Cut,
    /// No copy was made: as many as may run did.
    Full,
    /// No copy was made: the body was not held whole.
    Body,
}

impl MirrorEnd {
    pub const ALL: [MirrorEnd; 5] =
        [MirrorEnd::Answered, MirrorEnd::Failed, MirrorEnd::Cut, MirrorEnd::Full, MirrorEnd::Body];

    pub fn text(self) -> &'static str {
        match self {
            MirrorEnd::Answered => "answered",
            MirrorEnd::Failed => "failed",
            MirrorEnd::Cut => "cut",
            MirrorEnd::Full => "full",
            MirrorEnd::Body => "body",
        }
    }
}

impl PoolCounters {
    pub fn hedge_ends(&self, end: HedgeEnd) {
        self.hedges[end as usize].add(1);
    }

    pub fn mirror_ends(&self, end: MirrorEnd) {
        self.mirrors[end as usize].add(1);
    }
}

/// The cells of all workers.
pub type ServerCells = Box<[Arc<ServerCounters>]>;
pub type PoolCells = Box<[Arc<PoolCounters>]>;

/// What the cells of a server come to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ServerTotals {
    pub in_flight: u64,
    pub tries: u64,
    pub connections: u64,
    pub idle: u64,
    pub answers: [u64; CLASSES],
    pub received: u64,
    pub sent: u64,
    pub connect_errors: u64,
    pub opened: u64,
    pub response_errors: u64,
    pub redispatched: u64,
    pub client_aborts: u64,
    pub server_aborts: u64,
    /// How many requests the times of phases are of, and their sums in microseconds.
    pub timed: u64,
    pub phases: [u64; PHASES],
}

impl ServerTotals {
    pub fn of(cells: &[Arc<ServerCounters>]) -> ServerTotals {
        let mut sum = ServerTotals::default();
        for cell in cells {
            sum.add(&ServerTotals {
                in_flight: cell.in_flight.load(Relaxed).into(),
                tries: cell.tries.get(),
                connections: cell.connections.get(),
                idle: cell.idle.get(),
                answers: cell.answers.get(),
                received: cell.received.get(),
                sent: cell.sent.get(),
                connect_errors: cell.connect_errors.get(),
                opened: cell.opened.get(),
                response_errors: cell.response_errors.get(),
                redispatched: cell.redispatched.get(),
                client_aborts: cell.client_aborts.get(),
                server_aborts: cell.server_aborts.get(),
                timed: cell.phases.requests.get(),
                phases: std::array::from_fn(|at| cell.phases.sums[at].get()),
            });
        }
        sum
    }

    /// The longest times of phases, in microseconds.
    pub fn longest(cells: &[Arc<ServerCounters>]) -> [u64; PHASES] {
        let longest = |at: usize| cells.iter().map(|cell| cell.phases.longest[at].get()).max();
        std::array::from_fn(|at| longest(at).unwrap_or_default())
    }

    pub fn forget_longest(cells: &[Arc<ServerCounters>]) {
        cells.iter().flat_map(|cell| &cell.phases.longest).for_each(Most::clear);
    }

    pub fn add(&mut self, more: &ServerTotals) {
        self.combine(more, u64::wrapping_add);
    }

    /// What was counted since an earlier reading. What is there now (requests in flight, connections) stays.
    pub fn since(mut self, before: &ServerTotals) -> ServerTotals {
        let zero = ServerTotals { in_flight: 0, connections: 0, idle: 0, ..*before };
        self.combine(&zero, u64::saturating_sub);
        self
    }

    fn combine(&mut self, other: &ServerTotals, with: fn(u64, u64) -> u64) {
        // Lists every field, so that one added later is not forgotten here.
        let ServerTotals {
            in_flight,
            tries,
            connections,
            idle,
            answers,
            received,
            sent,
            connect_errors,
            opened,
            response_errors,
            redispatched,
            client_aborts,
            server_aborts,
            timed,
            phases,
        } = self;
        *in_flight = with(*in_flight, other.in_flight);
        *tries = with(*tries, other.tries);
        *connections = with(*connections, other.connections);
        *idle = with(*idle, other.idle);
        answers.iter_mut().zip(other.answers).for_each(|(sum, more)| *sum = with(*sum, more));
        *received = with(*received, other.received);
        *sent = with(*sent, other.sent);
        *connect_errors = with(*connect_errors, other.connect_errors);
        *opened = with(*opened, other.opened);
        *response_errors = with(*response_errors, other.response_errors);
        *redispatched = with(*redispatched, other.redispatched);
        *client_aborts = with(*client_aborts, other.client_aborts);
        *server_aborts = with(*server_aborts, other.server_aborts);
        *timed = with(*timed, other.timed);
        phases.iter_mut().zip(other.phases).for_each(|(sum, more)| *sum = with(*sum, more));
    }
}

/// What the cells of a pool come to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PoolTotals {
    pub seconds: Spread,
    pub retries: u64,
    pub hedges: [u64; HedgeEnd::ALL.len()],
    pub mirrors: [u64; MirrorEnd::ALL.len()],
}

impl PoolTotals {
    pub fn of(cells: &[Arc<PoolCounters>]) -> PoolTotals {
        let mut sum = PoolTotals::default();
        for cell in cells {
            sum.seconds.add(&cell.seconds.read());
            sum.retries += cell.retries.get();
            sum.hedges.iter_mut().zip(&cell.hedges).for_each(|(sum, count)| *sum += count.get());
            sum.mirrors.iter_mut().zip(&cell.mirrors).for_each(|(sum, count)| *sum += count.get());
        }
        sum
    }
}

/// Counters of servers and pools that are gone, the latest last, and the clock by which servers tell since when they are
/// as they are.
#[derive(Default)]
pub struct Former {
    clock: OnceLock<fn() -> SystemTime>,
    servers: Mutex<VecDeque<(String, String, ServerCells)>>,
    pools: Mutex<VecDeque<(String, PoolCells)>>,
    /// What servers counted that are not kept any more, by pool; of pools that are not, under no name.
    rest: Mutex<HashMap<String, ServerTotals>>,
}

impl Former {
    /// Sets the clock, once: without one it is always 1970.
    pub fn set_clock(&self, clock: fn() -> SystemTime) {
        let _ = self.clock.set(clock);
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.get().map_or(SystemTime::UNIX_EPOCH, |clock| clock())
    }

    pub(super) fn keep_server(&self, pool: &str, server: &str, cells: &ServerCells) {
        let mut kept = lock(&self.servers);
        kept.retain(|(of, name, _)| (of.as_str(), name.as_str()) != (pool, server));
        kept.push_back((pool.to_owned(), server.to_owned(), cells.clone()));
        if kept.len() > KEPT_SERVERS
            && let Some((pool, _, cells)) = kept.pop_front()
        {
            // What is in flight there is told no more.
            let totals = ServerTotals { in_flight: 0, connections: 0, idle: 0, ..ServerTotals::of(&cells) };
            lock(&self.rest).entry(pool).or_default().add(&totals);
        }
    }

    /// The server is back, with its own cells.
    pub(super) fn forget_server(&self, pool: &str, server: &str) {
        lock(&self.servers).retain(|(of, name, _)| (of.as_str(), name.as_str()) != (pool, server));
    }

    pub(super) fn take_server(&self, pool: &str, server: &str, workers: usize) -> ServerCells {
        let mut kept = lock(&self.servers);
        let at = kept.iter().position(|(of, name, _)| (of.as_str(), name.as_str()) == (pool, server));
        let found = at.and_then(|at| kept.remove(at)).map(|(_, _, cells)| cells);
        found.unwrap_or_else(|| (0..workers).map(|_| Arc::default()).collect())
    }

    pub(super) fn keep_pool(&self, pool: &str, cells: &PoolCells) {
        let mut kept = lock(&self.pools);
        kept.retain(|(name, _)| name != pool);
        kept.push_back((pool.to_owned(), cells.clone()));
        if kept.len() > KEPT_POOLS
            && let Some((pool, _)) = kept.pop_front()
        {
            let mut rest = lock(&self.rest);
            let of_pool = rest.remove(&pool).unwrap_or_default();
            rest.entry(String::new()).or_default().add(&of_pool);
        }
    }

    pub(super) fn take_pool(&self, pool: &str, workers: usize) -> PoolCells {
        let mut kept = lock(&self.pools);
        let at = kept.iter().position(|(name, _)| name == pool);
        let found = at.and_then(|at| kept.remove(at)).map(|(_, cells)| cells);
        found.unwrap_or_else(|| (0..workers).map(|_| Arc::default()).collect())
    }

    /// What servers counted that are not kept any more, by pool.
    pub fn rest(&self) -> HashMap<String, ServerTotals> {
        lock(&self.rest).clone()
    }

    /// Of each server: pool, name and counters.
    pub fn servers(&self) -> Vec<(String, String, ServerTotals)> {
        let kept = lock(&self.servers);
        let totals = |(pool, name, cells): &(String, String, ServerCells)| {
            (pool.clone(), name.clone(), ServerTotals::of(cells))
        };
        kept.iter().map(totals).collect()
    }

    pub fn pools(&self) -> Vec<(String, PoolTotals)> {
        let kept = lock(&self.pools);
        kept.iter().map(|(name, cells)| (name.clone(), PoolTotals::of(cells))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Servers;
    use crate::balance::tests::config;

    #[test]
    fn a_server_that_comes_back_goes_on_counting() {
        let servers = Servers::new(2);
        let pools = servers.of(&config(&[2]));
        pools.pools[0].members()[1].cells()[1].tries.add(7);
        Servers::adopt(&config(&[1]), &pools, &|_, _| None);
        assert_eq!(servers.former().servers().len(), 1);
        assert_eq!(servers.former().servers()[0].2.tries, 7);
        Servers::adopt(&config(&[2]), &pools, &|_, _| None);
        assert_eq!(pools.pools[0].members()[1].totals().tries, 7);
        assert!(servers.former().servers().is_empty());
    }

    #[test]
    fn a_server_that_comes_back_while_a_request_has_it_counts_once() {
        let servers = Servers::new(1);
        let pools = servers.of(&config(&[2]));
        let used = pools.pools[0].members()[1].clone();
        used.cells()[0].tries.add(7);
        Servers::adopt(&config(&[1]), &pools, &|_, _| None);
        assert_eq!(servers.others(&pools.pools).servers.len(), 1);
        Servers::adopt(&config(&[2]), &pools, &|_, _| None);
        assert!(Arc::ptr_eq(&used, &pools.pools[0].members()[1]));
        assert!(servers.others(&pools.pools).servers.is_empty());
    }

    #[test]
    fn what_many_former_servers_counted_stays_with_their_pool() {
        let servers = Servers::new(1);
        let pools = servers.of(&config(&[300]));
        pools.pools[0].members().iter().for_each(|server| server.cells()[0].tries.add(1));
        Servers::adopt(&config(&[1]), &pools, &|_, _| None);
        let others = servers.others(&pools.pools);
        let kept: u64 = others.servers.iter().map(|(_, _, totals)| totals.tries).sum();
        assert_eq!((others.servers.len(), kept, others.rest["p0"].tries), (KEPT_SERVERS, 256, 43));
    }

    #[test]
    fn a_pool_that_a_reload_removed_is_told_while_a_request_has_it() {
        let servers = Servers::new(1);
        let used = servers.of(&config(&[1])).pools.remove(0);
        used.members()[0].cells()[0].tries.add(5);
        let others = servers.others(&[]);
        assert_eq!((others.pools.len(), others.servers[0].2.tries), (1, 5));
        drop(used);
        assert_eq!(servers.others(&[]).servers[0].2.tries, 5, "and when it is gone");
    }

    #[test]
    fn a_pool_that_comes_back_goes_on_counting() {
        let servers = Servers::new(1);
        let pools = servers.of(&config(&[1]));
        pools.pools[0].cells()[0].retries.add(3);
        pools.pools[0].members()[0].cells()[0].tries.add(2);
        drop(pools);
        assert_eq!(servers.former().pools()[0].1.retries, 3);
        let pools = servers.of(&config(&[1]));
        assert_eq!((pools.pools[0].totals().retries, pools.pools[0].members()[0].totals().tries), (3, 2));
    }

    #[test]
    fn the_counters_of_what_is_gone_are_bounded() {
        let former = Former::default();
        for number in 0..2 * KEPT_SERVERS {
            former.keep_server("p", &number.to_string(), &former.take_server("p", "x", 1));
            former.keep_pool(&number.to_string(), &former.take_pool("x", 1));
        }
        assert_eq!((former.servers().len(), former.pools().len()), (KEPT_SERVERS, KEPT_POOLS));
        assert_eq!(former.servers()[0].1, KEPT_SERVERS.to_string(), "the earliest go first");
    }

    #[test]
    fn what_is_there_now_is_not_taken_off() {
        let before =
            ServerTotals { in_flight: 4, tries: 10, connections: 5, idle: 1, ..ServerTotals::default() };
        let now =
            ServerTotals { in_flight: 2, tries: 15, connections: 3, idle: 1, ..ServerTotals::default() };
        let since = now.since(&before);
        assert_eq!((since.in_flight, since.tries, since.connections, since.idle), (2, 5, 3, 1));
    }
}
