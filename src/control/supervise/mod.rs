//! From the start of the last worker to the end of all: reactions to signals, deadlines of each stage, and what the
//! end of a worker means.
//!
//! ```text
//! serving ─ TERM ─► leaving ─ drain_delay ─► draining ─ drain_timeout ─► stopping
//!    │                 └──────── TERM ───────────┴───────────────────────────▲ │
//!    └─────────────────────── all workers have ended ◄─────────────────────────┘
//! ```

mod admin;
mod commands;
mod explain;
mod reload;
mod sessions;
mod upgrade;

use std::time::{Duration, Instant};

use mio::Token;

use self::sessions::Listings;
use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::Settings;
use crate::control::event_loop::{ControlEvent, ControlLoop};
use crate::control::fresh_vms::FreshVms;
use crate::control::notify;
use crate::control::process::Process;
use crate::control::reload::Reload;
use crate::control::run_error::RunError;
use crate::control::signals::Signal;
use crate::control::sockets::{Asker, Request, Sockets};
use crate::control::stalls::Stalls;
use crate::control::startup;
use crate::control::stats::Stats;
use crate::control::upgrade::Upgrade;
use crate::exchange::counters::Counters;
use crate::exchange::end::End;
use crate::script::Source;
use crate::worker::{Drain, Handle, Shared, ThreadState, WorkerEnd};

/// The channel to a new process.
const CHANNEL: Token = Token(usize::MAX - 1);
/// How long a worker may take after a stop.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// A worker ends its drain itself, with a reason for each request it cuts; a worker that takes this much longer is
/// stopped.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// The stage of the shutdown, with the deadline of each stage but the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Everything is as before, but `/ready` says that rsp is going.
    Leaving(Instant),
    Draining(Instant),
    Stopping(Instant),
}

pub struct Running<'a> {
    control: ControlLoop,
    /// By index; `None` once ended.
    workers: Vec<Option<Handle>>,
    process: &'a mut Process,
    /// What workers share.
    shared: Shared,
    /// The settings that only a start applies.
    started_with: Settings,
    /// Overrides the config's.
    drain_timeout: Option<Duration>,
    reload: Reload<Asker>,
    fresh_vms: FreshVms,
    sockets: Sockets,
    stage: Stage,
    /// The first checks of all servers have ended.
    was_ready: bool,
    /// Why rsp ends, if it must not.
    fault: Option<String>,
    stalls: Stalls,
    stats: Stats,
    /// Answers that go out in parts.
    listings: Listings,
    /// The script of the present config.
    script: Source,
    /// A request is being explained.
    explaining: bool,
    /// A new process that is to take over.
    upgrade: Option<Upgrade>,
}

impl<'a> Running<'a> {
    pub fn new(
        control: ControlLoop,
        workers: Vec<Handle>,
        process: &'a mut Process,
        shared: Shared,
        (source, drain_timeout): (&Source, Option<Duration>),
    ) -> Result<Running<'a>, RunError> {
        let mut sockets = Sockets::new(control.registry().map_err(|error| startup::no_loop(&error))?);
        sockets.switch(process.take_sockets(), &process.stated.settings);
        if let Some(address) = sockets.admin_address() {
            log::info!("Admin address: {address}");
        }
        let mailbox = control.mailbox();
        shared.provide_scripts(move |worker, generation| {
            // It goes nowhere only where rsp ends.
            _ = mailbox.send(ControlEvent::VmWanted(worker, generation));
        });
        notify::ready(&notify::serving(workers.len(), process.generation));
        Ok(Running {
            stats: Stats::new(workers.iter().map(Handle::counters).collect(), &shared),
            stalls: Stalls::new(workers.len(), Instant::now()),
            sockets,
            fresh_vms: FreshVms::new(source, control.mailbox()),
            reload: Reload::new(source, workers.len(), control.mailbox()),
            control,
            workers: workers.into_iter().map(Some).collect(),
            started_with: process.stated.settings.clone(),
            process,
            shared,
            drain_timeout,
            stage: Stage::Serving,
            was_ready: false,
            fault: None,
            listings: Listings::new(),
            script: source.script_only(),
            explaining: false,
            upgrade: None,
        })
    }

    /// Waits until all workers have ended.
    pub fn wait(mut self) -> Result<(), RunError> {
        let counters = self.stats.counters.clone();
        let outcome = self.until_all_ended();
        log_abnormal_ends(&Counters::total(counters.iter().map(|counters| &**counters)));
        if outcome.is_ok() {
            log::info!("Stopped");
        }
        outcome
    }

    fn until_all_ended(&mut self) -> Result<(), RunError> {
        while self.running().next().is_some() {
            self.serve_sockets();
            match self.next()? {
                Some(event) => self.handle(event),
                None => self.expire()?,
            }
        }
        self.fault.take().map_or(Ok(()), |what| Err(RunError::Fault(what)))
    }

    fn handle(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Worker(number, ThreadState::Ended) => self.worker_ended(number),
            ControlEvent::Worker(_, ThreadState::Ready) => {}
            ControlEvent::Socket(CHANNEL) => self.serve_upgrade(),
            ControlEvent::Socket(token) => self.sockets.ready(token),
            ControlEvent::Signal(signal) => self.handle_signal(signal),
            ControlEvent::Answer(asker, answer) => self.answered(asker, answer),
            ControlEvent::Loaded => self.loaded(),
            ControlEvent::VmWanted(worker, generation) => self.load_vm(worker, generation),
            ControlEvent::FreshVm => self.hand_out_vm(),
            ControlEvent::Switched(generation) => {
                if generation == self.process.generation && self.reload.switched() {
                    self.end_reload(&Ok(()));
                }
            }
        }
    }

    /// The process does not go on with only some of its workers, but ends so that it is restarted.
    fn worker_ended(&mut self, number: usize) {
        let outcome = self.workers[number].take().map(Handle::join);
        let fault = outcome.and_then(|outcome| fault_in(outcome, self.stage));
        self.fault = self.fault.take().or(fault);
        let untold = matches!(self.stage, Stage::Serving | Stage::Leaving(_));
        if self.fault.is_some() && untold && self.running().next().is_some() {
            self.stop("a worker failed");
        }
    }

    fn running(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().flatten()
    }

    /// Answers what operators ask.
    fn serve_sockets(&mut self) {
        self.go_on_listing();
        while let Some((asker, request)) = self.sockets.next_request() {
            match request {
                Request::Command(command) => self.obey(asker, command),
                Request::Http(request) => {
                    let answer = self.answer(&request);
                    self.sockets.answer_http(asker, &answer);
                }
            }
        }
    }

    /// The servers without a result of a check that the start waits for. Those of a later config are no reason not to
    /// be ready.
    fn unchecked(&mut self) -> usize {
        let unchecked = if self.was_ready { 0 } else { self.process.unchecked() };
        self.was_ready |= unchecked == 0;
        unchecked
    }

    /// `None` when a deadline has passed.
    fn next(&mut self) -> Result<Option<ControlEvent>, RunError> {
        let of_stage = self.until();
        let until = [of_stage, self.sockets.until(), self.upgrade.as_ref().map(Upgrade::until)]
            .into_iter()
            .flatten()
            .min();
        loop {
            let due = self.stalls.due().min(self.sample_due());
            let event = self.control.next(Some(until.map_or(due, |until| until.min(due))));
            let event =
                event.map_err(|error| RunError::Fault(format!("control loop: {}", os_error(&error))))?;
            let now = Instant::now();
            self.sample(now);
            if event.is_some() || until.is_some_and(|until| now >= until) {
                return Ok(event);
            }
            self.stalls.look(&self.workers, now);
            self.process.report_dropped_lines();
        }
    }

    /// When to look at the counters again; never, where nobody can ask.
    fn sample_due(&self) -> Instant {
        match self.process.config.settings.is_observed() {
            true => self.stats.recent.due(),
            false => Instant::now() + STOP_WAIT,
        }
    }

    fn sample(&mut self, now: Instant) {
        if self.process.config.settings.is_observed() && self.stats.recent.due() <= now {
            let sample = self.view().sample();
            if let Some((ago, before)) = self.stats.recent.last(now) {
                self.stats.peaks.note(self.process.pools(), &sample, before, ago);
            }
            self.stats.recent.add(now, sample);
        }
    }

    /// The deadline of the stage.
    fn until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Serving => self.reload.until(),
            Stage::Leaving(until) | Stage::Draining(until) | Stage::Stopping(until) => Some(until),
        }
    }

    fn expire(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        self.sockets.expire(now);
        if self.upgrade.as_ref().is_some_and(|upgrade| upgrade.until() <= now) {
            self.give_up_upgrade("it was not ready in time");
        }
        if self.until().is_none_or(|until| until > now) {
            return Ok(());
        }
        match self.stage {
            Stage::Serving => {
                let late = self.reload.late();
                self.end_reload(&Err(late));
            }
            Stage::Leaving(_) => self.drain(),
            Stage::Draining(_) => self.stop("drain_timeout is over"),
            Stage::Stopping(_) => {
                let fault = self.fault.take();
                return Err(RunError::Fault(fault.unwrap_or("a worker does not stop".into())));
            }
        }
        Ok(())
    }

    fn handle_signal(&mut self, signal: Signal) {
        match signal {
            Signal::Stop => self.end(),
            Signal::Reload => self.ask_reload(None),
            Signal::Upgrade => self.begin_upgrade(),
            Signal::Reopen if self.process.reopen_log() => {}
            Signal::Reopen => log::info!("no access log to reopen"),
        }
    }

    /// Drains, after a delay if one is set; stops at once when repeated.
    fn end(&mut self) {
        self.give_up_upgrade("rsp is stopping");
        let delay = self.process.config.settings.drain_delay;
        match self.stage {
            Stage::Serving if delay.is_zero() => self.drain(),
            Stage::Serving => {
                log::info!("Stopping in {delay:?} (drain_delay)");
                self.stage = Stage::Leaving(Instant::now() + delay);
                let most = delay + self.drain_within() + DRAIN_GRACE + STOP_WAIT;
                notify::stopping("stopping soon (drain_delay)", most);
            }
            Stage::Leaving(_) | Stage::Draining(_) => self.stop("told again"),
            Stage::Stopping(_) => {}
        }
    }

    /// Stops accepting. Running requests may finish.
    fn drain(&mut self) {
        let within = self.drain_within();
        log::info!("Stopping: what runs may finish within {within:?}");
        notify::stopping("stopping: what runs may finish", within + DRAIN_GRACE + STOP_WAIT);
        self.drain_workers(Drain { within, handed_over: false });
    }

    fn drain_within(&self) -> Duration {
        self.drain_timeout.unwrap_or(self.process.config.settings.drain_timeout)
    }

    fn drain_workers(&mut self, drain: Drain) {
        self.process.stop_listening();
        self.running().for_each(|worker| worker.drain(drain));
        self.stage = Stage::Draining(Instant::now() + drain.within + DRAIN_GRACE);
    }

    fn stop(&mut self, why: &str) {
        self.give_up_upgrade("rsp is stopping");
        log::info!("Stopping at once: {why}");
        notify::stopping(&format!("stopping at once: {why}"), STOP_WAIT);
        self.process.stop_listening();
        self.running().for_each(Handle::stop);
        self.stage = Stage::Stopping(Instant::now() + STOP_WAIT);
    }
}

/// Logs what the stop cut, and the counters of abnormal ends of the whole run.
fn log_abnormal_ends(counters: &Counters) {
    let cut = counters.of(End::Stopped);
    if cut > 0 {
        log::info!("{} cut", counted(cut, "connection"));
    }
    let abnormal = counters.abnormal_ends();
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
        (_, Stage::Serving | Stage::Leaving(_)) => Some("a worker ended by itself".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::process::{NextNames, WorkerParts};
    use crate::script::load;
    use crate::worker::{NextListener, WorkerIo, start};

    fn source() -> Source {
        let text = b"rsp.listen '127.0.0.1:0' rsp.pool { servers = { '127.0.0.1:1' } }";
        Source::in_memory(Path::new("site.lua"), text)
    }

    /// Two running workers; the first one fails at its end.
    fn two_workers() -> (ControlLoop, Vec<Handle>, Process, Shared) {
        let config = load(&mut source()).map_err(|e| e.0).unwrap().0;
        let mut process = Process::new(2, Default::default(), Default::default());
        let parts = process.switch(process.prepare(config, NextNames::New(None)).unwrap());
        let control = ControlLoop::new().unwrap();
        let sender = control.mailbox();
        let setups = process.setups(&source());
        let shared = setups[0].shared.clone();
        let worker = |(number, (setup, parts)): (usize, (_, WorkerParts))| {
            let new = |next| if let NextListener::New(listener) = next { Some(listener) } else { None };
            let listeners = parts.listeners.into_iter().filter_map(new).collect();
            let sender = sender.clone();
            let notify = move |progress| {
                sender.send(ControlEvent::Worker(number, progress));
                assert!(number != 0 || progress != ThreadState::Ended, "a seeded fault");
            };
            start(setup, WorkerIo { listeners, access: None }, notify).unwrap().go().unwrap()
        };
        let workers = setups.into_iter().zip(parts).enumerate().map(worker).collect();
        (control, workers, process, shared)
    }

    #[test]
    fn a_failed_worker_stops_all_others_with_a_fault() {
        let (control, workers, mut process, shared) = two_workers();
        workers[0].stop();
        let outcome = Running::new(control, workers, &mut process, shared, (&source(), None)).unwrap().wait();
        assert!(matches!(outcome, Err(RunError::Fault(what)) if what.contains("a seeded fault")));
    }

    #[test]
    fn a_worker_may_end_only_when_it_was_told_to() {
        let later = Instant::now();
        for untold in [Stage::Serving, Stage::Leaving(later)] {
            assert!(fault_in(WorkerEnd::Finished, untold).is_some());
        }
        for told in [Stage::Draining(later), Stage::Stopping(later)] {
            assert_eq!(fault_in(WorkerEnd::Finished, told), None);
            assert_eq!(fault_in(WorkerEnd::Panicked("x".into()), told), Some("x".into()));
        }
    }
}
