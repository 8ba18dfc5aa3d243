//! A loaded config as a worker runs it. The worker holds the current site, and each exchange the one it began with;
//! after a reload both run side by side until the last exchange of the old one has ended. The script is freed earlier:
//! once no exchange can call its functions any more.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use super::conn::backend::BackendState;
use super::core::Core;
use super::pair::script_errors::ScriptErrors;
use super::periodic::Periodic;
use super::time::min_rate::{Direction, MinRate};
use super::time::timeouts;
use crate::balance::{Grant, Inboxes, Servers, SitePools, WorkerServers};
use crate::config::{Config, Settings, Timeouts};
use crate::h1::HeadLimits;
use crate::net::Network;
use crate::route::{CallClock, Handlers, Routes};
use crate::script::{PackedScript, Script};

/// The parts that a worker makes a site from.
pub struct SiteParts<S = Script> {
    /// Number of the config in this process, from 1, never reused.
    pub generation: u64,
    pub config: Arc<Config>,
    /// Its pools, in the config's order.
    pub servers: SitePools,
    pub script: S,
}

/// The same in a form that can be sent to another thread.
pub type PackedSite = SiteParts<PackedScript>;

impl PackedSite {
    /// Unpacks on the thread that will run it.
    pub(crate) fn unpack(self) -> SiteParts {
        let SiteParts { generation, config, servers, script } = self;
        SiteParts { generation, config, servers, script: script.unpack() }
    }
}

pub struct Site {
    pub generation: u64,
    pub routes: Routes,
    pub heads: Heads,
    /// Another site took its place.
    replaced: Cell<bool>,
    /// Lower bound of all deadlines of new states, in microseconds.
    shortest: u64,
    /// Minimum rates of the request body and of the response, if set.
    min_rates: [Option<MinRate>; 2],
}

/// Limits on the size of heads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heads {
    pub request: HeadLimits,
    pub response: HeadLimits,
}

impl Heads {
    pub fn of(settings: &Settings) -> Heads {
        let request = HeadLimits { bytes: settings.max_head as usize, fields: settings.max_fields as usize };
        Heads { request, response: request.twice() }
    }
}

impl SiteParts {
    /// Returns the parts for a process with one worker and one config.
    pub fn alone(config: Arc<Config>, script: Script) -> SiteParts {
        SiteParts { generation: 1, servers: Servers::new(1).of(&config), config, script }
    }
}

impl Site {
    fn new(generation: u64, routes: Routes) -> Site {
        let settings = &routes.config.settings;
        Site {
            generation,
            heads: Heads::of(settings),
            shortest: timeouts::shortest(&routes.config),
            replaced: Cell::new(false),
            min_rates: [Direction::Sending, Direction::Taking]
                .map(|direction| MinRate::of(settings, direction)),
            routes,
        }
    }

    pub fn is_current(&self) -> bool {
        !self.replaced.get()
    }

    pub fn settings(&self) -> &Settings {
        &self.routes.config.settings
    }

    pub fn timeouts(&self) -> &Timeouts {
        &self.settings().timeouts
    }

    pub fn min_rate(&self, direction: Direction) -> Option<MinRate> {
        self.min_rates[direction as usize]
    }
}

/// The script functions of a site, shared by all that may still call one.
pub type SharedHandlers = Rc<RefCell<Handlers>>;

/// The current site, and earlier ones that are still in use.
pub struct Sites {
    pub current: Rc<Site>,
    pub handlers: SharedHandlers,
    pub servers: Rc<RefCell<WorkerServers>>,
    inboxes: Arc<Inboxes>,
    worker: usize,
    /// When functions of `rsp.every` of the current one run.
    pub periodic: Periodic,
    /// Minimum of `Site::shortest` over all sites in use.
    pub shortest: u64,
    old: Vec<(Weak<Site>, Weak<RefCell<Handlers>>)>,
}

impl Sites {
    /// `worker`: the worker's number, from 0.
    pub fn new(parts: SiteParts, worker: usize) -> Sites {
        let servers = Rc::new(RefCell::new(WorkerServers::new(worker)));
        let inboxes = parts.servers.inboxes.clone();
        let (current, handlers) = open(parts, &servers);
        let (shortest, periodic, old) = (current.shortest, Periodic::default(), Vec::new());
        Sites { shortest, periodic, current, handlers, servers, inboxes, worker, old }
    }

    /// The worker's number, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The number of workers.
    pub fn workers(&self) -> usize {
        self.inboxes.workers()
    }

    /// How to wake this worker for a grant.
    pub fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.inboxes.wake_by(self.worker, wake);
    }

    pub fn has_grants(&self) -> bool {
        self.inboxes.has_grants(self.worker)
    }

    pub fn take_grants(&self) -> Vec<Grant> {
        self.inboxes.take(self.worker)
    }

    /// Uses a fresh VM of the current site for new requests.
    fn renew(&mut self, script: Script) {
        let clock = call_clock(&self.current.routes.config);
        self.handlers = Rc::new(RefCell::new(Handlers::new(script, clock)));
    }

    fn replace(&mut self, parts: SiteParts) {
        self.servers.borrow().unlist();
        let (site, handlers) = open(parts, &self.servers);
        let before = std::mem::replace(&mut self.current, site);
        before.replaced.set(true);
        before.routes.pools.iter().for_each(|pool| pool.retire());
        let before =
            (Rc::downgrade(&before), Rc::downgrade(&std::mem::replace(&mut self.handlers, handlers)));
        self.old.push(before);
        self.forget_ended();
    }

    /// Drops sites that have ended and updates `shortest` from those left.
    fn forget_ended(&mut self) {
        self.old.retain(|(site, _)| site.strong_count() > 0);
        let left = self.old.iter().filter_map(|(site, _)| site.upgrade());
        self.shortest = left.map(|site| site.shortest).fold(self.current.shortest, u64::min);
    }

    /// Returns the numbers of old sites and old scripts still in memory.
    fn left(&self) -> (usize, usize) {
        let sites = self.old.iter().filter(|(site, _)| site.strong_count() > 0);
        let scripts = self.old.iter().filter(|(_, script)| script.strong_count() > 0);
        (sites.count(), scripts.count())
    }
}

fn open(parts: SiteParts, servers: &Rc<RefCell<WorkerServers>>) -> (Rc<Site>, SharedHandlers) {
    let handlers = Rc::new(RefCell::new(Handlers::new(parts.script, call_clock(&parts.config))));
    let routes = Routes::new(parts.config, &parts.servers, servers);
    (Rc::new(Site::new(parts.generation, routes)), handlers)
}

/// For the access log, if its format says how long the script runs.
fn call_clock(config: &Config) -> Option<CallClock> {
    let log = config.settings.access_log.as_ref()?;
    log.format.shows_script().then(microseconds)
}

pub(crate) fn microseconds() -> CallClock {
    let zero = Instant::now();
    Box::new(move || zero.elapsed().as_micros() as u64)
}

impl<N: Network> Core<N> {
    /// Uses this site for new requests; running ones finish with theirs.
    pub fn set_site(&mut self, parts: SiteParts) {
        self.sites.replace(parts);
        self.sites.handlers.borrow_mut().name_listeners(self.listener_names.clone());
        self.tools.buffers = self.tools.buffers.limited(self.sites.current.settings().buffer_memory as usize);
        self.tools.pipes.set_least(self.sites.current.settings().splice);
        self.spare.renew(&self.sites);
        for pair in self.pairs.iter_mut() {
            if pair.exchange.has_begun() {
                pair.handlers = None;
            }
        }
        self.close_stale_idle();
        self.sites.forget_ended();
        self.checks.look();
        self.tools.errors = ScriptErrors::default();
        self.observe();
        // The new timeouts may be shorter.
        self.look_ahead();
        self.clients.keys().into_iter().for_each(|key| self.watch_client(key));
        self.backends.keys().into_iter().for_each(|key| self.watch_backend(key));
    }

    /// The script's VM has used up its memory.
    pub fn needs_script(&self) -> bool {
        self.sites.handlers.borrow().needs_replacement()
    }

    /// Uses a fresh VM for new requests, if it is one of the current site; those that run finish with theirs.
    pub(crate) fn set_script(&mut self, generation: u64, script: PackedScript) {
        if generation != self.sites.current.generation {
            return;
        }
        self.sites.renew(script.unpack());
        self.spare.renew(&self.sites);
        self.sites.handlers.borrow_mut().name_listeners(self.listener_names.clone());
        self.observe();
        self.start_script();
    }

    /// Closes idle connections of servers that moved or that the current site does not have.
    pub(crate) fn close_stale_idle(&mut self) {
        for key in self.backends.keys() {
            let role = &self.backends[key].role;
            if role.state == BackendState::Idle && !role.may_be_kept() {
                self.close_backend(key);
            }
        }
    }

    /// Returns the numbers of old sites and scripts still in use, for tests and reports.
    pub fn old_sites(&self) -> (usize, usize) {
        self.sites.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_head_limits_are_the_codecs() {
        let heads = Heads { request: HeadLimits::REQUEST, response: HeadLimits::RESPONSE };
        assert_eq!(Heads::of(&Settings::default()), heads);
    }
}
