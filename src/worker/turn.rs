//! One client's turn: its steps, until it has to wait, or until others come first. A count bounds the steps and the
//! clock bounds the time, since scripts may take milliseconds for each of the requests that a client has pipelined.
//!
//! The clock is read only where a client goes on to a further request in the same turn: whoever sends one request at
//! a time, as nearly all do, costs no reading beyond the one that the loop makes.

use crate::net::Network;
use crate::worker::core::{Core, Step};

/// Steps of one client before others get their turn; a request that is answered at once takes two.
const STEPS: usize = 16;

/// What a turn may have taken when it goes on to a further request, in microseconds. A script call that was stopped
/// has taken more.
const LONGEST: u64 = 2_000;

/// Reads the clock within turns.
pub(crate) struct Stopwatch {
    clock: Box<dyn Fn() -> u64>,
    /// What it read last.
    last: u64,
}

impl Stopwatch {
    /// Gives the time now as well.
    pub(crate) fn start(clock: impl Fn() -> u64 + 'static) -> (Stopwatch, u64) {
        let now = clock();
        (Stopwatch { clock: Box::new(clock), last: now }, now)
    }

    /// Whether a turn has taken its time. `began` is `None` the first time a turn asks: it is taken to have begun
    /// when the clock was last read, by whomever (`loop_read`: by the loop), which is never too late. So a turn behind
    /// many others may end sooner than it had to, and one that takes long never goes on.
    #[cold]
    fn is_over(&mut self, began: &mut Option<u64>, loop_read: u64) -> bool {
        let began = *began.get_or_insert(self.last.max(loop_read));
        self.last = (self.clock)();
        self.last.saturating_sub(began) > LONGEST
    }
}

impl<N: Network> Core<N> {
    pub(crate) fn client_turn(&mut self, key: u32) {
        let mut began = None;
        for _ in 0..STEPS {
            match self.step(key) {
                Step::Again => {}
                Step::Further if self.stopwatch.is_over(&mut began, self.tools.now) => break,
                Step::Further => {}
                Step::Wait => return self.watch_pair(key),
                Step::Gone => return,
            }
        }
        self.queue_client(key);
        self.watch_pair(key);
    }
}
