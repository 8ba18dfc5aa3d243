//! Messages to a thread that waits in epoll: a queue and a waker. Sending never blocks.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use mio::Waker;

use crate::base::os_error::os_error;

/// The queue alone, for use before the thread has a waker.
pub fn queue<M>() -> (mpsc::Sender<M>, Receiver<M>) {
    mpsc::channel()
}

/// The sending end. On the waker's event, the thread reads the receiver until it is empty.
pub struct Mailbox<M> {
    queue: mpsc::Sender<M>,
    waker: Arc<Waker>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Mailbox<M> {
        Mailbox { queue: self.queue.clone(), waker: self.waker.clone() }
    }
}

impl<M> Mailbox<M> {
    pub fn new(queue: mpsc::Sender<M>, waker: Arc<Waker>) -> Mailbox<M> {
        Mailbox { queue, waker }
    }

    /// Returns false if the receiver is gone.
    pub fn send(&self, message: M) -> bool {
        self.queue.send(message).is_ok() && woken(&self.waker.wake())
    }

    /// Wakes the thread without a message.
    pub fn wake(&self) {
        woken(&self.waker.wake());
    }
}

/// Logs a failed wake. The message is read after the next one that succeeds.
fn woken(result: &io::Result<()>) -> bool {
    if let Err(error) = result {
        log::error!("cannot wake a thread: {}", os_error(error));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll, Token};

    use super::*;

    #[test]
    fn a_message_wakes_the_thread_that_waits_for_it() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).unwrap());
        let (sender, messages) = queue();
        let mailbox = Mailbox::new(sender, waker);
        let thread = std::thread::spawn({
            let mailbox = mailbox.clone();
            move || (1..=3).all(|number| mailbox.send(number))
        });
        let (mut events, mut got) = (Events::with_capacity(4), Vec::new());
        while got.len() < 3 {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(events.iter().all(|event| event.token() == Token(7)) && !events.is_empty());
            got.extend(messages.try_iter());
        }
        assert_eq!(got, [1, 2, 3]);
        assert!(thread.join().unwrap());
        drop(messages);
        assert!(!mailbox.send(4), "nobody reads it");
    }
}
