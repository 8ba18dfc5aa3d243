//! Floor 5: a worker. One thread, one event loop, one Lua VM, its own idle connections; the only code that combines
//! sockets and protocols.
//!
//! ```text
//! event_loop.rs   epoll, the clock, messages from the control thread
//! access.rs       which requests the access log has, and the queue to its thread
//! core.rs         the state of a worker and its ready queue; generic over the network
//! turn.rs         one client's turn and its limits
//! heartbeat.rs    whether the loop turns, for the control thread
//! guard.rs        a panic ends one pair, not the worker
//! site.rs         a loaded config as a worker runs it; old and new side by side after a reload
//! housekeeping.rs work between turns; drain.rs: graceful shutdown
//! waits.rs        until when handlers of scripts wait, and what came of it
//! periodic.rs     the script's on_start and rsp.every
//! sessions.rs     what connections do, for the control thread
//! thread.rs       a worker's thread and its start
//! shared/         state shared by workers: connection permits, limits per client, gateway error counts
//! accept/         new clients: the acceptor, admission, TLS handshakes, PROXY headers, the ClientHello
//! conn/           one connection: socket and buffers, table, client and backend state, lingering close
//! pair/           one request with its two connections: request, pump, to_server, to_client, splice, finish; handlers
//!                 that wait (waiting), second tries (hedge), copies (mirror)
//! backend/        connections to servers: dial, connect, release, dedicated (bound to one client), idle; requests that
//!                 wait for a server (queue), what became of a try (outcome), health checks (checks)
//! time/           deadlines, timeouts, minimum rates
//! ```

mod accept;
mod access;
mod backend;
mod conn;
mod core;
mod drain;
mod event_loop;
mod guard;
mod heartbeat;
mod housekeeping;
mod pair;
mod periodic;
mod sessions;
mod shared;
mod site;
#[cfg(test)]
mod tests;
mod thread;
mod time;
mod turn;
mod waits;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::accept::acceptor::NextListener;
pub use self::access::AccessSender;
pub use self::backend::dedicated::KEPT;
pub use self::core::{Core, Ready};
pub use self::heartbeat::{Heartbeat, Turn};
pub use self::pair::inside::{InsideEnd, InsideRequest, InsideTarget, Response};
pub use self::sessions::{Session, Sessions};
pub use self::shared::Shared;
pub use self::shared::challenges::ChallengeAsk;
pub use self::shared::connection_counts::ConnectionCounts;
pub use self::shared::jobs::{Job, Work};
pub use self::shared::malformed::{Malformed, MalformedLog};
use self::shared::share;
pub use self::site::{PackedSite, SiteParts, Sites};
pub use self::thread::{Starting, ThreadState, start};
pub use self::waits::Reply;

use crate::balance::{Servers, SitePools};
use crate::base::os_error::os_error;
use crate::config::Config;
use crate::exchange::counters::Counters;
use crate::net::{Listener, Mailbox};
use crate::script::{LoadError, PackedScript, Source};
use event_loop::EventLoop;

/// The arguments of a worker's start.
pub struct Setup {
    /// The effective config.
    pub config: Arc<Config>,
    /// The pools of `config`.
    pub servers: SitePools,
    /// The config as the control thread loaded it from `source`.
    pub stated: Arc<Config>,
    pub source: Source,
    /// Zero of the clock, common to all workers.
    pub zero: Instant,
    pub shared: Shared,
}

impl Setup {
    /// Returns one setup for each of `workers` workers. `servers` must be made for the same number.
    pub fn each(
        workers: usize,
        servers: &Servers,
        config: &Arc<Config>,
        stated: &Arc<Config>,
        source: &Source,
        zero: Instant,
    ) -> Vec<Setup> {
        let servers = servers.of(config);
        let setup = |shared| {
            let (config, stated, servers) = (config.clone(), stated.clone(), servers.clone());
            Setup { config, servers, stated, source: source.clone(), zero, shared }
        };
        share(workers, config.settings.max_connections).into_iter().map(setup).collect()
    }
}

/// A worker's externally visible resources. The worker takes them after its script is loaded, so that they can be
/// closed without waiting for a slow script.
pub struct WorkerIo {
    /// Already bound, in the order of the config.
    pub listeners: Vec<Listener>,
    /// The sender for access records, if there is an access log.
    pub access: Option<AccessSender>,
}

/// What a worker exchanges when another config takes the place of the present one.
pub struct Switch {
    pub site: PackedSite,
    /// In the order of the config.
    pub listeners: Vec<NextListener>,
    /// If the access log changes.
    pub access: Option<Option<AccessSender>>,
    /// Called on the worker's thread when new requests use the new config.
    pub done: Box<dyn FnOnce() + Send>,
}

/// How a worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// What runs then is cut.
    pub within: Duration,
    /// Another process accepts from the same sockets.
    pub handed_over: bool,
}

/// A message from the control thread to a running worker.
pub(crate) enum Message {
    Switch(Box<Switch>),
    /// Another VM of the site of this generation.
    Script(u64, Box<PackedScript>),
    /// Finish running requests within this time, then end.
    Drain(Drain),
    /// What connections do, and what is to become of one.
    Ask(Question),
    /// End at once.
    Stop,
}

/// A question to a worker, answered between two turns, on its thread.
pub(crate) enum Question {
    /// From this slot on.
    Sessions(u32, Box<dyn FnOnce(Sessions) + Send>),
    Session(u64, Box<dyn FnOnce(u64, Option<Session>) + Send>),
    /// Whether it was there to be closed.
    Shut(u64, Box<dyn FnOnce(bool) + Send>),
}

/// A running worker.
pub struct Handle {
    mailbox: Mailbox<Message>,
    counters: Arc<Counters>,
    heartbeat: Arc<Heartbeat>,
    thread: JoinHandle<WorkerEnd>,
}

/// The result of a worker's thread.
#[derive(Debug)]
pub enum WorkerEnd {
    Finished,
    /// The config failed to load in this worker, or loaded differently.
    NotLoaded(LoadError),
    /// The event loop could not be created.
    NoLoop(io::Error),
    /// A panic or an event loop failure outside of any single connection.
    Panicked(String),
}

fn run(mut event_loop: EventLoop) -> WorkerEnd {
    match event_loop.run() {
        Ok(()) => WorkerEnd::Finished,
        Err(error) => WorkerEnd::Panicked(format!("the event loop failed: {}", os_error(&error))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic").to_string()
}

impl Handle {
    /// Finishes running requests within this time, then ends the worker.
    pub fn drain(&self, drain: Drain) {
        self.mailbox.send(Message::Drain(drain));
    }

    /// Ends the worker at once.
    pub fn stop(&self) {
        self.mailbox.send(Message::Stop);
    }

    /// Uses another config for new requests.
    pub fn switch(&self, switch: Switch) {
        self.mailbox.send(Message::Switch(Box::new(switch)));
    }

    /// Uses another VM of the site of this generation for new requests.
    pub fn set_script(&self, generation: u64, script: PackedScript) {
        self.mailbox.send(Message::Script(generation, Box::new(script)));
    }

    /// Asks for what connections do, from this slot on.
    pub fn ask_sessions(&self, from: u32, answer: impl FnOnce(Sessions) + Send + 'static) {
        self.mailbox.send(Message::Ask(Question::Sessions(from, Box::new(answer))));
    }

    /// Asks for one, with the worker's clock.
    pub fn ask_session(&self, token: u64, answer: impl FnOnce(u64, Option<Session>) + Send + 'static) {
        self.mailbox.send(Message::Ask(Question::Session(token, Box::new(answer))));
    }

    /// Closes a client's connection.
    pub fn shut_session(&self, token: u64, answer: impl FnOnce(bool) + Send + 'static) {
        self.mailbox.send(Message::Ask(Question::Shut(token, Box::new(answer))));
    }

    /// Makes the loop turn.
    pub fn wake(&self) {
        self.mailbox.wake();
    }

    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Returns the counters of ended requests; they may outlive the worker.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    pub fn join(self) -> WorkerEnd {
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<WorkerEnd>) -> WorkerEnd {
    thread.join().unwrap_or_else(|panic| WorkerEnd::Panicked(panic_text(&*panic)))
}
