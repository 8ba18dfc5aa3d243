//! The life of the program: load the config, open the log, bind every listener, start the worker, wait for what
//! comes, end. Everything that can fail because of the operator's config or machine fails before anything runs.
//!
//! ```text
//! load ─► access log ─► bind all ─► worker ─► running ─ TERM ─► draining ─ TERM or drain_timeout ─► stopping
//!                                                └─────────── the worker has ended ◄──┴───────────────┘
//! ```

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::base::batch::Sender;
use crate::base::buffer::BLOCK;
use crate::config::{AccessLog as AccessSettings, Config, LogTarget};
use crate::control::access::{self, AccessLog};
use crate::control::clock::Clock;
use crate::control::errors;
use crate::control::failure::Failure;
use crate::control::lines::{self, Line};
use crate::control::shortfalls;
use crate::control::signals::{self, Signal};
use crate::exchange::tally::Tally;
use crate::net::{self, Listener};
use crate::script::{self, Source};
use crate::worker::{self, Handle, Outcome, Setup};

/// A worker that was told to stop has no reason to take longer.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// The worker ends its drain itself, with a reason for each request it cuts; this is when we stop believing in it.
const DRAIN_GRACE: Duration = Duration::from_millis(500);
/// Descriptors that are not connections: logs, epoll, listeners, those held back, the odd file.
const SPARE_DESCRIPTORS: u64 = 80;
/// Pipes for large bodies have as many; where the limit is small, they are the first to do without.
const PIPES: u64 = 256;

/// What to run, and how it differs from a plain run of a config.
pub struct Start {
    pub source: Source,
    /// Log level where RSP_LOG says nothing.
    pub level: &'static str,
    /// Lines of another form on standard output, instead of the access log of the config.
    pub lines: Option<Line>,
    /// Instead of the config's `drain_timeout`.
    pub drain: Option<Duration>,
    /// Called once with the addresses listened on.
    pub ready: Ready,
}

type Ready = Box<dyn FnOnce(&[String])>;

impl Start {
    pub fn plain(source: Source) -> Start {
        Start { source, level: "info", lines: None, drain: None, ready: Box::new(|_| {}) }
    }
}

/// Runs until told to stop. What it returns is for the operator to read; all else was logged.
pub fn run(start: Start) -> Result<(), Failure> {
    net::map_allocations_from(BLOCK);
    let _errors = errors::start(start.level).map_err(|error| Failure::Start(error.to_string()))?;
    serve(start)
}

fn serve(mut start: Start) -> Result<(), Failure> {
    // This VM ends here: the worker makes one of its own from the same source.
    let (mut config, _) = script::load(&mut start.source).map_err(Failure::Config)?;
    let lowered = fit_descriptors(&mut config);
    let clock = Clock { zero: Instant::now() };
    let (sender, access) = open_access_log(&config, start.lines, clock)?;
    let listeners = bind_all(&config)?;
    let addresses: Vec<String> = listeners.iter().map(Listener::address).collect();
    let config = Arc::new(config);
    let setup =
        Setup { config: config.clone(), source: start.source, listeners, access: sender, zero: clock.zero };
    let (events, worker) = start_worker(setup)?;
    announce(&config, &addresses);
    for warning in lowered.into_iter().chain(shortfalls::of(&config)) {
        log::warn!("{warning}");
    }
    (start.ready)(&addresses);
    let drain = start.drain.unwrap_or(config.settings.drain_timeout);
    let outcome = Running { events, worker, access: access.as_ref(), drain }.wait();
    if let Some(access) = access
        && !access.close(errors::FLUSH)
    {
        log::warn!("access log: the last lines could not be written in time");
    }
    outcome
}

/// Two descriptors a client at least: its own and its server's. What had to be changed is said once all stands.
fn fit_descriptors(config: &mut Config) -> Option<String> {
    let limit = match net::raise_descriptor_limit() {
        Ok(limit) => limit,
        Err(error) => return Some(format!("cannot raise the limit of open files: {error}")),
    };
    let spare = SPARE_DESCRIPTORS + PIPES.min(limit / 8) + config.listeners.len() as u64;
    // Where servers are told who the client is, its connections to them wait with it.
    let kept = if config.pools.iter().any(|pool| pool.send_proxy.is_some()) { worker::KEPT } else { 1 };
    let possible = (limit.saturating_sub(spare) / (1 + kept as u64)).max(1);
    let wanted = config.settings.max_connections as u64;
    if wanted <= possible {
        return None;
    }
    config.settings.max_connections = possible as usize;
    Some(format!(
        "max_connections lowered from {wanted} to {possible}: the limit of open files is {limit} (ulimit -Hn)"
    ))
}

type Access = (Option<Sender>, Option<AccessLog>);

fn open_access_log(config: &Config, own: Option<Line>, clock: Clock) -> Result<Access, Failure> {
    let (target, line) = match (own, &config.settings.access_log) {
        (Some(line), _) => (&LogTarget::Stdout, line),
        (None, Some(AccessSettings { target, format })) => (target, lines::line(*format)),
        (None, None) => return Ok((None, None)),
    };
    let name = match target {
        LogTarget::Stdout => "on stdout".to_string(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let opened = access::start(target, line, clock).map_err(|error| Failure::AccessLog(name, error))?;
    Ok((Some(opened.0), Some(opened.1)))
}

fn bind_all(config: &Config) -> Result<Vec<Listener>, Failure> {
    let bind = |listener: &crate::config::Listener| {
        net::bind(listener).map_err(|error| Failure::Listen(listener.address.clone(), error))
    };
    config.listeners.iter().map(bind).collect()
}

fn start_worker(setup: Setup) -> Result<(Receiver<Event>, Handle), Failure> {
    let (sender, events) = mpsc::channel();
    signals::forward(sender.clone()).map_err(|error| Failure::Start(format!("signals: {error}")))?;
    let on_exit = move || {
        // Refused only when nobody waits any more.
        let _ = sender.send(Event::WorkerEnded);
    };
    let worker = worker::start(setup, on_exit).map_err(Failure::Start)?;
    Ok((events, worker))
}

fn announce(config: &Config, addresses: &[String]) {
    for address in addresses {
        log::info!("Listening on {address}");
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    log::info!("1 worker of {cores} {}", if cores == 1 { "core" } else { "cores" });
    if let Some(port) = &config.classic {
        log::info!("Started.  Listening on port {port}.");
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Signal(Signal),
    WorkerEnded,
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

struct Running<'a> {
    events: Receiver<Event>,
    worker: Handle,
    access: Option<&'a AccessLog>,
    drain: Duration,
}

impl Running<'_> {
    /// Until the worker has ended.
    fn wait(self) -> Result<(), Failure> {
        let mut phase = Phase::Serving;
        loop {
            match self.next(phase) {
                Ok(Event::WorkerEnded) => {
                    let tally = self.worker.tally();
                    let outcome = self.worker.join();
                    say_troubles(&tally);
                    return ended(outcome, phase);
                }
                Ok(Event::Signal(signal)) => phase = self.obey(signal, phase),
                Err(_) => match phase {
                    Phase::Stopping(_) => return Err(Failure::Fault("the worker does not stop".into())),
                    _ => phase = self.stop("drain_timeout is over"),
                },
            }
        }
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
            Signal::Reload => log::warn!("reload: not supported by this version"),
            Signal::Upgrade => log::warn!("upgrade (USR2): not supported by this version"),
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
                self.worker.drain();
                Phase::Draining(Instant::now() + self.drain + DRAIN_GRACE)
            }
            Phase::Draining(_) => self.stop("told again"),
            Phase::Stopping(_) => phase,
        }
    }

    fn stop(&self, why: &str) -> Phase {
        log::info!("Stopping at once: {why}");
        self.worker.stop();
        Phase::Stopping(Instant::now() + STOP_WAIT)
    }
}

/// One line over the whole run, if anything in it ended otherwise than well.
fn say_troubles(tally: &Tally) {
    let troubles = tally.troubles();
    if !troubles.is_empty() {
        log::info!("Ended otherwise than well since the start: {troubles}");
    }
}

/// A worker that ends without being told to is a fault, however it puts it.
fn ended(outcome: Outcome, phase: Phase) -> Result<(), Failure> {
    match (outcome, phase) {
        (Outcome::Panicked(what), _) => Err(Failure::Fault(what)),
        (Outcome::Finished, Phase::Serving) => Err(Failure::Fault("the worker ended by itself".into())),
        (Outcome::Finished, _) => {
            log::info!("Stopped");
            Ok(())
        }
    }
}
