//! Floor 5: a worker. One thread, one event loop, one Lua VM, its own idle connections; the only code that sees
//! sockets and protocol together.
//!
//! ```text
//! event_loop.rs   epoll, the clock, messages from the control thread
//! core.rs         the state of a worker, and whose turn it is; generic over the network
//! turn.rs         one client's turn, and how long it may be
//! guard.rs        a panic ends one pair, not the worker
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
#[cfg(test)]
mod tests;
mod thread;
mod time;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::Waker;

pub use self::backend::dedicated::KEPT;
pub use self::core::{Core, Ready};
pub use self::shared::{Seat, seats};
pub use self::thread::{Progress, Starting, start};

use crate::base::batch;
use crate::base::os_error::reason;
use crate::config::Config;
use crate::exchange::counters::Counters;
use crate::net::Listener;
use crate::script::{LoadError, Source};
use event_loop::EventLoop;

/// What a worker is started with.
pub struct Setup {
    /// What the worker goes by.
    pub config: Arc<Config>,
    /// What the source says, as the control thread read it.
    pub said: Arc<Config>,
    pub source: Source,
    /// Zero of the clock, which is the same for all workers.
    pub zero: Instant,
    pub seat: Seat,
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
#[repr(u8)]
pub(crate) enum Command {
    Run = 0,
    Drain = 1,
    Stop = 2,
}

/// A worker that runs.
pub struct Handle {
    command: Arc<AtomicU8>,
    waker: Arc<Waker>,
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
        Err(error) => Outcome::Panicked(format!("the event loop failed: {}", reason(&error))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic").to_string()
}

impl Handle {
    /// Finish what runs, then end.
    pub fn drain(&self) {
        self.tell(Command::Drain);
    }

    /// End now.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    fn tell(&self, command: Command) {
        self.command.fetch_max(command as u8, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the worker: {}", reason(&error));
        }
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
