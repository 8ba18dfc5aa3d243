//! One client's turn: its steps, until it has to wait or has used up its budget. Steps are limited by number and by
//! time, since scripts may take milliseconds for each pipelined request.
//!
//! The clock is read only if a client continues with a further request in the same turn, so clients that do not
//! pipeline, nearly all, cost no extra reading.

use crate::net::Network;
use crate::worker::conn::table::ClientKey;
use crate::worker::core::{Core, Step};

/// Steps per turn; a request answered at once takes two.
const STEPS: usize = 16;

/// A turn that has taken longer does not continue with a further request, in microseconds. A stopped script call
/// exceeds it.
const LONGEST: u64 = 2_000;

/// Reads the clock within turns.
pub(crate) struct Stopwatch {
    clock: Box<dyn Fn() -> u64>,
    /// The last reading.
    last: u64,
}

impl Stopwatch {
    /// Returns the current time as well.
    pub(crate) fn start(clock: impl Fn() -> u64 + 'static) -> (Stopwatch, u64) {
        let now = clock();
        (Stopwatch { clock: Box::new(clock), last: now }, now)
    }

    pub(crate) fn read(&self) -> u64 {
        (self.clock)()
    }

    /// Returns true if a turn has used up its time. `began` is `None` on the turn's first call: the start is then taken
    /// from the last reading, by a turn or by the loop (`loop_read`), which is never too late. A turn behind many
    /// others may thus end early, but one that takes too long always ends.
    fn is_over(&mut self, began: &mut Option<u64>, loop_read: u64) -> bool {
        let began = *began.get_or_insert(self.last.max(loop_read));
        self.last = (self.clock)();
        self.last.saturating_sub(began) > LONGEST
    }
}

impl<N: Network> Core<N> {
    pub(crate) fn client_turn(&mut self, key: ClientKey) {
        let mut began = None;
        let mut waits = false;
        for _ in 0..STEPS {
            match self.step(key) {
                Step::Again => {}
                Step::Further if self.stopwatch.is_over(&mut began, self.tools.now) => break,
                Step::Further => {}
                Step::Wait => {
                    waits = true;
                    break;
                }
                Step::Gone => return,
            }
        }
        if !waits {
            self.queue_client(key);
        }
        self.watch_pair(key);
    }

    /// After a step outside of the client's turn, as a timer makes it: its turn continues, and sees to the timers.
    pub(crate) fn requeue_after(&mut self, key: ClientKey, step: Step) {
        if !matches!(step, Step::Gone) {
            self.queue_client(key);
        }
    }
}
