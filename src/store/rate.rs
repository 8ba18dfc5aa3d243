//! Rate limits (GCRA, the generic cell rate algorithm): of each key only the time is kept at which its bucket is full
//! again. A request moves that on by one interval, and is refused where that were further away than the bucket lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::table::{Bounds, Change, Entry, Table};

/// How much a key may have, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Between two requests at an even pace.
    pub interval: u64,
    /// How many pass at once.
    pub burst: u64,
}

/// When a bucket is full again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FullAt(pub u64);

impl Entry for FullAt {
    fn expires(&self) -> u64 {
        self.0
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// What a key has left.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Left {
    pub requests: u64,
    /// Until one more passes, if none does now.
    pub wait: u64,
    /// Until the bucket is full.
    pub full_in: u64,
}

impl Rate {
    fn depth(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    /// No bucket is emptier than empty: one that was emptied under another rate fills at this one.
    fn capped(&self, FullAt(at): FullAt, now: u64) -> FullAt {
        FullAt(at.min(now.saturating_add(self.depth())))
    }

    /// When the bucket is full again after one more request, or how long that has to wait.
    pub fn take(&self, full_at: Option<FullAt>, now: u64) -> Result<FullAt, u64> {
        let full_at = full_at.map_or(now, |at| self.capped(at, now).0.max(now)).saturating_add(self.interval);
        match full_at.saturating_sub(now) {
            ahead if ahead <= self.depth() => Ok(FullAt(full_at)),
            ahead => Err(ahead - self.depth()),
        }
    }

    pub fn left(&self, full_at: Option<FullAt>, now: u64) -> Left {
        let full_in = full_at.map_or(0, |at| self.capped(at, now).0.saturating_sub(now));
        let requests = self.depth().saturating_sub(full_in) / self.interval.max(1);
        Left { requests, wait: self.take(full_at, now).err().unwrap_or(0), full_in }
    }
}

/// The buckets of one name, and what became of requests.
pub struct RateLimit {
    table: Table<FullAt>,
    refused: AtomicU64,
    would_refuse: AtomicU64,
}

impl RateLimit {
    pub fn new(entries: usize, seed: [u64; 2]) -> RateLimit {
        RateLimit {
            table: Table::new(entries, seed),
            refused: AtomicU64::new(0),
            would_refuse: AtomicU64::new(0),
        }
    }

    pub(super) fn table(&self) -> &Table<FullAt> {
        &self.table
    }

    pub fn entries(&self) -> usize {
        self.table.entries()
    }

    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Requests over the limit that passed since it is only tried.
    pub fn would_refuse(&self) -> u64 {
        self.would_refuse.load(Relaxed)
    }
}

/// A rate limit as a config says it.
pub struct Limiter {
    pub limit: Arc<RateLimit>,
    pub rate: Rate,
    pub bounds: Bounds,
    /// Nothing is refused, only counted.
    pub dry_run: bool,
}

impl Limiter {
    /// Takes one request of this key, or says how many nanoseconds it has to wait.
    pub fn allow(&self, key: &[u8], now: u64) -> Option<u64> {
        let table = &self.limit.table;
        let wait = table.access(table.key(key), now, self.bounds, |entry| {
            match (self.rate.take(entry.as_deref().copied(), now), entry) {
                (Err(wait), Some(entry)) => match self.rate.capped(*entry, now) {
                    capped if capped == *entry => (Change::Keep, Some(wait)),
                    capped => (Change::Put(capped), Some(wait)),
                },
                (Err(wait), None) => (Change::Keep, Some(wait)),
                (Ok(full_at), Some(entry)) => {
                    *entry = full_at;
                    (Change::Keep, None)
                }
                (Ok(full_at), None) => (Change::Put(full_at), None),
            }
        });
        wait.and_then(|wait| self.refuse(wait))
    }

    fn refuse(&self, wait: u64) -> Option<u64> {
        let counter = if self.dry_run { &self.limit.would_refuse } else { &self.limit.refused };
        counter.fetch_add(1, Relaxed);
        (!self.dry_run).then_some(wait)
    }

    /// What the key has left; takes nothing.
    pub fn left(&self, key: &[u8], now: u64) -> Left {
        let table = &self.limit.table;
        table.peek(table.key(key), now, |entry| self.rate.left(entry.copied(), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const WIDE: Bounds = Bounds { entries: usize::MAX, memory: usize::MAX };

    fn limiter(rate: Rate, bounds: Bounds) -> Limiter {
        Limiter {
            limit: Arc::new(RateLimit::new(bounds.entries.min(100_000), [1, 2])),
            rate,
            bounds,
            dry_run: false,
        }
    }

    #[test]
    fn the_burst_passes_at_once_and_the_rest_at_an_even_pace() {
        let limiter = limiter(Rate { interval: 100 * MS, burst: 3 }, WIDE);
        let take = |now| limiter.allow(b"client", now);
        assert_eq!([take(0), take(0), take(0), take(0)], [None, None, None, Some(100 * MS)]);
        assert_eq!([take(40 * MS), take(99 * MS)], [Some(60 * MS), Some(MS)]);
        assert_eq!([take(100 * MS), take(100 * MS)], [None, Some(100 * MS)]);
        assert_eq!(limiter.limit.refused(), 4);
        let left = |now| limiter.left(b"client", now);
        assert_eq!(left(100 * MS), Left { requests: 0, wait: 100 * MS, full_in: 300 * MS });
        assert_eq!(left(250 * MS), Left { requests: 1, wait: 0, full_in: 150 * MS });
        assert_eq!(left(9000 * MS), Left { requests: 3, wait: 0, full_in: 0 });
        assert_eq!(limiter.allow(b"other", 100 * MS), None);
    }

    /// A bucket of tokens that are added one by one, counted in nanoseconds to stay exact.
    struct Bucket {
        filled: u64,
        at: u64,
    }

    #[test]
    fn it_agrees_with_a_bucket_of_tokens() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let rate = Rate { interval: 1 + next(1000), burst: 1 + next(20) };
            let limiter = limiter(rate, WIDE);
            let mut bucket = Bucket { filled: rate.interval * rate.burst, at: 0 };
            let mut now = 0;
            for _ in 0..500 {
                now += next(rate.interval * 2);
                bucket.filled = (bucket.filled + (now - bucket.at)).min(rate.interval * rate.burst);
                bucket.at = now;
                let passes = bucket.filled >= rate.interval;
                let wait = rate.interval.saturating_sub(bucket.filled);
                let left = limiter.left(b"k", now);
                assert_eq!((left.requests, left.wait), (bucket.filled / rate.interval, wait));
                assert_eq!(limiter.allow(b"k", now), if passes { None } else { Some(wait) });
                if passes {
                    bucket.filled -= rate.interval;
                }
            }
        }
    }

    #[test]
    fn threads_together_take_no_more_than_the_burst() {
        let limiter = limiter(Rate { interval: 1 << 40, burst: 1000 }, WIDE);
        let took = |key: &[u8]| (0..2000).filter(|_| limiter.allow(key, 5).is_none()).count();
        for key in [&b"a"[..], b"b"] {
            let all: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| took(key))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(all, 1000);
        }
    }

    #[test]
    fn full_buckets_make_room_first() {
        let bounds = Bounds { entries: 3, memory: usize::MAX };
        let limiter = limiter(Rate { interval: 10, burst: 5 }, bounds);
        let passes = |key: &[u8], now| limiter.allow(key, now).is_none();
        assert!((0..5).all(|_| passes(b"busy", 0)));
        assert!(passes(b"full at 10", 0) && passes(b"full at 11", 1) && passes(b"new", 12));
        assert_eq!((limiter.limit.entries(), limiter.limit.evicted()), (3, 0));
        assert!(passes(b"busy", 12) && !passes(b"busy", 12), "the busy one is still known");
        assert!(passes(b"newer", 15));
        assert_eq!((limiter.limit.entries(), limiter.limit.evicted()), (3, 0));
    }

    #[test]
    fn a_changed_rate_holds_at_once() {
        let before = limiter(Rate { interval: 3600, burst: 10 }, WIDE);
        assert!((0..10).all(|_| before.allow(b"k", 0).is_none()));
        let with = |rate| Limiter { limit: before.limit.clone(), rate, bounds: WIDE, dry_run: false };
        let larger = with(Rate { interval: 3600, burst: 12 });
        assert_eq!([larger.allow(b"k", 0), larger.allow(b"k", 0)], [None, None]);
        let faster = with(Rate { interval: 1, burst: 10 });
        assert_eq!([faster.allow(b"k", 0), faster.allow(b"k", 0)], [Some(1), Some(1)]);
        assert_eq!([faster.allow(b"k", 1), faster.allow(b"k", 1)], [None, Some(1)]);
        assert_eq!(faster.left(b"k", 100).requests, 10);
    }

    #[test]
    fn a_dry_run_only_counts() {
        let limiter = Limiter { dry_run: true, ..limiter(Rate { interval: 10, burst: 1 }, WIDE) };
        assert!((0..5).all(|_| limiter.allow(b"k", 0).is_none()));
        assert_eq!((limiter.limit.refused(), limiter.limit.would_refuse()), (0, 4));
    }
}
