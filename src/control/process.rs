//! What a config makes of the process: limits, listeners, the access log, pools and names. Made at the start and changed
//! by a reload, in two steps: first all that can fail, then all that cannot, so that nothing is half changed.
//!
//! ```text
//! config ─ prepare ─► Prepared: sockets bound, log open, names looked up ─ switch ─► parts for each worker
//!             └── error: everything stays as it was
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use log::Level;

use crate::balance::{PoolState, Server, ServerState, Servers, SitePools};
use crate::base::batch::Sender;
use crate::base::counted::counted;
use crate::base::os_error::os_error;
use crate::config::{AccessLog as AccessSettings, Config, LogTarget};
use crate::control::access::{self, Access, AccessLogHandle, OpenLog, OpenedLog};
use crate::control::certificates::{CertificateWatch, Notices};
use crate::control::challenges;
use crate::control::clock::Clock;
use crate::control::descriptors;
use crate::control::errors;
use crate::control::jobs;
use crate::control::lines::{self, FormatLine};
use crate::control::listeners::{self, Listeners};
use crate::control::lookups::LookupWatch;
use crate::control::names::{Names, Watched};
use crate::control::privileges::Identity;
use crate::control::run_error::RunError;
use crate::control::sockets::NextSockets;
use crate::control::upgrade::Handover;
use crate::control::warnings;
use crate::net::Inherited;
use crate::script::{PackedScript, Source};
use crate::store::Store;
use crate::worker::{AccessSender, NextListener, PackedSite, Setup, Shared};

pub struct Process {
    pub workers: usize,
    pub clock: Clock,
    /// Those of all configs.
    pub servers: Servers,
    /// What scripts share.
    pub store: Arc<Store>,
    /// The number of the present config, from 1.
    pub generation: u64,
    /// The present config as the source states it.
    pub stated: Arc<Config>,
    /// As the machine allows it.
    pub config: Arc<Config>,
    /// Keeps them while no worker does.
    pools: Option<SitePools>,
    names: Option<Names>,
    /// Who the process runs as, if the config says so.
    pub identity: Option<Identity>,
    certificates: Option<CertificateWatch>,
    lookups: Option<LookupWatch>,
    /// What was said of their ends.
    notices: Notices,
    listeners: Listeners,
    access: Access,
    /// For the control thread's loop.
    sockets: NextSockets,
    /// What was last logged: the addresses, and a limit that had to be lowered.
    said: (Vec<String>, Option<String>),
    room: Option<(Level, String)>,
}

/// What a config needs beyond the present one: open, and without a thread yet.
pub struct Opened {
    stated: Arc<Config>,
    config: Arc<Config>,
    /// A limit that had to be lowered, with the level of its log line.
    room: Option<(Level, String)>,
    listeners: listeners::Prepared,
    /// If the log changes.
    access: Option<Option<OpenLog<OpenedLog>>>,
    sockets: NextSockets,
}

/// A config that can take the place of the present one.
pub struct Prepared {
    opened: Opened,
    /// The running log of it, if that changes.
    access: Option<Option<OpenLog<AccessLogHandle>>>,
    names: NextNames,
}

impl Opened {
    /// As the machine allows it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Starts the log.
    pub fn start(mut self, names: NextNames) -> Result<Prepared, RunError> {
        let start = |(senders, log): OpenLog<OpenedLog>| log.start().map(|log| (senders, log));
        let started = self.access.take().map(|log| log.map(start).transpose()).transpose();
        let access = started
            .map_err(|error| RunError::Start(format!("cannot start the access log: {}", os_error(&error))))?;
        Ok(Prepared { opened: self, access, names })
    }
}

/// The names of the next config.
pub enum NextNames {
    Same,
    New(Option<Names>),
}

/// What a worker gets of a config besides the config.
pub struct WorkerParts {
    pub listeners: Vec<NextListener>,
    /// If the access log changes.
    pub access: Option<Option<AccessSender>>,
}

impl Process {
    /// Without any config yet. `inherited`: sockets that the process was started with.
    pub fn new(workers: usize, inherited: Inherited, store: Arc<Store>) -> Process {
        let nothing = Arc::new(Config::default());
        let servers = Servers::new(workers);
        servers.former().set_clock(SystemTime::now);
        Process {
            workers,
            clock: Clock { zero: Instant::now() },
            servers,
            store,
            generation: 0,
            stated: nothing.clone(),
            config: nothing,
            pools: None,
            names: None,
            identity: None,
            certificates: None,
            lookups: None,
            notices: Notices::default(),
            listeners: Listeners::new(inherited),
            access: Access::default(),
            sockets: NextSockets::default(),
            said: Default::default(),
            room: None,
        }
    }

    /// Writes these lines to standard output, instead of the config's access log.
    pub fn write_own_lines(&mut self, line: FormatLine) -> Result<Vec<Option<AccessSender>>, RunError> {
        let (senders, log) = self.open_log(&LogTarget::Stdout, line)?;
        let senders = senders.into_iter().map(AccessSender::of_all);
        let log = log.start().map_err(|error| RunError::AccessLog("on stdout".into(), error))?;
        self.access = Access { log: Some(log), former: Vec::new(), lost: 0, is_own: true };
        Ok(senders.map(Some).collect())
    }

    /// Opens, binds and starts what the config needs beyond the present one.
    pub fn prepare(&self, stated: Config, names: NextNames) -> Result<Prepared, RunError> {
        self.open(stated)?.start(names)
    }

    /// The same without starting a thread.
    pub fn open(&self, stated: Config) -> Result<Opened, RunError> {
        let mut config = stated.clone();
        let room = descriptors::fit(&mut config, self.workers);
        let sockets =
            NextSockets::prepare(&self.stated.settings, &stated.settings, &self.listeners.inherited)?;
        let listeners = self.listeners.prepare(&config, self.workers)?;
        let access = self.prepare_log(config.settings.access_log.as_ref())?;
        let opened = (self.identity.as_ref()).map_or(Ok(()), |identity| identity.own_sockets(&stated));
        opened.map_err(RunError::Start)?;
        let (stated, config) = (Arc::new(stated), Arc::new(config));
        Ok(Opened { stated, config, room, listeners, access, sockets })
    }

    fn prepare_log(
        &self,
        wanted: Option<&AccessSettings>,
    ) -> Result<Option<Option<OpenLog<OpenedLog>>>, RunError> {
        let is_first = self.generation == 0;
        if self.access.is_own || !is_first && self.stated.settings.access_log.as_ref() == wanted {
            return Ok(None);
        }
        let open = |wanted: &AccessSettings| {
            let line = lines::line(wanted.format, &wanted.target);
            let (senders, log) = self.open_log(&wanted.target, line)?;
            Ok((senders.into_iter().map(|sender| AccessSender::new(sender, wanted)).collect(), log))
        };
        wanted.map(open).transpose().map(Some)
    }

    /// Returns the senders for the workers, too.
    fn open_log(&self, target: &LogTarget, line: FormatLine) -> Result<(Vec<Sender>, OpenedLog), RunError> {
        let name = match target {
            LogTarget::Stdout => "on stdout".to_string(),
            target => target.to_string(),
        };
        let opened = access::open(target, line, self.clock, self.workers, self.identity.as_ref());
        opened.map_err(|error| RunError::AccessLog(name, error))
    }

    /// Makes it the present config. Returns the parts for each worker.
    pub fn switch(&mut self, prepared: Prepared) -> Vec<WorkerParts> {
        let Prepared { opened, access, names } = prepared;
        let Opened { stated, config, room, listeners, sockets, .. } = opened;
        (self.stated, self.config, self.room) = (stated, config, room);
        self.generation += 1;
        self.sockets = sockets;
        let pools = self.servers.of(&self.config);
        if let NextNames::New(names) = names {
            // The earlier ones say nothing more once they are dropped.
            self.names = None;
            self.names = names;
        }
        let names = self.names.as_ref();
        let known = |pool: &str, server: &str| names?.servers(pool, server);
        let changes = Servers::adopt(&self.config, &pools, &known);
        if let Some(names) = names {
            names.serve(&pools, &changes);
        }
        self.pools = Some(pools);
        self.certificates = CertificateWatch::start(&self.config, self.notices.clone());
        self.lookups = LookupWatch::start(&self.config, &self.store);
        let listeners = self.listeners.switch(listeners, self.workers);
        let access = self.access.switch(access, self.workers);
        let parts = |(listeners, access)| WorkerParts { listeners, access };
        listeners.into_iter().zip(access).map(parts).collect()
    }

    /// Logs which listeners the present config changes.
    pub fn announce(&mut self) {
        let (before, now) = (std::mem::take(&mut self.said.0), self.listeners.addresses());
        for address in now.iter().filter(|address| !before.contains(address)) {
            log::info!("Listening on {address}");
        }
        for address in before.iter().filter(|address| !now.contains(address)) {
            log::info!("Not listening on {address} any more");
        }
        self.said.0 = now;
    }

    /// Logs what the operator should know of the present config.
    pub fn warn(&mut self) {
        let line = self.room.as_ref().map(|(_, line)| line.clone());
        if let Some((level, line)) = self.room.as_ref().filter(|_| line != self.said.1) {
            log::log!(*level, "{line}");
        }
        self.said.1 = line;
        for warning in &self.config.warnings {
            log::warn!("{warning}");
        }
        warnings::of(&self.config).iter().for_each(|line| log::warn!("{line}"));
    }

    /// Has files read for the workers, once a config wants that.
    pub fn serve_challenges(&self, shared: &Shared) {
        if self.config.settings.acme_challenge_dir.is_some()
            && let Err(error) = challenges::serve(shared)
        {
            log::error!("acme_challenge_dir: cannot start a thread: {}", os_error(&error));
        }
    }

    /// Has work done for handlers of the script that wait, once there may be any.
    pub fn serve_jobs(&self, shared: &Shared) {
        if (self.config.on_request || self.config.on_response)
            && let Err(error) = jobs::serve(shared)
        {
            log::error!("rsp.resolve: cannot start a thread: {}", os_error(&error));
        }
    }

    /// The sockets that the process was started with.
    pub fn inherited(&mut self) -> &mut Inherited {
        &mut self.listeners.inherited
    }

    pub fn addresses(&self) -> Vec<String> {
        self.listeners.addresses()
    }

    /// What is known of the names of servers, for the next config.
    pub fn known_names(&self) -> Option<Arc<Watched>> {
        self.names.as_ref().map(Names::watched)
    }

    /// The control socket and the admin address of the present config, once.
    pub fn take_sockets(&mut self) -> NextSockets {
        std::mem::take(&mut self.sockets)
    }

    /// The pools of the present config, in its order.
    pub fn pools(&self) -> &[Arc<PoolState>] {
        self.pools.as_ref().map_or(&[], |pools| &pools.pools)
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<PoolState>> {
        self.pools().iter().find(|pool| pool.name() == name)
    }

    /// Lines of access logs that were lost so far.
    pub fn lost_lines(&self) -> u64 {
        let Access { log, former, lost, .. } = &self.access;
        lost + former.iter().chain(log).map(AccessLogHandle::dropped).sum::<u64>()
    }

    /// The servers that have no result of a check yet.
    pub fn unchecked(&self) -> usize {
        let members = self.pools.iter().flat_map(|pools| &pools.pools).map(|pool| pool.members());
        let unchecked = |server: &&Arc<Server>| server.state() == ServerState::Unchecked;
        members.map(|members| members.iter().filter(unchecked).count()).sum()
    }

    /// The arguments of the workers' start.
    pub fn setups(&self, source: &Source) -> Vec<Setup> {
        Setup::each(self.workers, &self.servers, &self.config, &self.stated, source, self.clock.zero)
    }

    /// The present config for a worker that runs already.
    pub fn site(&self, script: PackedScript) -> PackedSite {
        let servers = self.servers.of(&self.config);
        PackedSite { generation: self.generation, config: self.config.clone(), servers, script }
    }

    /// Opens the access log's file again. False if there is no log.
    pub fn reopen_log(&self) -> bool {
        self.access.log.as_ref().map(AccessLogHandle::reopen).is_some()
    }

    /// Reports what the access logs have lost because they could not be written fast enough.
    pub fn report_dropped_lines(&self) {
        let now = self.clock.zero.elapsed().as_micros() as u64;
        let Access { log, former, .. } = &self.access;
        former.iter().chain(log).for_each(|log| log.report_dropped(now));
    }

    /// Descriptors of the listening sockets, for the next process.
    pub fn handles(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        self.listeners.handles()
    }

    /// What the next process should know.
    pub fn handover(&self) -> Handover {
        match &self.pools {
            Some(pools) => Handover::of(self.generation, &self.servers, pools, &self.store),
            None => Handover::default(),
        }
    }

    /// Takes what the health checks of the process before have found.
    pub fn set_checked(&mut self, handover: &Handover) {
        self.generation = self.generation.max(handover.generation);
        if let Some(pools) = &self.pools {
            handover.set_checked(pools);
        }
    }

    /// Looks up names no more.
    pub fn stop_names(&mut self) {
        self.names = None;
    }

    /// Closes the sockets here, so that those of the workers are the last.
    pub fn stop_listening(&mut self) {
        self.listeners.close();
    }

    /// Writes the last lines of the logs. The workers must have ended.
    pub fn close_logs(self) {
        let Access { log, former, .. } = self.access;
        for log in former.into_iter().chain(log) {
            if let Err(lost) = log.close(errors::FLUSH) {
                let lost = counted(lost, "line");
                log::warn!("access log: {lost} lost, not written within {:?} of the stop", errors::FLUSH);
            }
        }
    }
}
