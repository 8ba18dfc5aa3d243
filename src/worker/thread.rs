//! A worker before it runs: its thread loads the script and makes the loop, says that it is ready, and waits for
//! the others. No connection is accepted before all are, so that a start that fails cuts nobody.
//!
//! ```text
//! start ─► loads ─► takes its io, makes the loop ─► Ready ─ go ─► runs ─► Ended
//!            └──────────┴──────── end, or a failure ───────┴──────────────────────┘
//! ```

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use mio::Waker;

use super::{Handle, Message, Outcome, Setup, WorkerIo, joined, panic_text, run};
use crate::exchange::counters::Counters;
use crate::net::{Mailbox, mailbox_queue};
use crate::script;
use crate::worker::event_loop::EventLoop;
use crate::worker::shared::Shared;
use crate::worker::site::SiteParts;

/// What a worker's thread says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It will run when it may.
    Ready,
    Ended,
}

/// A worker that gets ready.
pub struct Starting {
    io: Slot,
    queue: Sender<Message>,
    made: Receiver<Made>,
    go: Sender<()>,
    thread: JoinHandle<Outcome>,
}

/// Emptied by the worker when it has loaded its script, or before that by who does not want it any more.
type Slot = Arc<Mutex<Option<WorkerIo>>>;

/// What a worker gives out of its hands once it is ready.
type Made = (Arc<Waker>, Arc<Counters>);

/// What its thread has of a `Starting`.
struct Beginning {
    messages: Receiver<Message>,
    io: Slot,
    gives: Sender<Made>,
    may_go: Receiver<()>,
}

/// Starts a worker's thread. It calls `notify` on that thread.
pub fn start(setup: Setup, io: WorkerIo, notify: impl Fn(Progress) + Send + 'static) -> io::Result<Starting> {
    let (queue, messages) = mailbox_queue();
    let io = Arc::new(Mutex::new(Some(io)));
    let (gives, made) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let beginning = Beginning { messages, io: io.clone(), gives, may_go };
    let thread = thread::Builder::new().name(name(&setup.shared)).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| beginning.live(setup, &notify)));
        notify(Progress::Ended);
        outcome.unwrap_or_else(|panic| Outcome::Panicked(panic_text(&*panic)))
    })?;
    Ok(Starting { queue, io, made, go, thread })
}

/// Of the thread, where one looks for who uses the processor.
fn name(shared: &Shared) -> String {
    if shared.count() == 1 { "worker".into() } else { format!("worker-{}", shared.worker() + 1) }
}

impl Starting {
    /// Lets it run as soon as it is ready; `None` if it ends before.
    pub fn go(self) -> Option<Handle> {
        let (waker, counters) = self.made.recv().ok()?;
        self.go.send(()).ok()?;
        Some(Handle { mailbox: Mailbox::new(self.queue, waker), counters, thread: self.thread })
    }

    /// Ends it, and waits for that unless it is loading its script: it has nothing then that anybody would miss.
    pub fn end(self) {
        drop(self.go);
        let loads = take(&self.io).is_some();
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
        let (event_loop, may_go) = match self.prepare(setup) {
            Ok(made) => made,
            Err(outcome) => return outcome,
        };
        notify(Progress::Ready);
        match may_go.recv() {
            Ok(()) => run(event_loop),
            Err(_) => Outcome::Finished,
        }
    }

    /// Loads this worker's own VM from the same bytes and makes sure that it says the same.
    fn prepare(self, setup: Setup) -> Result<(EventLoop, Receiver<()>), Outcome> {
        let Setup { config, servers, said, mut source, zero, shared } = setup;
        let script = script::load_again(&mut source, &said).map_err(Outcome::NotLoaded)?;
        let WorkerIo { listeners, access } = take(&self.io).ok_or(Outcome::Finished)?;
        let site = SiteParts { generation: 1, config, servers, script };
        let made = EventLoop::new(site, listeners, access, zero, self.messages, shared);
        let (event_loop, waker) = made.map_err(Outcome::NoLoop)?;
        // Refused only where nobody wants this worker any more, which `go` says as well.
        let _ = self.gives.send((waker, event_loop.counters()));
        Ok((event_loop, self.may_go))
    }
}

fn take(slot: &Slot) -> Option<WorkerIo> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
