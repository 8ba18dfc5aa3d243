//! When a request of a pool with `hedge` is sent to a second server, and how often that may be: at most a share of the
//! pool's requests of the last ten seconds, of all workers.

use std::cell::Cell;
use std::sync::Arc;

use super::budget::{RecentCount, within};
use super::pool_state::PoolState;
use super::recent_times::{RecentTimes, quantile};
use crate::config::{Hedge, HedgeAfter};

/// The quantile of `HedgeAfter::P95`.
const P95: f64 = 0.95;
/// How often a request with a learnt wait is looked at for the budget, after twice the time each: after 1, 2, 4 and 8 times
/// the wait.
const LOOKS: u32 = 4;

/// What the workers know together.
pub(super) struct HedgeState {
    /// One per worker.
    times: Box<[Arc<RecentTimes>]>,
    begun: RecentCount,
}

impl HedgeState {
    pub(super) fn new(workers: usize) -> HedgeState {
        HedgeState { times: (0..workers).map(|_| Arc::default()).collect(), begun: RecentCount::default() }
    }

    pub(super) fn times(&self, worker: usize) -> Arc<RecentTimes> {
        self.times[worker].clone()
    }
}

impl PoolState {
    /// Whether the budget has one more second try, for a request that has been looked at `looks` times before.
    pub fn may_hedge(&self, hedge: &Hedge, looks: u32, now: u64) -> bool {
        let share = hedge.budget * part_of_budget(hedge, looks);
        within(share, 0.0, &self.requests, &self.hedges.begun, now / 1_000_000)
    }

    /// Takes one from the budget.
    pub fn hedge_begins(&self, now: u64) {
        self.hedges.begun.add(now / 1_000_000);
    }
}

/// One worker's view.
pub struct HedgeTimes {
    own: Arc<RecentTimes>,
    /// The present wait, and the second in which it was looked up.
    wait: Cell<(u64, Option<u64>)>,
}

impl HedgeTimes {
    pub(super) fn new(state: &PoolState, worker: usize) -> HedgeTimes {
        HedgeTimes { own: state.hedges.times(worker), wait: Cell::new((u64::MAX, None)) }
    }

    /// A server took so long to begin its response, or has not begun one after so long, in microseconds.
    pub fn note(&self, time: u64, now: u64) {
        self.own.note(time, now);
    }

    /// How long a request waits for its first server, in microseconds; `None` while too little is known.
    pub fn wait(&self, hedge: &Hedge, state: &PoolState, now: u64) -> Option<u64> {
        if let HedgeAfter::Time(time) = hedge.after {
            return Some(time.as_micros() as u64);
        }
        let (second, wait) = self.wait.get();
        if second == now / 1_000_000 {
            return wait;
        }
        let wait = quantile(&state.hedges.times, share_that_waits(hedge.budget), now);
        self.wait.set((now / 1_000_000, wait));
        wait
    }
}

/// The part of the budget that is there for a request at its first look, and after so many: a half, three quarters, seven
/// eighths, all. So where many are a little slow at once, something is left for those that take much longer.
fn part_of_budget(hedge: &Hedge, looks: u32) -> f64 {
    if looks_again(hedge, looks) { 1.0 - 0.5_f64.powi(looks as i32 + 1) } else { 1.0 }
}

/// Whether a request for which the budget had nothing at this look may have something later.
pub fn looks_again(hedge: &Hedge, looks: u32) -> bool {
    hedge.after == HedgeAfter::P95 && looks + 1 < LOOKS
}

/// A budget of less than five in a hundred would be used up by requests that are only a little slow.
fn share_that_waits(budget: f64) -> f64 {
    P95.max(1.0 - budget)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::tests::pool_of;

    #[test]
    fn second_tries_are_a_share_of_the_requests_without_a_floor() {
        let pool = pool_of(2, &[None]);
        let hedge = Hedge { after: HedgeAfter::Time(Duration::from_millis(20)), budget: 0.02 };
        let take = |now| {
            let may = pool.may_hedge(&hedge, 0, now);
            may.then(|| pool.hedge_begins(now)).is_some()
        };
        assert!(!take(50_000_000), "there was no request");
        for worker in 0..2 {
            let requests = pool.request_counter(worker);
            requests.tick(50);
            (0..100).for_each(|_| requests.add());
        }
        let taken = (0..20).filter(|_| take(50_500_000)).count();
        assert_eq!(taken, 4);
        assert!(!take(80_000_000), "those requests are long ago");
    }

    #[test]
    fn a_part_of_the_budget_is_for_those_that_take_much_longer_than_the_learnt_wait() {
        let pool = pool_of(1, &[None]);
        pool.request_counter(0).tick(50);
        (0..800).for_each(|_| pool.request_counter(0).add());
        let hedge = Hedge { after: HedgeAfter::P95, budget: 0.01 };
        let mut all = 0;
        let taken = [0, 1, 2, 3].map(|looks| {
            while pool.may_hedge(&hedge, looks, 50_000_000) {
                pool.hedge_begins(50_000_000);
                all += 1;
            }
            all
        });
        assert_eq!(taken, [4, 6, 7, 8]);
        assert!(looks_again(&hedge, 2) && !looks_again(&hedge, 3));
        let fixed = Hedge { after: HedgeAfter::Time(Duration::from_millis(20)), ..hedge };
        assert!(!looks_again(&fixed, 0));
    }

    #[test]
    fn the_wait_is_the_configured_one_or_what_few_responses_exceed() {
        let pool = pool_of(1, &[None]);
        let times = HedgeTimes::new(&pool, 0);
        let fixed = Hedge { after: HedgeAfter::Time(Duration::from_millis(20)), budget: 0.1 };
        assert_eq!(times.wait(&fixed, &pool, 0), Some(20_000));
        let learnt = Hedge { after: HedgeAfter::P95, budget: 0.1 };
        (0..96).for_each(|_| times.note(1_000, 0));
        assert_eq!(times.wait(&learnt, &pool, 0), None, "of too few");
        (0..4).for_each(|_| times.note(100_000, 0));
        assert_eq!(times.wait(&learnt, &pool, 500_000), None, "once a second");
        assert!((1_000..1_300).contains(&times.wait(&learnt, &pool, 1_000_000).unwrap()));
        let scarce = Hedge { budget: 0.01, ..learnt };
        assert!(times.wait(&scarce, &pool, 2_000_000).unwrap() >= 100_000, "the budget is for the slowest");
    }
}
