//! A loaded config as a worker runs it. The worker holds the current one, and each exchange the one that it began with;
//! when another one takes its place, both run side by side until the last exchange of the old one has ended. The script
//! is let go sooner: when no exchange is left for which a function of it could still be called.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::conn::backend::BackendState;
use super::core::Core;
use super::pair::script_errors::ScriptErrors;
use super::time::min_rate::{Direction, MinRate};
use super::time::timeouts;
use crate::balance::{Server, Servers, WorkerServers};
use crate::config::{Config, Settings, Timeouts};
use crate::h1::HeadLimits;
use crate::net::Network;
use crate::route::{Handlers, Routes};
use crate::script::{PackedScript, Script};

/// What a worker is handed to run.
pub struct SiteParts<S = Script> {
    /// Counts the configs of this process, from 1; no two have the same.
    pub generation: u64,
    pub config: Arc<Config>,
    /// Of each pool, in the config's order.
    pub servers: Vec<Vec<Arc<Server>>>,
    pub script: S,
}

/// The same on its way to another thread.
pub type PackedSite = SiteParts<PackedScript>;

impl PackedSite {
    /// On the thread that will run it.
    pub(crate) fn unpack(self) -> SiteParts {
        let SiteParts { generation, config, servers, script } = self;
        SiteParts { generation, config, servers, script: script.unpack() }
    }
}

pub struct Site {
    pub generation: u64,
    pub routes: Routes,
    pub heads: Heads,
    /// No deadline of a state that begins now comes up before this, in microseconds.
    shortest: u64,
    /// What a client has to move, if anything: of its request, and of its response.
    min_rates: [Option<MinRate>; 2],
}

/// How long heads may be.
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
    /// Of a process with one worker and one config.
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
            min_rates: [Direction::Sending, Direction::Taking].map(|way| MinRate::of(settings, way)),
            routes,
        }
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

/// The functions of a site's script, for as long as one of them may still be called.
pub type SharedHandlers = Rc<RefCell<Handlers>>;

/// The site that new requests begin with, and what is left of earlier ones.
pub struct Sites {
    pub current: Rc<Site>,
    pub handlers: SharedHandlers,
    pub servers: WorkerServers,
    /// Of all sites that are left; see `Site::shortest`.
    pub shortest: u64,
    old: Vec<(Weak<Site>, Weak<RefCell<Handlers>>)>,
}

impl Sites {
    /// `worker`: its number among the workers.
    pub fn new(parts: SiteParts, worker: usize) -> Sites {
        let mut servers = WorkerServers::new(worker);
        let (current, handlers) = open(parts, &mut servers);
        Sites { shortest: current.shortest, current, handlers, servers, old: Vec::new() }
    }

    fn replace(&mut self, parts: SiteParts) {
        self.servers.unlist();
        let (site, handlers) = open(parts, &mut self.servers);
        let before = std::mem::replace(&mut self.current, site);
        let before =
            (Rc::downgrade(&before), Rc::downgrade(&std::mem::replace(&mut self.handlers, handlers)));
        self.old.push(before);
        self.forget_ended();
    }

    /// Deadlines of the sites that are left decide how soon timers have to come up.
    fn forget_ended(&mut self) {
        self.old.retain(|(site, _)| site.strong_count() > 0);
        let left = self.old.iter().filter_map(|(site, _)| site.upgrade());
        self.shortest = left.map(|site| site.shortest).fold(self.current.shortest, u64::min);
    }

    /// Sites and scripts that are in memory besides the current ones.
    fn left(&self) -> (usize, usize) {
        let sites = self.old.iter().filter(|(site, _)| site.strong_count() > 0);
        let scripts = self.old.iter().filter(|(_, script)| script.strong_count() > 0);
        (sites.count(), scripts.count())
    }
}

fn open(parts: SiteParts, servers: &mut WorkerServers) -> (Rc<Site>, SharedHandlers) {
    let routes = Routes::new(parts.config, &parts.servers, servers);
    let handlers = Rc::new(RefCell::new(Handlers::new(parts.script)));
    (Rc::new(Site::new(parts.generation, routes)), handlers)
}

impl<N: Network> Core<N> {
    /// New requests begin with this site from now on; those that run end with theirs.
    pub fn set_site(&mut self, parts: SiteParts) {
        self.sites.replace(parts);
        self.tools.pipes.set_least(self.sites.current.settings().splice);
        self.tools.generation = self.sites.current.generation;
        self.spare.renew(&self.sites);
        for (_, pair) in &mut self.pairs {
            if pair.exchange.begun {
                pair.handlers = None;
            }
        }
        self.close_stale_idle();
        self.sites.forget_ended();
        self.tools.errors = ScriptErrors::default();
        // Its timeouts may be shorter.
        self.clients.keys().into_iter().for_each(|key| self.watch_client(key));
        self.backends.keys().into_iter().for_each(|key| self.watch_backend(key));
    }

    /// Idle connections of servers that the current site does not know, or that moved, wait for nothing.
    fn close_stale_idle(&mut self) {
        for key in self.backends.keys() {
            let role = &self.backends[key].role;
            if role.state == BackendState::Idle && !role.server.keeps(role.moves) {
                self.close_backend(key);
            }
        }
    }

    /// Sites and scripts that earlier requests still hold, for tests and reports.
    pub fn old_sites(&self) -> (usize, usize) {
        self.sites.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_may_be_as_long_as_the_codec_takes_them_where_the_config_says_nothing() {
        let heads = Heads { request: HeadLimits::REQUEST, response: HeadLimits::RESPONSE };
        assert_eq!(Heads::of(&Settings::default()), heads);
    }
}
