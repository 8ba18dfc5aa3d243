//! The averages of the phases of the last 1,024 requests, as haproxy tells them (`qtime`, `ctime`, `rtime`, `ttime`).
//! Workers only add times up; what came between two readings counts with its mean.

use crate::balance::{PHASES, ServerTotals};

/// Requests that an average is of; older ones fade.
const WINDOW: u64 = 1024;

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct Averages {
    /// How many requests they are of, up to the window.
    requests: u64,
    micros: [f64; PHASES],
    /// The sums up to which they go.
    timed: u64,
    sums: [u64; PHASES],
}

impl Averages {
    /// Of what is counted from now on.
    pub fn since(totals: &ServerTotals) -> Averages {
        Averages { timed: totals.timed, sums: totals.phases, ..Averages::default() }
    }

    /// With what was counted since.
    pub fn with(mut self, totals: &ServerTotals) -> Averages {
        let came = totals.timed.saturating_sub(self.timed);
        if came > 0 {
            self.requests = (self.requests + came).min(WINDOW);
            let weight = (came as f64 / self.requests as f64).min(1.0);
            for at in 0..PHASES {
                let mean = totals.phases[at].saturating_sub(self.sums[at]) as f64 / came as f64;
                self.micros[at] += (mean - self.micros[at]) * weight;
            }
        }
        (self.timed, self.sums) = (totals.timed, totals.phases);
        self
    }

    /// In microseconds.
    pub fn get(&self) -> [u64; PHASES] {
        self.micros.map(|micros| micros.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(timed: u64, micros: u64) -> ServerTotals {
        ServerTotals { timed, phases: [micros; PHASES], ..ServerTotals::default() }
    }

    #[test]
    fn few_requests_count_all_alike_and_many_drive_out_those_before() {
        let one = Averages::default().with(&totals(1, 100));
        assert_eq!(one.get(), [100; PHASES]);
        let four = one.with(&totals(4, 100 + 3 * 500));
        assert_eq!(four.get(), [400; PHASES]);
        assert_eq!(four.with(&totals(4, 1600)), four, "nothing came");
        let many = four.with(&totals(4 + 5000, 1600 + 5000 * 7));
        assert_eq!(many.get(), [7; PHASES]);
        let half = many.with(&totals(5004 + 512, 36_600 + 512 * 1007));
        assert_eq!(half.get(), [507; PHASES]);
    }

    #[test]
    fn what_was_counted_before_can_be_left_out() {
        let later = Averages::since(&totals(10, 9000)).with(&totals(12, 9000 + 2 * 50));
        assert_eq!(later.get(), [50; PHASES]);
    }
}
