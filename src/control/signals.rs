//! Signals as values: a small thread waits for them and sends them to the control thread's one queue. The meanings
//! are nginx's, except that TERM is graceful.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::net::Mailbox;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// TERM, INT, QUIT: drain; at once when repeated.
    Stop,
    /// HUP.
    Reload,
    /// USR1.
    Reopen,
    /// USR2.
    Upgrade,
}

fn meaning(number: i32) -> Option<Signal> {
    match number {
        SIGTERM | SIGINT | SIGQUIT => Some(Signal::Stop),
        SIGHUP => Some(Signal::Reload),
        SIGUSR1 => Some(Signal::Reopen),
        SIGUSR2 => Some(Signal::Upgrade),
        _ => None,
    }
}

/// Signals that arrive from now on are kept until somebody waits for them.
pub struct CaughtSignals(Signals);

pub fn catch() -> io::Result<CaughtSignals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2]).map(CaughtSignals)
}

impl CaughtSignals {
    /// Sends each as an event, from a thread.
    pub fn forward<E: From<Signal> + Send + 'static>(mut self, to: Mailbox<E>) -> io::Result<()> {
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in self.0.forever().filter_map(meaning) {
                if !to.send(signal.into()) {
                    break;
                }
            }
        })?;
        Ok(())
    }
}
