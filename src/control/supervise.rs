//! From the start of the last worker to the end of all: reactions to signals, deadlines of each stage, and what the
//! end of a worker means.
//!
//! ```text
//! serving ─ TERM ─► draining ─ TERM or drain_timeout ─► stopping
//!    └──────────────────┴── all workers have ended ◄───────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::control::access::AccessLogHandle;
use crate::control::event_loop::{ControlEvent, ControlLoop};
use crate::control::run_error::RunError;
use crate::control::signals::Signal;
use crate::exchange::counters::Counters;
use crate::exchange::end::End;
use crate::worker::{Handle, ThreadState, WorkerEnd};

/// How long a worker may take after a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// A worker ends its drain itself, with a reason for each request it cuts; a worker that takes this much longer is
/// stopped.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// The stage of the shutdown, with the deadline of each stage but the first.
#[derive(Clone, Copy)]
enum Stage {
    Serving,
    Draining(Instant),
    Stopping(Instant),
}

pub struct Running<'a> {
    control: ControlLoop,
    /// By index; `None` once ended.
    workers: Vec<Option<Handle>>,
    access: Option<&'a AccessLogHandle>,
    drain: Duration,
}

impl<'a> Running<'a> {
    pub fn new(
        control: ControlLoop,
        workers: Vec<Handle>,
        access: Option<&'a AccessLogHandle>,
        drain: Duration,
    ) -> Running<'a> {
        Running { control, workers: workers.into_iter().map(Some).collect(), access, drain }
    }

    /// Waits until all workers have ended.
    pub fn wait(mut self) -> Result<(), RunError> {
        let counters: Vec<Arc<Counters>> = self.running().map(Handle::counters).collect();
        let outcome = self.until_all_ended();
        log_abnormal_ends(&Counters::total(counters.iter().map(|counters| &**counters)));
        if outcome.is_ok() {
            log::info!("Stopped");
        }
        outcome
    }

    fn until_all_ended(&mut self) -> Result<(), RunError> {
        let (mut stage, mut fault) = (Stage::Serving, None);
        while self.running().next().is_some() {
            match self.next(stage)? {
                Some(ControlEvent::Worker(_, ThreadState::Ready) | ControlEvent::Socket(_)) => {}
                Some(ControlEvent::Worker(number, ThreadState::Ended)) => {
                    let outcome = self.workers[number].take().map(Handle::join);
                    fault = fault.or(outcome.and_then(|outcome| fault_in(outcome, stage)));
                    stage = self.after_end(fault.is_some(), stage);
                }
                Some(ControlEvent::Signal(signal)) => stage = self.handle_signal(signal, stage),
                None => match stage {
                    Stage::Stopping(_) => {
                        return Err(RunError::Fault(fault.unwrap_or("a worker does not stop".into())));
                    }
                    _ => stage = self.stop("drain_timeout is over"),
                },
            }
        }
        fault.map_or(Ok(()), |what| Err(RunError::Fault(what)))
    }

    /// The process does not go on with only some of its workers, but ends so that it is restarted.
    fn after_end(&self, faulty: bool, stage: Stage) -> Stage {
        match stage {
            Stage::Serving if faulty && self.running().next().is_some() => self.stop("a worker failed"),
            _ => stage,
        }
    }

    fn running(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().flatten()
    }

    /// `None` when the stage's deadline has passed.
    fn next(&mut self, stage: Stage) -> Result<Option<ControlEvent>, RunError> {
        let until = match stage {
            Stage::Serving => None,
            Stage::Draining(until) | Stage::Stopping(until) => Some(until),
        };
        self.control
            .next(until)
            .map_err(|error| RunError::Fault(format!("control loop: {}", os_error(&error))))
    }

    fn handle_signal(&self, signal: Signal, stage: Stage) -> Stage {
        match signal {
            Signal::Stop => return self.end(stage),
            Signal::Reload => log::warn!("HUP ignored: rsp cannot reload yet; run rsp check, then restart"),
            Signal::Upgrade => log::warn!("USR2 ignored: rsp cannot hand over to a new binary yet; restart"),
            Signal::Reopen => match self.access {
                Some(access) => access.reopen(),
                None => log::info!("no access log to reopen"),
            },
        }
        stage
    }

    /// Drains; stops at once when repeated.
    fn end(&self, stage: Stage) -> Stage {
        match stage {
            Stage::Serving => {
                log::info!("Stopping: what runs may finish within {:?}", self.drain);
                self.running().for_each(Handle::drain);
                Stage::Draining(Instant::now() + self.drain + DRAIN_GRACE)
            }
            Stage::Draining(_) => self.stop("told again"),
            Stage::Stopping(_) => stage,
        }
    }

    fn stop(&self, why: &str) -> Stage {
        log::info!("Stopping at once: {why}");
        self.running().for_each(Handle::stop);
        Stage::Stopping(Instant::now() + STOP_WAIT)
    }
}

/// Logs what the stop cut, and the counters of abnormal ends of the whole run.
fn log_abnormal_ends(counters: &Counters) {
    let cut = counters.of(End::Stopped);
    if cut > 0 {
        log::info!("{} cut", counted(cut, "connection"));
    }
    let abnormal = counters.troubles();
    if !abnormal.is_empty() {
        log::info!("Abnormal ends since start: {abnormal}");
    }
    let stale = counters.stale_count();
    if stale > 0 {
        let requests = counted(stale, "request");
        log::info!("{requests} sent again as a kept connection to a server had died: {stale} reused-stale");
    }
}

/// A worker that ends without being told to is a fault, whatever its outcome.
fn fault_in(outcome: WorkerEnd, stage: Stage) -> Option<String> {
    match (outcome, stage) {
        (WorkerEnd::Panicked(what), _) => Some(what),
        (_, Stage::Serving) => Some("a worker ended by itself".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::balance::Servers;
    use crate::net::bind_for;
    use crate::script::{Source, load};
    use crate::worker::{Setup, WorkerIo, start};

    /// Two running workers; the first one fails at its end.
    fn two_workers() -> (ControlLoop, Vec<Handle>) {
        let text = b"rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }";
        let mut source = Source::in_memory(Path::new("site.lua"), text);
        let config = Arc::new(load(&mut source).map_err(|e| e.0).unwrap().0);
        let listeners = bind_for(&config.listeners[0], 2).unwrap();
        let control = ControlLoop::new().unwrap();
        let sender = control.mailbox();
        let worker = |(number, (setup, listener))| {
            let io = WorkerIo { listeners: vec![listener], access: None };
            let sender = sender.clone();
            let notify = move |progress| {
                sender.send(ControlEvent::Worker(number, progress));
                assert!(number != 0 || progress != ThreadState::Ended, "a seeded fault");
            };
            start(setup, io, notify).unwrap().go().unwrap()
        };
        let setups = Setup::each(2, &Servers::new(2), &config, &config, &source, Instant::now());
        (control, setups.into_iter().zip(listeners).enumerate().map(worker).collect())
    }

    #[test]
    fn a_failed_worker_stops_all_others_with_a_fault() {
        let (control, workers) = two_workers();
        workers[0].stop();
        let outcome = Running::new(control, workers, None, Duration::from_secs(30)).wait();
        assert!(matches!(outcome, Err(RunError::Fault(what)) if what.contains("a seeded fault")));
    }

    #[test]
    fn a_worker_may_end_only_when_it_was_told_to() {
        let later = Instant::now();
        assert!(fault_in(WorkerEnd::Finished, Stage::Serving).is_some());
        for told in [Stage::Draining(later), Stage::Stopping(later)] {
            assert_eq!(fault_in(WorkerEnd::Finished, told), None);
            assert_eq!(fault_in(WorkerEnd::Panicked("x".into()), told), Some("x".into()));
        }
    }
}
