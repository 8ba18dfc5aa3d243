//! The moving average of a server's time to the first byte, sensitive to peaks as in Finagle and Linkerd: an
//! observation above the average replaces it at once, one below it pulls it down by the time passed. A server that
//! turns slow loses its traffic with the first slow response and wins it back gradually. A server without traffic
//! decays to zero, so that it is tried again. All workers share the object.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After this time, in milliseconds, 63 % of the average come from newer observations.
const DECAY: f32 = 10_000.0;

/// How many milliseconds the clock reading of one worker may be behind that of another.
const BEHIND: u32 = 60_000;

/// The upper half is the time of the last change in milliseconds, which may wrap around; the lower half is the average
/// in microseconds, an `f32`, where 0 means none. One word, so that a reader never sees halves of different updates.
#[derive(Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Both in microseconds. A failure counts as an observation of the response timeout.
    pub fn observe(&self, latency: u64, now: u64) {
        let observed = latency.max(1) as f32;
        let next = |state: u64| {
            let (average, passed) = (average(state), passed(state, now));
            let next =
                if observed >= average { observed } else { observed + (average - observed) * kept(passed) };
            // Within the same millisecond only peaks count: the word, and its cache line, stay as they are.
            let time = (state >> 32) as u32;
            let time = if average > 0.0 { time.wrapping_add(passed) } else { milliseconds(now) };
            (passed > 0 || next > average).then(|| u64::from(time) << 32 | u64::from(next.to_bits()))
        };
        let _unchanged = self.0.fetch_update(Relaxed, Relaxed, next);
    }

    /// Replaces the average. Both in microseconds.
    pub fn set(&self, latency: u64, now: u64) {
        let average = latency.max(1) as f32;
        self.0.store(u64::from(milliseconds(now)) << 32 | u64::from(average.to_bits()), Relaxed);
    }

    /// The average in microseconds, `None` before the first observation.
    pub fn at(&self, now: u64) -> Option<u64> {
        let state = self.0.load(Relaxed);
        let average = average(state);
        (average > 0.0).then(|| ((average * kept(passed(state, now))) as u64).max(1))
    }
}

fn milliseconds(now: u64) -> u32 {
    (now / 1000) as u32
}

fn average(state: u64) -> f32 {
    f32::from_bits(state as u32)
}

/// Milliseconds since the last change.
fn passed(state: u64, now: u64) -> u32 {
    let passed = milliseconds(now).wrapping_sub((state >> 32) as u32);
    if passed > u32::MAX - BEHIND { 0 } else { passed }
}

/// The part of an average that is left after this time.
fn kept(passed: u32) -> f32 {
    if passed == 0 { 1.0 } else { (-(passed as f32) / DECAY).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_peak_counts_at_once_and_decays_with_time() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.at(0), None);
        ewma.observe(1000, 0);
        assert_eq!(ewma.at(0), Some(1000));
        ewma.observe(90_000, 1);
        assert_eq!(ewma.at(1), Some(90_000));
        ewma.observe(1000, 2);
        assert_eq!(ewma.at(2), Some(90_000), "no time passed");
        let mut last = 90_000;
        for second in 1..=60 {
            ewma.observe(1000, second * SECOND);
            let average = ewma.at(second * SECOND).unwrap();
            assert!(average < last, "after {second} seconds");
            last = average;
        }
        assert!((1000..1300).contains(&last), "{last}");
    }

    #[test]
    fn the_average_falls_to_a_third_within_ten_seconds() {
        let ewma = PeakEwma::default();
        ewma.observe(100_000, SECOND);
        assert_eq!(ewma.at(11 * SECOND), Some(36_787));
        ewma.observe(10_000, 11 * SECOND);
        assert_eq!(ewma.at(11 * SECOND), Some(43_109), "of the way from 100 ms to 10 ms");
    }

    #[test]
    fn a_steady_latency_is_the_average() {
        let ewma = PeakEwma::default();
        for second in 0..100 {
            ewma.observe(5000, second * SECOND);
            assert_eq!(ewma.at(second * SECOND), Some(5000));
        }
    }

    #[test]
    fn a_reading_of_an_earlier_time_is_taken_as_now() {
        let ewma = PeakEwma::default();
        ewma.observe(5000, 10 * SECOND);
        assert_eq!(ewma.at(9 * SECOND), Some(5000));
        ewma.observe(1000, 9 * SECOND);
        assert_eq!(ewma.at(10 * SECOND), Some(5000));
    }

    #[test]
    fn extreme_values_do_no_harm() {
        let ewma = PeakEwma::default();
        ewma.observe(0, u64::MAX);
        assert_eq!(ewma.at(u64::MAX), Some(1));
        ewma.observe(u64::MAX, 0);
        assert_eq!(ewma.at(0), Some(u64::MAX));
        assert_eq!(ewma.at(1000 * SECOND), Some(1), "it is known, however long ago");
    }

    #[test]
    fn observations_of_several_threads_stay_within_their_range() {
        let ewma = PeakEwma::default();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ewma = &ewma;
                scope.spawn(move || (0..10_000).for_each(|n| ewma.observe(1000 + thread, n * 1000)));
            }
        });
        assert!((990..=1003).contains(&ewma.at(10 * SECOND).unwrap()));
    }
}
