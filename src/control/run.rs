//! The program's life: load the config, open the log, bind every listener, become the user of the config, start the
//! workers, wait (`supervise`), end. Everything that can fail because of the operator's config or machine fails before
//! the first connection.
//!
//! ```text
//! load ─► open: access log, listeners ─► user, group ─► threads: logs, names, workers ─► supervise ─► last lines
//! └───────────────── no second thread ─────────────┘
//! ```

use std::thread;
use std::time::Duration;

use crate::base::buffer::BLOCK;
use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{Config, Workers};
use crate::control::event_loop::ControlLoop;
use crate::control::lines::FormatLine;
use crate::control::permissions::Need;
use crate::control::privileges::Identity;
use crate::control::process::{NextNames, Opened, Process, WorkerParts};
use crate::control::run_error::RunError;
use crate::control::signals::CaughtSignals;
use crate::control::supervise::Running;
use crate::control::upgrade::{Handover, Predecessor};
use crate::control::{descriptors, errors, notify, permissions, privileges, startup};
use crate::net::{self, Inherited};
use crate::script::{self, Source};
use crate::worker::{AccessSender, NextListener, WorkerIo};

/// What to run, with deviations from the config.
pub struct Start {
    pub source: Source,
    /// Log level unless RSP_LOG is set.
    pub level: &'static str,
    /// Another format on standard output, instead of the config's access log.
    pub lines: Option<FormatLine>,
    /// Overrides the config's `drain_timeout`.
    pub drain: Option<Duration>,
    /// Called once with the listening addresses.
    pub ready: OnListening,
    /// Sockets that the process was started with.
    pub inherited: Inherited,
    /// The process that this one takes over from.
    pub predecessor: Option<Predecessor>,
}

type OnListening = Box<dyn FnOnce(&[String])>;

impl Start {
    pub fn plain(source: Source) -> Start {
        let ready = Box::new(|_: &[String]| {});
        let inherited = Inherited::default();
        Start { source, level: "info", lines: None, drain: None, ready, inherited, predecessor: None }
    }
}

/// Runs until told to stop. The error is for the operator to read; everything else was logged.
pub fn run(mut start: Start) -> Result<(), RunError> {
    net::map_allocations_from(BLOCK);
    let errors = errors::install(start.level);
    let mut opened = Everything::open(&mut start)?;
    let _errors = errors.start().map_err(|error| RunError::Start(os_error(&error)))?;
    let unused: Vec<String> = opened.process.inherited().unused().into_iter().map(str::to_owned).collect();
    opened.process.inherited().close_addresses();
    let Everything { mut process, config, control, own_lines, cores, warnings, handover } = opened;
    let outcome =
        serve(&mut process, start, (config, own_lines), control, (cores, &warnings), (handover, &unused));
    process.close_logs();
    outcome
}

/// All that may need root, opened before the first thread.
struct Everything {
    process: Process,
    config: Opened,
    control: (ControlLoop, CaughtSignals),
    own_lines: Option<Vec<Option<AccessSender>>>,
    cores: usize,
    warnings: Vec<String>,
    /// What the process before this one knows.
    handover: Option<Handover>,
}

impl Everything {
    fn open(start: &mut Start) -> Result<Everything, RunError> {
        // This VM is dropped: every worker makes its own from the same source.
        let (config, _) = script::load(&mut start.source).map_err(RunError::Config)?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let inherited = std::mem::take(&mut start.inherited);
        let workers = number_of_workers(config.settings.workers, cores);
        let mut process = Process::new(workers, inherited, start.source.store().clone());
        let handover = start.predecessor.as_mut().map(Predecessor::state).transpose();
        let handover = handover.map_err(|error| RunError::Start(format!("cannot take over: {error}")))?;
        if let Some(handover) = &handover {
            handover.set_by_hand(&process.servers);
            handover.tickets.adopt();
            handover.fill(&process.store);
        }
        process.identity = privileges::identity(&config.settings).map_err(RunError::Start)?;
        let own_lines = start.lines.take().map(|line| process.write_own_lines(line)).transpose()?;
        // Catch signals before a socket file exists that only an orderly end removes.
        let control = startup::control_loop()?;
        let config = process.open(config)?;
        descriptors::has_room_for_a_client(process.workers)?;
        let mut warnings: Vec<String> = notify::start().into_iter().collect();
        let unused = process.inherited().unused().into_iter();
        warnings.extend(unused.map(|address| format!("{address} was passed, and no rsp.listen names it")));
        if let Some(identity) = &process.identity {
            let of_user = become_user(identity, config.config(), &start.source)?;
            // One that takes over is that user already.
            warnings.extend(of_user.into_iter().filter(|_| handover.is_none()));
        }
        Ok(Everything { process, config, control, own_lines, cores, warnings, handover })
    }
}

/// Gives up what only root may do, and checks that rsp can go on without. Returns warnings.
fn become_user(identity: &Identity, config: &Config, source: &Source) -> Result<Vec<String>, RunError> {
    let needs = permissions::needs(config, source);
    let mut warnings: Vec<String> = identity.assume(config)?.into_iter().collect();
    permissions::check(&needs, identity)?;
    let read = source.paths().map(|path| Need::Read(path.to_owned()));
    let unreadable = read.filter_map(|need| permissions::obstacle(&need, identity));
    warnings.extend(unreadable.map(|line| format!("{line}: needed by a reload")));
    Ok(warnings)
}

fn serve(
    process: &mut Process,
    start: Start,
    (config, own_lines): (Opened, Option<Vec<Option<AccessSender>>>),
    (control, signals): (ControlLoop, CaughtSignals),
    (cores, warnings): (usize, &[String]),
    (handover, unused): (Option<Handover>, &[String]),
) -> Result<(), RunError> {
    startup::forward(signals, &control)?;
    let names = startup::names(config.config(), None)?;
    let prepared = config.start(NextNames::New(names))?;
    let parts = process.switch(prepared);
    if let Some(handover) = handover {
        process.set_checked(&handover);
    }
    let setups = process.setups(&start.source);
    let shared = setups[0].shared.clone();
    process.serve_challenges(&shared);
    process.serve_jobs(&shared);
    let each = setups.into_iter().zip(worker_io(parts, own_lines));
    let Some((control, workers)) = startup::start(each, control)? else { return Ok(()) };
    announce(process, cores);
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
    (start.ready)(&process.addresses());
    match start.predecessor.map(|old| old.take_over(unused)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => log::warn!("the process before this one is gone"),
        Some(Err(error)) => {
            return Err(RunError::Start(format!("the process before this one: {}", os_error(&error))));
        }
    }
    let running = Running::new(control, workers, process, shared, (&start.source, start.drain))?;
    drop(start.source);
    running.wait()
}

fn announce(process: &mut Process, cores: usize) {
    process.announce();
    let (some_workers, some_cores) =
        (counted(process.workers as u64, "worker"), counted(cores as u64, "core"));
    log::info!("{some_workers} of {some_cores}");
    if let Some(port) = &process.config.classic {
        log::info!("Started.  Listening on port {port}.");
    }
    process.warn();
}

/// What the workers start with.
fn worker_io(parts: Vec<WorkerParts>, own_lines: Option<Vec<Option<AccessSender>>>) -> Vec<WorkerIo> {
    let mut own_lines = own_lines.into_iter().flatten();
    let each = parts.into_iter().map(|WorkerParts { listeners, access }| {
        let new = |next| if let NextListener::New(listener) = next { Some(listener) } else { None };
        let listeners = listeners.into_iter().filter_map(new).collect();
        WorkerIo { listeners, access: access.flatten().or_else(|| own_lines.next().flatten()) }
    });
    each.collect()
}

fn number_of_workers(wanted: Workers, cores: usize) -> usize {
    match wanted {
        Workers::Number(number) => number,
        Workers::Auto => cores.min(Workers::MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_one_worker_a_core_up_to_the_limit() {
        assert_eq!(number_of_workers(Workers::Auto, 3), 3);
        assert_eq!(number_of_workers(Workers::Auto, 1000), Workers::MOST);
        assert_eq!(number_of_workers(Workers::Number(7), 3), 7);
    }
}
