//! The program's life: load the config, open the log, bind every listener, start the workers, wait (`supervise`),
//! end. Everything that can fail because of the operator's config or machine fails before the first connection.
//!
//! ```text
//! load ─► access log ─► bind all ─► workers ─► supervise ─► the last lines of the logs
//! ```

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::Level;

use crate::balance::{Servers, SitePools};
use crate::base::batch::Sender;
use crate::base::buffer::BLOCK;
use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{AccessLog as AccessSettings, Address, Config, LogTarget, Workers};
use crate::control::access::{self, AccessLogHandle};
use crate::control::clock::Clock;
use crate::control::errors;
use crate::control::lines::{self, FormatLine};
use crate::control::names::Names;
use crate::control::run_error::RunError;
use crate::control::startup;
use crate::control::supervise::Running;
use crate::net::{self, Listener};
use crate::script::{self, Source};
use crate::worker::{self, Setup, WorkerIo};

/// Descriptors that are not connections: logs, epoll, the reserve, the odd file.
const SPARE_DESCRIPTORS: u64 = 80;
/// Descriptors of a worker besides connections and listeners: two epolls and a waker.
const PER_WORKER: u64 = 3;
/// Descriptors for splice pipes; with a low limit, pipes are given up first.
const PIPES: u64 = 256;

/// How long the first lookup of names may hold up the start.
const NAMES: Duration = Duration::from_secs(2);

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
    let (stated, _) = script::load(&mut start.source).map_err(RunError::Config)?;
    let mut config = stated.clone();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = number_of_workers(config.settings.workers, cores);
    let room = fit_descriptors(&mut config, workers);
    let clock = Clock { zero: Instant::now() };
    let (senders, access) = open_access_log(&config, start.lines.take(), clock, workers)?;
    let servers = Servers::new(workers);
    let (stated, config) = (Arc::new(stated), Arc::new(config));
    let prepared = Prepared { stated, config, servers, clock, cores, room };
    let outcome = prepared.serve(start, senders, access.as_ref());
    if let Some(access) = access
        && let Err(lost) = access.close(errors::FLUSH)
    {
        let lost = counted(lost, "line");
        log::warn!("access log: {lost} lost, not written within {:?} of the stop", errors::FLUSH);
    }
    outcome
}

/// What to serve, and facts about the machine.
struct Prepared {
    /// As the source states it.
    stated: Arc<Config>,
    /// As the machine allows it.
    config: Arc<Config>,
    /// Those of all configs that will follow as well.
    servers: Servers,
    clock: Clock,
    cores: usize,
    /// A limit that had to be lowered, with the level of its log line.
    room: Option<(Level, String)>,
}

impl Prepared {
    /// Runs one worker for each sender.
    fn serve(
        self,
        start: Start,
        senders: Vec<Option<Sender>>,
        access: Option<&AccessLogHandle>,
    ) -> Result<(), RunError> {
        // Catch signals before a socket file exists that only an orderly end removes.
        let control = startup::control_loop()?;
        let listeners = bind_all(&self.config, senders.len())?;
        has_room_for_a_client(senders.len())?;
        let addresses: Vec<String> = listeners[0].iter().map(Listener::address).collect();
        let pools = self.servers.of(&self.config);
        let _names = names(&self.config, &pools)?;
        let io = listeners.into_iter().zip(senders);
        let io = io.map(|(listeners, access)| WorkerIo { listeners, access });
        let setups =
            Setup::each(io.len(), &self.servers, &self.config, &self.stated, &start.source, self.clock.zero);
        let each = setups.into_iter().zip(io);
        let started = startup::start(each, control)?;
        let Some((control, workers)) = started else { return Ok(()) };
        self.announce(&addresses, workers.len());
        (start.ready)(&addresses);
        let drain = start.drain.unwrap_or(self.config.settings.drain_timeout);
        Running::new(control, workers, access, drain).wait()
    }

    fn announce(&self, addresses: &[String], workers: usize) {
        for address in addresses {
            log::info!("Listening on {address}");
        }
        let (some_workers, some_cores) =
            (counted(workers as u64, "worker"), counted(self.cores as u64, "core"));
        log::info!("{some_workers} of {some_cores}");
        if let Some(port) = &self.config.classic {
            log::info!("Started.  Listening on port {port}.");
        }
        if let Some((level, line)) = &self.room {
            log::log!(*level, "{line}");
        }
        for warning in &self.config.warnings {
            log::warn!("{warning}");
        }
        for warning in socket_warnings(&self.config) {
            log::warn!("{warning}");
        }
    }
}

/// Looks up the names of servers, and waits a little: a name that does not resolve is no reason not to start.
fn names(config: &Config, pools: &SitePools) -> Result<Option<Names>, RunError> {
    let names = Names::start(config, pools);
    let names =
        names.map_err(|error| RunError::Start(format!("cannot look up names: {}", os_error(&error))))?;
    if let Some(names) = &names {
        names.wait(NAMES);
        for line in names.pending() {
            log::warn!("{line}; it is down until there is one");
        }
    }
    Ok(names)
}

fn number_of_workers(wanted: Workers, cores: usize) -> usize {
    match wanted {
        Workers::Number(number) => number,
        Workers::Auto => cores.min(Workers::MOST),
    }
}

/// A client needs at least two descriptors: its own and its server's. The returned line is logged once everything
/// runs; a warning if the operator asked for more.
fn fit_descriptors(config: &mut Config, workers: usize) -> Option<(Level, String)> {
    let limit = match net::raise_descriptor_limit() {
        Ok(limit) => limit,
        Err(error) => {
            return Some((
                Level::Warn,
                format!("cannot raise the limit of open files: {}", os_error(&error)),
            ));
        }
    };
    let of_workers = workers as u64 * (PER_WORKER + config.listeners.len() as u64);
    let spare = SPARE_DESCRIPTORS + PIPES.min(limit / 8) + of_workers;
    // With PROXY headers, connections to servers belong to one client and are kept with it.
    let kept = if config.pools.iter().any(|pool| pool.send_proxy.is_some()) { worker::KEPT } else { 1 };
    let possible = (limit.saturating_sub(spare) / (1 + kept as u64)).max(1);
    let wanted = config.settings.max_connections as u64;
    if wanted <= possible {
        return None;
    }
    config.settings.max_connections = possible as usize;
    let taken_by_workers = taken_by_workers(workers, of_workers);
    Some(match config.settings.max_connections_is_set {
        true => (
            Level::Warn,
            format!(
                "max_connections lowered from {wanted} to {possible}: the limit of open files is {limit} \
                 (ulimit -Hn){taken_by_workers}"
            ),
        ),
        false => (
            Level::Info,
            format!(
                "room for {} with {limit} open files (ulimit -Hn){taken_by_workers}",
                counted(possible, "client")
            ),
        ),
    })
}

/// Everything is open now but what workers open later. Without this check rsp would run and accept nobody.
fn has_room_for_a_client(workers: usize) -> Result<(), RunError> {
    let Some((lacking, error)) = net::lacks_for_a_client(workers * PER_WORKER as usize) else {
        return Ok(());
    };
    let limit = net::raise_descriptor_limit().unwrap_or_default();
    Err(RunError::Start(format!(
        "{}: the limit is {limit} (ulimit -Hn), and rsp needs {} to serve a client",
        os_error(&error),
        limit + lacking as u64
    )))
}

/// The descriptors that several workers need, for the log line.
fn taken_by_workers(workers: usize, descriptors: u64) -> String {
    if workers == 1 { String::new() } else { format!(", and {workers} workers take {descriptors} of it") }
}

/// A sender for each worker, and the log.
type Access = (Vec<Option<Sender>>, Option<AccessLogHandle>);

fn open_access_log(
    config: &Config,
    own: Option<FormatLine>,
    clock: Clock,
    workers: usize,
) -> Result<Access, RunError> {
    let (target, line) = match (own, &config.settings.access_log) {
        (Some(line), _) => (&LogTarget::Stdout, line),
        (None, Some(AccessSettings { target, format })) => (target, lines::line(*format)),
        (None, None) => return Ok(((0..workers).map(|_| None).collect(), None)),
    };
    let name = match target {
        LogTarget::Stdout => "on stdout".to_string(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let opened = access::start(target, line, clock, workers);
    let (senders, log) = opened.map_err(|error| RunError::AccessLog(name, error))?;
    Ok((senders.into_iter().map(Some).collect(), Some(log)))
}

/// For each worker its listeners, in the order of the config.
fn bind_all(config: &Config, workers: usize) -> Result<Vec<Vec<Listener>>, RunError> {
    let mut all: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for wanted in &config.listeners {
        let bound = net::bind_for(wanted, workers);
        let bound = bound.map_err(|error| RunError::Listen(wanted.address.clone(), error))?;
        all.iter_mut().zip(bound).for_each(|(worker, listener)| worker.push(listener));
    }
    Ok(all)
}

/// Socket options that the kernel did not grant: one warning each, since everything works without them.
fn socket_warnings(config: &Config) -> Vec<String> {
    let backlog = config.listeners.iter().map(|listener| listener.backlog).max();
    let mut lines: Vec<String> = backlog.and_then(net::short_backlog).into_iter().collect();
    for listener in &config.listeners {
        let Address::Ip(address) = listener.address else { continue };
        lines.extend(net::shortfalls(&listener.sockets).into_iter().map(|line| format!("{address}: {line}")));
    }
    for pool in &config.pools {
        let name = &pool.name;
        lines.extend(net::shortfalls(&pool.sockets).into_iter().map(|line| format!("pool {name}: {line}")));
    }
    lines
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

    #[test]
    fn descriptors_of_several_workers_are_mentioned() {
        assert_eq!(taken_by_workers(1, 4), "");
        assert_eq!(taken_by_workers(64, 256), ", and 64 workers take 256 of it");
    }
}
