//! The script's `on_start`, and its functions of `rsp.every` with the times at which they run. They are those of the
//! current site: a reload starts its own and ends these.

use crate::net::Network;
use crate::worker::core::Core;
use crate::worker::time::timeouts::micros;

/// When each function of `rsp.every` runs next, in microseconds, in their order.
pub struct Periodic {
    due: Vec<u64>,
    next: u64,
}

impl Default for Periodic {
    fn default() -> Periodic {
        Periodic { due: Vec::new(), next: u64::MAX }
    }
}

impl Periodic {
    /// When the first one runs; `u64::MAX` if there is none.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The first one that is due, and sets when it runs again: runs that were missed are left out.
    fn take_due(&mut self, now: u64, period: impl Fn(usize) -> u64) -> Option<usize> {
        let at = self.due.iter().position(|due| *due <= now);
        if let Some(at) = at {
            let (due, period) = (self.due[at], period(at).max(1));
            self.due[at] = now + period - (now - due) % period;
        }
        self.next = self.due.iter().copied().min().unwrap_or(u64::MAX);
        at
    }
}

impl<N: Network> Core<N> {
    /// The current site has just become that one.
    pub(crate) fn begin_site(&mut self) {
        let config = self.sites.current.routes.config.clone();
        let due: Vec<u64> = config.every.iter().map(|period| self.tools.now + micros(*period)).collect();
        self.sites.periodic = Periodic { next: due.iter().copied().min().unwrap_or(u64::MAX), due };
        if config.on_start
            && let Err(error) = self.sites.handlers.borrow_mut().on_start()
        {
            self.tools.errors.log("on_start", &error, "", self.tools.now);
        }
    }

    /// Runs the functions that are due.
    #[inline]
    pub(crate) fn run_periodic(&mut self) {
        if self.tools.now >= self.sites.periodic.next {
            self.run_due();
        }
    }

    #[cold]
    fn run_due(&mut self) {
        let (now, site) = (self.tools.now, self.sites.current.clone());
        let period =
            |at: usize| site.routes.config.every.get(at).map_or(u64::MAX / 2, |every| micros(*every));
        while let Some(at) = self.sites.periodic.take_due(now, period) {
            if let Err(error) = self.sites.handlers.borrow_mut().every(at) {
                self.tools.errors.log("every", &error, "", now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_in_its_period_and_missed_runs_are_left_out() {
        let mut periodic = Periodic { due: vec![10, 25], next: 10 };
        let period = |at: usize| [10, 25][at];
        let mut ran = |now: u64| std::iter::from_fn(|| periodic.take_due(now, period)).collect::<Vec<_>>();
        assert_eq!(ran(9), [0; 0]);
        assert_eq!(ran(12), [0]);
        assert_eq!(ran(19), [0; 0]);
        assert_eq!(ran(20), [0]);
        assert_eq!(ran(55), [0, 1]);
        assert_eq!(ran(59), [0; 0]);
        assert_eq!(ran(60), [0]);
        assert_eq!((periodic.next(), Periodic::default().next()), (70, u64::MAX));
    }
}
