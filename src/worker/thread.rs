//! A worker's start: its thread loads the script, makes the event loop, reports ready, and waits for the other workers.
//! No worker accepts a connection before all are ready, so that a failed start drops no client.
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

use super::{Handle, Message, Setup, WorkerEnd, WorkerIo, joined, panic_text, run};
use crate::exchange::counters::Counters;
use crate::net::{Mailbox, mailbox_queue};
use crate::script;
use crate::worker::event_loop::EventLoop;
use crate::worker::heartbeat::Heartbeat;
use crate::worker::shared::Shared;
use crate::worker::site::SiteParts;

/// The state a worker's thread reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ThreadState {
    /// Ready to run.
    Ready,
    Ended,
}

/// A worker that is starting.
pub struct Starting {
    io: Slot,
    queue: Sender<Message>,
    made: Receiver<Made>,
    go: Sender<()>,
    thread: JoinHandle<WorkerEnd>,
}

/// Taken by the worker once its script is loaded, or earlier, to cancel the start.
type Slot = Arc<Mutex<Option<WorkerIo>>>;

/// Sent by a worker when it is ready.
type Made = (Arc<Waker>, Arc<Counters>, Arc<Heartbeat>);

/// The thread's side of a `Starting`.
struct StartingThread {
    messages: Receiver<Message>,
    io: Slot,
    made_sender: Sender<Made>,
    go_receiver: Receiver<()>,
}

/// Starts a worker's thread. `notify` is called on that thread.
pub fn start(
    setup: Setup,
    io: WorkerIo,
    notify: impl Fn(ThreadState) + Send + 'static,
) -> io::Result<Starting> {
    let (queue, messages) = mailbox_queue();
    let io = Arc::new(Mutex::new(Some(io)));
    let (made_sender, made) = mpsc::channel();
    let (go, go_receiver) = mpsc::channel();
    let starting = StartingThread { messages, io: io.clone(), made_sender, go_receiver };
    let thread = thread::Builder::new().name(name(&setup.shared)).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| starting.run_from_start(setup, &notify)));
        notify(ThreadState::Ended);
        outcome.unwrap_or_else(|panic| WorkerEnd::Panicked(panic_text(&*panic)))
    })?;
    Ok(Starting { queue, io, made, go, thread })
}

/// Returns the thread's name, as shown by `top -H`.
fn name(shared: &Shared) -> String {
    if shared.count() == 1 { "worker".into() } else { format!("worker-{}", shared.worker() + 1) }
}

impl Starting {
    /// Lets the worker run once it is ready; `None` if it ends before.
    pub fn go(self) -> Option<Handle> {
        let (waker, counters, heartbeat) = self.made.recv().ok()?;
        self.go.send(()).ok()?;
        Some(Handle { mailbox: Mailbox::new(self.queue, waker), counters, heartbeat, thread: self.thread })
    }

    /// Ends the worker. Waits for its thread, except while it loads its script: it holds no resources then.
    pub fn end(self) {
        drop(self.go);
        let loads = take(&self.io).is_some();
        if !loads {
            joined(self.thread);
        }
    }

    /// Returns how a worker that has ended ended.
    pub fn outcome(self) -> WorkerEnd {
        joined(self.thread)
    }
}

impl StartingThread {
    fn run_from_start(self, setup: Setup, notify: &dyn Fn(ThreadState)) -> WorkerEnd {
        let (event_loop, go_receiver) = match self.prepare(setup) {
            Ok(made) => made,
            Err(outcome) => return outcome,
        };
        notify(ThreadState::Ready);
        match go_receiver.recv() {
            Ok(()) => run(event_loop),
            Err(_) => WorkerEnd::Finished,
        }
    }

    /// Loads this worker's own VM from the same source and checks that it yields the same config.
    fn prepare(self, setup: Setup) -> Result<(EventLoop, Receiver<()>), WorkerEnd> {
        let Setup { config, servers, stated, mut source, zero, shared } = setup;
        let script = script::load_again(&mut source, &stated).map_err(WorkerEnd::NotLoaded)?;
        let WorkerIo { listeners, access } = take(&self.io).ok_or(WorkerEnd::Finished)?;
        let site = SiteParts { generation: 1, config, servers, script };
        let made = EventLoop::new(site, listeners, access, zero, self.messages, shared);
        let (event_loop, waker) = made.map_err(WorkerEnd::NoLoop)?;
        // Fails only if the `Starting` was dropped, which `go_receiver` reports as well.
        let _ = self.made_sender.send((waker, event_loop.counters(), event_loop.heartbeat()));
        Ok((event_loop, self.go_receiver))
    }
}

fn take(slot: &Slot) -> Option<WorkerIo> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}
