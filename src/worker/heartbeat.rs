//! Shows other threads whether a worker's loop turns. A loop that waits in epoll is well, however long that takes; one
//! that is within the same turn for long stands still, and with it all its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::script::{PublishedPosition, ScriptPosition};

/// What a worker shows. On cache lines of its own: it is written twice a turn.
#[repr(align(128))]
#[derive(Default, Debug)]
pub struct Heartbeat {
    /// The number of the turn, doubled, and one more while it runs.
    turn: AtomicU64,
    script: ScriptPosition,
}

/// A turn of a loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    pub number: u64,
    /// It runs; otherwise the loop waits for the next.
    pub runs: bool,
}

impl Heartbeat {
    pub fn turn(&self) -> Turn {
        let turn = self.turn.load(Ordering::Relaxed);
        Turn { number: turn / 2, runs: turn % 2 == 1 }
    }

    /// Where the script is that the worker runs, `FILE:LINE`; `None` if it runs none.
    pub fn script_position(&self) -> Option<String> {
        self.script.now()
    }
}

/// The worker's side of its heartbeat.
pub(crate) struct Beating {
    heartbeat: Arc<Heartbeat>,
    turn: u64,
    _script: PublishedPosition,
}

impl Beating {
    /// For the loop of this thread.
    pub(crate) fn start() -> Beating {
        let heartbeat = Arc::new(Heartbeat::default());
        let _script = heartbeat.script.publish();
        Beating { heartbeat, turn: 0, _script }
    }

    pub(crate) fn heartbeat(&self) -> Arc<Heartbeat> {
        self.heartbeat.clone()
    }

    pub(crate) fn turn_begins(&mut self) {
        self.turn += 2;
        self.heartbeat.turn.store(self.turn | 1, Ordering::Relaxed);
    }

    pub(crate) fn turn_ends(&self) {
        self.heartbeat.turn.store(self.turn, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_numbered_and_run_or_are_waited_for() {
        let mut beating = Beating::start();
        let heartbeat = beating.heartbeat();
        for number in 0..3 {
            beating.turn_ends();
            assert_eq!(heartbeat.turn(), Turn { number, runs: false });
            beating.turn_begins();
            assert_eq!(heartbeat.turn(), Turn { number: number + 1, runs: true });
        }
        assert_eq!(heartbeat.script_position(), None);
    }
}
