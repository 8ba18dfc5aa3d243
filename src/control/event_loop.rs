//! Where the control thread waits: for messages of workers and of the signal thread, for its own sockets, and until a
//! time. It is a loop of its own, beside the workers', so that nothing it serves is ever in the data path.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use mio::{Events, Poll, Registry, Token, Waker};

use crate::control::signals::Signal;
use crate::control::sockets::Asker;
use crate::net::{Mailbox, mailbox_queue};
use crate::worker::{Session, ThreadState};

const WAKER: Token = Token(usize::MAX);
const EVENTS: usize = 64;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlEvent {
    Signal(Signal),
    /// The worker's index, and its report.
    Worker(usize, ThreadState),
    /// The config was loaded again, or not.
    Loaded,
    /// This worker needs a fresh VM of the config of this generation.
    VmWanted(usize, u64),
    /// It was loaded, or not.
    FreshVm,
    /// A worker uses the config of this generation.
    Switched(u64),
    /// A worker has answered what this connection asked.
    Answer(Asker, WorkerAnswer),
    /// A socket that was registered under this token is ready.
    Socket(Token),
}

/// The answer of a worker to `show sess` or `shutdown session`, or of a helper to `explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerAnswer {
    /// Part of its connections, by its clock, and where the next part begins.
    Sessions { worker: usize, now: u64, sessions: Vec<Session>, next: Option<u32> },
    /// One was there to be closed.
    Shut(bool),
    /// What would become of a request, or why nobody knows.
    Explained(Result<String, String>),
}

impl From<Signal> for ControlEvent {
    fn from(signal: Signal) -> ControlEvent {
        ControlEvent::Signal(signal)
    }
}

pub struct ControlLoop {
    poll: Poll,
    events: Events,
    /// Sockets that are ready and not yet reported.
    ready: VecDeque<Token>,
    mailbox: Mailbox<ControlEvent>,
    messages: Receiver<ControlEvent>,
}

impl ControlLoop {
    pub fn new() -> io::Result<ControlLoop> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (queue, messages) = mailbox_queue();
        let events = Events::with_capacity(EVENTS);
        Ok(ControlLoop {
            poll,
            events,
            ready: VecDeque::new(),
            mailbox: Mailbox::new(queue, waker),
            messages,
        })
    }

    /// Where other threads send events to.
    pub fn mailbox(&self) -> Mailbox<ControlEvent> {
        self.mailbox.clone()
    }

    /// Where sockets are registered, under any token but `usize::MAX`.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// The next event; `None` when `until` has come before one.
    pub fn next(&mut self, until: Option<Instant>) -> io::Result<Option<ControlEvent>> {
        loop {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            if let Ok(message) = self.messages.try_recv() {
                return Ok(Some(message));
            }
            if let Some(socket) = self.ready.pop_front() {
                return Ok(Some(ControlEvent::Socket(socket)));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut self.events, left) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            let sockets = self.events.iter().map(|event| event.token()).filter(|token| *token != WAKER);
            self.ready.extend(sockets);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::Interest;
    use mio::net::TcpListener;

    use super::*;

    #[test]
    fn messages_sockets_and_times_are_waited_for_in_one_place() {
        let mut control = ControlLoop::new().unwrap();
        assert_eq!(control.next(Some(Instant::now())).unwrap(), None);
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        control.registry().unwrap().register(&mut listener, Token(3), Interest::READABLE).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let deadline = || Some(Instant::now() + Duration::from_secs(10));
        assert_eq!(control.next(deadline()).unwrap(), Some(ControlEvent::Socket(Token(3))));
        let mailbox = control.mailbox();
        std::thread::spawn(move || mailbox.send(Signal::Reload.into())).join().unwrap();
        assert_eq!(control.next(deadline()).unwrap(), Some(ControlEvent::Signal(Signal::Reload)));
        drop(client);
    }
}
