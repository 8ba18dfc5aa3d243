//! From the start of the last worker to the end of all: what signals ask for, how patient each step is, and what it
//! means that a worker ended.
//!
//! ```text
//! serving ─ TERM ─► draining ─ TERM or drain_timeout ─► stopping
//!    └──────────────────┴── all workers have ended ◄───────┘
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::base::counted::counted;
use crate::control::access::AccessLog;
use crate::control::run_error::RunError;
use crate::control::signals::Signal;
use crate::exchange::counters::Counters;
use crate::exchange::end::End;
use crate::worker::{Handle, Outcome, Progress};

/// A worker that was told to stop has no reason to take longer.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// A worker ends its drain itself, with a reason for each request it cuts; this is when we stop believing in it.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Signal(Signal),
    /// Which one, from 0, and what it says.
    Worker(usize, Progress),
}

impl From<Signal> for Event {
    fn from(signal: Signal) -> Event {
        Event::Signal(signal)
    }
}

/// How far the end has come; each but the first with the time at which patience ends.
#[derive(Clone, Copy)]
enum Phase {
    Serving,
    Draining(Instant),
    Stopping(Instant),
}

pub struct Running<'a> {
    events: Receiver<Event>,
    /// By their numbers; those that ended are gone.
    workers: Vec<Option<Handle>>,
    access: Option<&'a AccessLog>,
    drain: Duration,
}

impl<'a> Running<'a> {
    pub fn new(
        events: Receiver<Event>,
        workers: Vec<Handle>,
        access: Option<&'a AccessLog>,
        drain: Duration,
    ) -> Running<'a> {
        Running { events, workers: workers.into_iter().map(Some).collect(), access, drain }
    }

    /// Until all workers have ended.
    pub fn wait(mut self) -> Result<(), RunError> {
        let counters: Vec<Arc<Counters>> = self.still().map(Handle::counters).collect();
        let outcome = self.until_all_ended();
        say_troubles(&Counters::total(counters.iter().map(|counters| &**counters)));
        if outcome.is_ok() {
            log::info!("Stopped");
        }
        outcome
    }

    fn until_all_ended(&mut self) -> Result<(), RunError> {
        let (mut phase, mut fault) = (Phase::Serving, None);
        while self.still().next().is_some() {
            match self.next(phase) {
                Ok(Event::Worker(_, Progress::Ready)) => {}
                Ok(Event::Worker(number, Progress::Ended)) => {
                    let outcome = self.workers[number].take().map(Handle::join);
                    fault = fault.or(outcome.and_then(|outcome| fault_in(outcome, phase)));
                    phase = self.after_end(fault.is_some(), phase);
                }
                Ok(Event::Signal(signal)) => phase = self.obey(signal, phase),
                Err(_) => match phase {
                    Phase::Stopping(_) => {
                        return Err(RunError::Fault(fault.unwrap_or("a worker does not stop".into())));
                    }
                    _ => phase = self.stop("drain_timeout is over"),
                },
            }
        }
        fault.map_or(Ok(()), |what| Err(RunError::Fault(what)))
    }

    /// The process does not go on with only some of its workers, but ends so that it is started anew.
    fn after_end(&self, faulty: bool, phase: Phase) -> Phase {
        match phase {
            Phase::Serving if faulty && self.still().next().is_some() => self.stop("a worker failed"),
            _ => phase,
        }
    }

    fn still(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().flatten()
    }

    fn next(&self, phase: Phase) -> Result<Event, RecvTimeoutError> {
        match phase {
            Phase::Serving => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Phase::Draining(until) | Phase::Stopping(until) => {
                self.events.recv_timeout(until.saturating_duration_since(Instant::now()))
            }
        }
    }

    fn obey(&self, signal: Signal, phase: Phase) -> Phase {
        match signal {
            Signal::Stop => return self.end(phase),
            Signal::Reload => log::warn!("HUP ignored: rsp cannot reload yet; run rsp check, then restart"),
            Signal::Upgrade => log::warn!("USR2 ignored: rsp cannot hand over to a new binary yet; restart"),
            Signal::Reopen => match self.access {
                Some(access) => access.reopen(),
                None => log::info!("no access log to reopen"),
            },
        }
        phase
    }

    /// The first time gently.
    fn end(&self, phase: Phase) -> Phase {
        match phase {
            Phase::Serving => {
                log::info!("Stopping: what runs may finish within {:?}", self.drain);
                self.still().for_each(Handle::drain);
                Phase::Draining(Instant::now() + self.drain + DRAIN_GRACE)
            }
            Phase::Draining(_) => self.stop("told again"),
            Phase::Stopping(_) => phase,
        }
    }

    fn stop(&self, why: &str) -> Phase {
        log::info!("Stopping at once: {why}");
        self.still().for_each(Handle::stop);
        Phase::Stopping(Instant::now() + STOP_WAIT)
    }
}

/// What the stop cut, and one line over the whole run, if anything in it ended otherwise than well.
fn say_troubles(counters: &Counters) {
    let cut = counters.of(End::Stopped);
    if cut > 0 {
        log::info!("{} cut", counted(cut, "connection"));
    }
    let troubles = counters.troubles();
    if !troubles.is_empty() {
        log::info!("Ended otherwise than well since the start: {troubles}");
    }
}

/// A worker that ends without being told to is a fault, however it puts it.
fn fault_in(outcome: Outcome, phase: Phase) -> Option<String> {
    match (outcome, phase) {
        (Outcome::Panicked(what), _) => Some(what),
        (_, Phase::Serving) => Some("a worker ended by itself".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::net::bind_for;
    use crate::script::{Source, load};
    use crate::worker::{Setup, WorkerIo, start};

    /// Two workers that run; the first one fails at its end.
    fn two_workers() -> (Receiver<Event>, Vec<Handle>) {
        let text = b"rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }";
        let mut source = Source::in_memory(Path::new("site.lua"), text);
        let config = Arc::new(load(&mut source).map_err(|e| e.0).unwrap().0);
        let listeners = bind_for(&config.listeners[0], 2).unwrap();
        let (sender, events) = mpsc::channel();
        let worker = |(number, (setup, listener))| {
            let io = WorkerIo { listeners: vec![listener], access: None };
            let sender = sender.clone();
            let notify = move |progress| {
                sender.send(Event::Worker(number, progress)).unwrap();
                assert!(number != 0 || progress != Progress::Ended, "a seeded fault");
            };
            start(setup, io, notify).unwrap().go().unwrap()
        };
        let setups = Setup::each(2, &config, &config, &source, Instant::now());
        (events, setups.into_iter().zip(listeners).enumerate().map(worker).collect())
    }

    #[test]
    fn a_worker_that_fails_ends_all_others_with_a_fault() {
        let (events, workers) = two_workers();
        workers[0].stop();
        let outcome = Running::new(events, workers, None, Duration::from_secs(30)).wait();
        assert!(matches!(outcome, Err(RunError::Fault(what)) if what.contains("a seeded fault")));
    }

    #[test]
    fn a_worker_may_end_only_when_it_was_told_to() {
        let later = Instant::now();
        assert!(fault_in(Outcome::Finished, Phase::Serving).is_some());
        for told in [Phase::Draining(later), Phase::Stopping(later)] {
            assert_eq!(fault_in(Outcome::Finished, told), None);
            assert_eq!(fault_in(Outcome::Panicked("x".into()), told), Some("x".into()));
        }
    }
}
