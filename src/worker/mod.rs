//! Floor 5: a worker. One thread, one event loop, one Lua VM, its own idle connections; the only code that sees
//! sockets and protocol together.
//!
//! ```text
//! event_loop.rs   epoll, the clock, messages from the control thread
//! core.rs         the state of a worker, and whose turn it is; generic over the network
//! turn.rs         one client's turn, and how long it may be
//! guard.rs        a panic ends one pair, not the worker
//! site.rs         a loaded config as a worker runs it, and two of them side by side
//! housekeeping.rs what is done between turns; drain.rs: stopping without dropping anybody
//! thread.rs       a worker's thread, from its start on
//! shared/         what workers have in common: connection permits, limits per client, counts of gateway errors
//! accept/         new clients: the acceptor, admission, the PROXY header
//! conn/           one connection: socket and buffers, the table of them, what it is for, closing and lingering
//! pair/           one request with its two sides: request, pump, to_server, to_client, splice, finish
//! backend/        a connection to a server: dial, redial, release, dedicated (one client's own)
//! time/           deadlines, timeouts, minimum rates
//! ```

mod accept;
mod backend;
mod conn;
mod core;
mod drain;
mod event_loop;
mod guard;
mod housekeeping;
mod pair;
mod shared;
mod site;
#[cfg(test)]
mod tests;
mod thread;
mod time;
mod turn;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

pub use self::backend::dedicated::KEPT;
pub use self::core::{Core, Ready};
pub use self::pair::inside::{InsideEnd, InsideRequest, Response};
pub use self::shared::Shared;
use self::shared::share;
pub use self::site::{PackedSite, SiteParts, Sites};
pub use self::thread::{Progress, Starting, start};

use crate::balance::{Server, Servers};
use crate::base::batch;
use crate::base::os_error::os_error;
use crate::config::Config;
use crate::exchange::counters::Counters;
use crate::net::{Listener, Mailbox};
use crate::script::{LoadError, Source};
use event_loop::EventLoop;

/// What a worker is started with.
pub struct Setup {
    /// What the worker goes by.
    pub config: Arc<Config>,
    /// Of each pool of it.
    pub servers: Vec<Vec<Arc<Server>>>,
    /// What the source says, as the control thread read it.
    pub said: Arc<Config>,
    pub source: Source,
    /// Zero of the clock, which is the same for all workers.
    pub zero: Instant,
    pub shared: Shared,
}

impl Setup {
    /// For each of so many workers, which is for how many the servers are made.
    pub fn each(
        workers: usize,
        servers: &Servers,
        config: &Arc<Config>,
        said: &Arc<Config>,
        source: &Source,
        zero: Instant,
    ) -> Vec<Setup> {
        let servers = servers.of(config);
        let setup = |shared| {
            let (config, said, servers) = (config.clone(), said.clone(), servers.clone());
            Setup { config, servers, said, source: source.clone(), zero, shared }
        };
        share(workers, config.settings.max_connections).into_iter().map(setup).collect()
    }
}

/// What others see of a worker, in its hands only from when its script is loaded: nobody has to wait for a slow
/// script to have these closed.
pub struct WorkerIo {
    /// Bound already, in the order of the config's.
    pub listeners: Vec<Listener>,
    /// Where access records go, if there is an access log.
    pub access: Option<batch::Sender>,
}

/// What the control thread can tell a running worker.
pub(crate) enum Message {
    /// New requests begin with this site.
    Site(Box<PackedSite>),
    /// Finish what runs, then end.
    Drain,
    /// End now.
    Stop,
}

/// A worker that runs.
pub struct Handle {
    mailbox: Mailbox<Message>,
    counters: Arc<Counters>,
    thread: JoinHandle<Outcome>,
}

/// How a worker ended.
#[derive(Debug)]
pub enum Outcome {
    Finished,
    /// The config is none after all, or another one here.
    NotLoaded(LoadError),
    /// The system does not give what a loop needs.
    NoLoop(io::Error),
    /// A fault of ours or of the kernel that no single connection could be blamed for.
    Panicked(String),
}

fn run(mut event_loop: EventLoop) -> Outcome {
    match event_loop.run() {
        Ok(()) => Outcome::Finished,
        Err(error) => Outcome::Panicked(format!("the event loop failed: {}", os_error(&error))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic").to_string()
}

impl Handle {
    /// Finish what runs, then end.
    pub fn drain(&self) {
        self.mailbox.send(Message::Drain);
    }

    /// End now.
    pub fn stop(&self) {
        self.mailbox.send(Message::Stop);
    }

    /// New requests begin with this site from now on.
    pub fn set_site(&self, site: PackedSite) {
        self.mailbox.send(Message::Site(Box::new(site)));
    }

    /// How requests ended so far; it may be kept beyond the worker's end.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    pub fn join(self) -> Outcome {
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|panic| Outcome::Panicked(panic_text(&*panic)))
}
