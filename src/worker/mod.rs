//! Floor 5: a worker. One thread, one event loop, one Lua VM, its own idle connections; the only code that sees
//! sockets and protocol together.
//!
//! - `event_loop` epoll, the clock, commands from the control thread: the edge
//! - `accept`     new connections, as many as there may be
//! - `core`       the state and whose turn it is, generic over the network
//! - `turn`       one client's turn, and how long it may be
//! - `admit`      a new client
//! - `start`      from bytes to an exchange
//! - `dial`       a connection to a server
//! - `release`    giving it back
//! - `full_queue` servers that are too busy to take a connection
//! - `private`    connections to servers that are one client's alone
//! - `proxied`    clients that come through a proxy which says for whom
//! - `pump`       moves a pair's bytes: `request_way` to the server, `response_way` to the client
//! - `answer_way` the body of an answer to the client
//! - `splice`, `pipes`: large bodies past this process
//! - `finish`     every end, and its record
//! - `script_errors` the script's failures in the log, and not too often
//! - `gateway_errors` the same of requests that had to be answered with 502, 503 or 504
//! - `linger`     the close that lets a client read its last answer
//! - `pace`       who sends or takes too little
//! - `ready`      a worker before it runs
//! - `seat`       what workers have in common
//! - `crowd`      how many connections one address may have
//! - `guard`      a fault of ours ends one pair
//! - `deadlines`  every wait, derived from the state
//! - `waits`      what can be waited for, and how long
//! - `ends`       what the end of a connection means to its exchange
//! - `upkeep`     what the loop asks for between turns
//! - `drain`      stopping without dropping anybody
//! - `connection`, `sides`, `table`: one connection, what it is for, where it is kept

mod accept;
mod admit;
mod answer_way;
mod body_out;
mod connection;
mod core;
mod crowd;
mod deadlines;
mod dial;
mod drain;
mod ends;
mod event_loop;
mod finish;
mod full_queue;
mod gateway_errors;
mod guard;
mod linger;
mod pace;
mod pipes;
mod private;
mod proxied;
mod pump;
mod ready;
mod release;
mod request_way;
mod response_way;
mod script_errors;
mod seat;
mod sides;
mod splice;
mod start;
mod table;
#[cfg(test)]
mod tests;
mod turn;
mod upkeep;
mod waits;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::Waker;

pub use self::core::{Core, Ready};
pub use self::private::KEPT;
pub use self::ready::{Progress, Starting, start};
pub use self::seat::{Seat, seats};

use crate::base::batch;
use crate::base::reason::reason;
use crate::config::Config;
use crate::exchange::tally::Tally;
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
pub struct Outlets {
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
    tally: Arc<Tally>,
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
    pub fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    pub fn join(self) -> Outcome {
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|panic| Outcome::Panicked(panic_text(&*panic)))
}
