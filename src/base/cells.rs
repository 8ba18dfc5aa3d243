//! Counters with one writer and any number of readers. A worker writes its own, with a load and a store: no locked
//! instruction, and no cache line that two workers write. Readers sum over the workers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread changes and any may read.
#[derive(Default, Debug)]
pub struct Count(AtomicU64);

impl Count {
    /// Only its one writer calls this.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// Only its one writer calls this.
    pub fn subtract(&self, less: u64) {
        self.0.store(self.0.load(Relaxed).saturating_sub(less), Relaxed);
    }

    /// Only its one writer calls this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The highest value that one thread has seen. Any thread may set it back; a value that comes at that very moment may be
/// lost.
#[derive(Default, Debug)]
pub struct Most(AtomicU64);

impl Most {
    /// Only its one writer calls this.
    pub fn raise(&self, value: u64) {
        if value > self.0.load(Relaxed) {
            self.0.store(value, Relaxed);
        }
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Responses by the hundreds of their status, from 1xx to 9xx; the first is none.
#[derive(Default, Debug)]
pub struct Classes([Count; CLASSES]);

pub const CLASSES: usize = 10;

impl Classes {
    /// Counts a response of this status.
    #[inline]
    pub fn add(&self, status: u16) {
        self.0[class_of(status)].add(1);
    }

    pub fn get(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.0[class].get())
    }
}

pub fn class_of(status: u16) -> usize {
    usize::from(status / 100).min(CLASSES - 1)
}

/// Values by upper bounds, and their sum. The bounds are the kind's, given with each value.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Of each bound, those that are not within the one before.
    within: [Count; N],
    beyond: Count,
    sum: Count,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram {
            within: std::array::from_fn(|_| Count::default()),
            beyond: Count::default(),
            sum: Count::default(),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Only its one writer calls this. Small values, which are the many, find their place first.
    pub fn observe(&self, bounds: &[u64; N], value: u64) {
        let place = bounds.iter().position(|bound| value <= *bound);
        match place {
            Some(place) => self.within[place].add(1),
            None => self.beyond.add(1),
        }
        self.sum.add(value);
    }

    pub fn read(&self) -> Spread {
        let counts = self.within.iter().chain([&self.beyond]).map(Count::get).collect();
        Spread { counts, sum: self.sum.get() }
    }
}

/// What histograms of one kind come to: a count of each bound and of what is beyond the last, and the sum of all values.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Spread {
    pub counts: Vec<u64>,
    pub sum: u64,
}

impl Spread {
    pub fn add(&mut self, other: &Spread) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.sum += other.sum;
    }

    /// What came since an earlier reading.
    pub fn since(&self, before: &Spread) -> Spread {
        let less = |(at, count): (usize, &u64)| {
            count.saturating_sub(before.counts.get(at).copied().unwrap_or_default())
        };
        let counts = self.counts.iter().enumerate().map(less).collect();
        Spread { counts, sum: self.sum.saturating_sub(before.sum) }
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value that this share of all does not exceed, in proportion within its bounds; `None` without any values.
    pub fn quantile(&self, bounds: &[u64], share: f64) -> Option<f64> {
        let wanted = self.count() as f64 * share;
        let mut before = 0;
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let last = bounds.last().copied().unwrap_or_default() as f64;
            let low = if at == 0 { 0.0 } else { bounds.get(at - 1).map_or(last, |bound| *bound as f64) };
            let high = bounds.get(at).map_or(last, |bound| *bound as f64);
            if (before + count) as f64 >= wanted {
                let within = (wanted - before as f64) / *count as f64;
                return Some(low + (high - low) * within.clamp(0.0, 1.0));
            }
            before += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_in_its_hundred() {
        let classes = Classes::default();
        for status in [0, 101, 200, 299, 404, 503, 999, 65_535] {
            classes.add(status);
        }
        assert_eq!(classes.get(), [1, 1, 2, 0, 1, 1, 0, 0, 0, 2]);
    }

    #[test]
    fn the_highest_value_stays_until_it_is_set_back() {
        let most = Most::default();
        [3, 7, 5].iter().for_each(|value| most.raise(*value));
        assert_eq!(most.get(), 7);
        most.clear();
        most.raise(2);
        assert_eq!(most.get(), 2);
    }

    #[test]
    fn a_value_counts_at_the_first_bound_that_it_does_not_exceed() {
        let (histogram, bounds) = (Histogram::<3>::default(), [10, 20, 30]);
        for value in [0, 10, 11, 30, 31, 1000] {
            histogram.observe(&bounds, value);
        }
        let spread = histogram.read();
        assert_eq!((spread.counts.as_slice(), spread.sum, spread.count()), (&[2, 1, 1, 2][..], 1082, 6));
    }

    #[test]
    fn quantiles_are_in_proportion_within_their_bounds() {
        let bounds = [10, 20, 30];
        let spread = Spread { counts: vec![10, 0, 10, 0], sum: 0 };
        assert_eq!(spread.quantile(&bounds, 0.25), Some(5.0));
        assert_eq!(spread.quantile(&bounds, 0.5), Some(10.0));
        assert_eq!(spread.quantile(&bounds, 0.75), Some(25.0));
        let beyond = Spread { counts: vec![0, 0, 0, 4], sum: 0 };
        assert_eq!(beyond.quantile(&bounds, 0.99), Some(30.0), "no more is known");
        assert_eq!(Spread::default().quantile(&bounds, 0.5), None);
    }

    #[test]
    fn readings_are_added_and_taken_off_each_other() {
        let mut sum = Spread::default();
        let one = Spread { counts: vec![1, 2], sum: 5 };
        sum.add(&one);
        sum.add(&one);
        assert_eq!(sum, Spread { counts: vec![2, 4], sum: 10 });
        assert_eq!(sum.since(&one), one);
        assert_eq!(one.since(&Spread::default()), one);
    }
}
