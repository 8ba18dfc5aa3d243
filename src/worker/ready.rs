//! A worker before it runs: its thread loads the script and makes the loop, says that it is ready, and waits for
//! the others. No connection is accepted before all are, so that a start that fails cuts nobody.
//!
//! ```text
//! start ─► loads ─► takes its outlets, makes the loop ─► Ready ─ go ─► runs ─► Ended
//!            └──────────┴──────── end, or a failure ───────┴──────────────────────┘
//! ```

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU8;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mio::Waker;

use super::event_loop::EventLoop;
use super::seat::Seat;
use super::{Command, Handle, Outcome, Outlets, Setup, joined, panic_text, run};
use crate::exchange::tally::Tally;
use crate::script;

/// What a worker's thread says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It will run when it may.
    Ready,
    Ended,
}

/// A worker that gets ready.
pub struct Starting {
    command: Arc<AtomicU8>,
    outlets: Slot,
    made: Receiver<Made>,
    go: Sender<()>,
    thread: JoinHandle<Outcome>,
}

/// Emptied by the worker when it has loaded its script, or before that by who does not want it any more.
type Slot = Arc<Mutex<Option<Outlets>>>;

/// What a worker gives out of its hands once it is ready.
type Made = (Arc<Waker>, Arc<Tally>);

/// What its thread has of a `Starting`.
struct Beginning {
    command: Arc<AtomicU8>,
    outlets: Slot,
    gives: Sender<Made>,
    may_go: Receiver<()>,
}

/// Starts a worker's thread. It calls `notify` on that thread.
pub fn start(
    setup: Setup,
    outlets: Outlets,
    notify: impl Fn(Progress) + Send + 'static,
) -> io::Result<Starting> {
    let command = Arc::new(AtomicU8::new(Command::Run as u8));
    let outlets = Arc::new(Mutex::new(Some(outlets)));
    let (gives, made) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let beginning = Beginning { command: command.clone(), outlets: outlets.clone(), gives, may_go };
    let thread = thread::Builder::new().name(name(&setup.seat)).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| beginning.live(setup, &notify)));
        notify(Progress::Ended);
        outcome.unwrap_or_else(|panic| Outcome::Panicked(panic_text(&*panic)))
    })?;
    Ok(Starting { command, outlets, made, go, thread })
}

/// Of the thread, where one looks for who uses the processor.
fn name(seat: &Seat) -> String {
    if seat.count() == 1 { "worker".into() } else { format!("worker-{}", seat.number() + 1) }
}

impl Starting {
    /// Lets it run as soon as it is ready; `None` if it ends before.
    pub fn go(self) -> Option<Handle> {
        let (waker, tally) = self.made.recv().ok()?;
        self.go.send(()).ok()?;
        Some(Handle { command: self.command, waker, tally, thread: self.thread })
    }

    /// Ends it, and waits for that unless it is loading its script: it has nothing then that anybody would miss.
    pub fn end(self) {
        drop(self.go);
        let loads = take(&self.outlets).is_some();
        if !loads {
            joined(self.thread);
        }
    }

    /// How it ended, of one that did.
    pub fn outcome(self) -> Outcome {
        joined(self.thread)
    }
}

impl Beginning {
    fn live(self, setup: Setup, notify: &dyn Fn(Progress)) -> Outcome {
        let event_loop = match self.prepare(setup) {
            Ok(event_loop) => event_loop,
            Err(outcome) => return outcome,
        };
        notify(Progress::Ready);
        match self.may_go.recv() {
            Ok(()) => run(event_loop),
            Err(_) => Outcome::Finished,
        }
    }

    /// Loads this worker's own VM from the same bytes and makes sure that it says the same.
    fn prepare(&self, setup: Setup) -> Result<EventLoop, Outcome> {
        let Setup { config, said, mut source, zero, seat } = setup;
        let script = script::load_again(&mut source, &said).map_err(Outcome::NotLoaded)?;
        let Outlets { listeners, access } = take(&self.outlets).ok_or(Outcome::Finished)?;
        let command = self.command.clone();
        let made = EventLoop::new(config, script, listeners, access, zero, command, seat);
        let (event_loop, waker) = made.map_err(Outcome::NoLoop)?;
        // Refused only where nobody wants this worker any more, which `go` says as well.
        let _ = self.gives.send((waker, event_loop.tally()));
        Ok(event_loop)
    }
}

fn take(slot: &Slot) -> Option<Outlets> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
