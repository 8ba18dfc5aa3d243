//! The program's life: load the config, open the log, bind every listener, start the workers, wait (`supervise`),
//! end. Everything that can fail because of the operator's config or machine fails before the first connection.
//!
//! ```text
//! load ─► prepare: access log, listeners, names ─► workers ─► supervise ─► the last lines of the logs
//! ```

use std::thread;
use std::time::Duration;

use crate::base::batch::Sender;
use crate::base::buffer::BLOCK;
use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{Config, Workers};
use crate::control::errors;
use crate::control::lines::FormatLine;
use crate::control::process::{NextNames, Process, WorkerParts};
use crate::control::run_error::RunError;
use crate::control::supervise::Running;
use crate::control::{descriptors, startup};
use crate::net;
use crate::script::{self, Source};
use crate::worker::{NextListener, WorkerIo};

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
}

type OnListening = Box<dyn FnOnce(&[String])>;

impl Start {
    pub fn plain(source: Source) -> Start {
        Start { source, level: "info", lines: None, drain: None, ready: Box::new(|_| {}) }
    }
}

/// Runs until told to stop. The error is for the operator to read; everything else was logged.
pub fn run(start: Start) -> Result<(), RunError> {
    net::map_allocations_from(BLOCK);
    let _errors = errors::start(start.level).map_err(|error| RunError::Start(os_error(&error)))?;
    serve(start)
}

fn serve(mut start: Start) -> Result<(), RunError> {
    // This VM is dropped: every worker makes its own from the same source.
    let (config, _) = script::load(&mut start.source).map_err(RunError::Config)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut process = Process::new(number_of_workers(config.settings.workers, cores));
    let own_lines = start.lines.take().map(|line| process.write_own_lines(line)).transpose()?;
    let outcome = serve_with(&mut process, start, config, own_lines, cores);
    process.close_logs();
    outcome
}

fn serve_with(
    process: &mut Process,
    start: Start,
    config: Config,
    own_lines: Option<Vec<Option<Sender>>>,
    cores: usize,
) -> Result<(), RunError> {
    // Catch signals before a socket file exists that only an orderly end removes.
    let control = startup::control_loop()?;
    let names = startup::names(&config, None)?;
    let prepared = process.prepare(config, NextNames::New(names))?;
    descriptors::has_room_for_a_client(process.workers)?;
    let parts = process.switch(prepared);
    let setups = process.setups(&start.source);
    let shared = setups[0].shared.clone();
    let each = setups.into_iter().zip(worker_io(parts, own_lines));
    let Some((control, workers)) = startup::start(each, control)? else { return Ok(()) };
    announce(process, cores);
    (start.ready)(&process.addresses());
    Running::new(control, workers, process, shared, (&start.source, start.drain))?.wait()
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
fn worker_io(parts: Vec<WorkerParts>, own_lines: Option<Vec<Option<Sender>>>) -> Vec<WorkerIo> {
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
