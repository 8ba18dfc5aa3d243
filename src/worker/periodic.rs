//! The script's `on_start`, and its functions of `rsp.every` with the times at which they run. They are those of the
//! current site: a reload starts its own and ends these, but for one that waits, which still finishes.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::net::Network;
use crate::route::{TaskStep, WaitingCall};
use crate::script::{TaskFunction, Waited};
use crate::worker::core::Core;
use crate::worker::site::{SharedHandlers, Site};
use crate::worker::time::timeouts::micros;
use crate::worker::waits::Waiter;

/// When each function of `rsp.every` runs next, in microseconds, in their order.
pub struct Periodic {
    due: Vec<u64>,
    next: u64,
    /// Those that wait, by the numbers of their waits.
    waiting: BTreeMap<u64, Task>,
}

/// A function that waits, of the site that it began in.
struct Task {
    function: TaskFunction,
    call: Box<WaitingCall>,
    site: Rc<Site>,
    handlers: SharedHandlers,
}

impl Default for Periodic {
    fn default() -> Periodic {
        Periodic { due: Vec::new(), next: u64::MAX, waiting: BTreeMap::new() }
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
        self.sites.periodic.next = due.iter().copied().min().unwrap_or(u64::MAX);
        self.sites.periodic.due = due;
        self.start_script();
    }

    /// The current site has a VM that has not run yet.
    pub(crate) fn start_script(&mut self) {
        if self.sites.current.routes.config.on_start {
            self.guarded_task(|core| core.run_task(TaskFunction::OnStart));
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
            // One that still waits does not overlap with itself.
            let function = TaskFunction::Every(at);
            let mut waiting = self.sites.periodic.waiting.values();
            if !waiting.any(|task| task.function == function && Rc::ptr_eq(&task.site, &site)) {
                self.guarded_task(|core| core.run_task(function));
            }
        }
    }

    fn run_task(&mut self, function: TaskFunction) {
        let (site, handlers) = (self.sites.current.clone(), self.sites.handlers.clone());
        let step = handlers.borrow_mut().run_task(function);
        self.task_stepped(function, step, site, handlers, self.tools.now);
    }

    /// Continues a function whose wait is over.
    pub(crate) fn resume_task(&mut self, number: u64, waited: Option<Waited>, since: u64) {
        let Some(task) = self.sites.periodic.waiting.remove(&number) else { return };
        let Task { function, call, site, handlers } = task;
        let step = handlers.borrow_mut().resume_task(function, *call, waited);
        self.task_stepped(function, step, site, handlers, since);
    }

    fn task_stepped(
        &mut self,
        function: TaskFunction,
        step: TaskStep,
        site: Rc<Site>,
        handlers: SharedHandlers,
        since: u64,
    ) {
        match step {
            TaskStep::Done => {}
            TaskStep::Failed(error) => {
                let name = if function == TaskFunction::OnStart { "on_start" } else { "every" };
                self.tools.errors.log(name, &error, "", self.tools.now);
            }
            TaskStep::Waits(wait, call) => {
                let of = (&site, Some(&handlers));
                let number = self.start_wait(Waiter::Task, of, wait, since);
                let task = Task { function, call, site, handlers };
                self.sites.periodic.waiting.insert(number, task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runs_in_its_period_and_missed_runs_are_left_out() {
        let mut periodic = Periodic { due: vec![10, 25], next: 10, ..Periodic::default() };
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
