//! Watches the workers' loops: one that stands still for a second is a line in the log with the line of
//! the script where it stands, and another one when it turns again. The service manager's watchdog hears that rsp is
//! alive only while all loops turn: loops that wait are woken to prove it.

use std::time::{Duration, Instant};

use crate::control::notify;
use crate::worker::{Handle, Turn};

/// Between two looks at the loops.
const LOOK: Duration = Duration::from_millis(500);
/// A turn takes milliseconds at most. One that a look finds running and so many later ones too, over a second at least,
/// is a stall. Looks are counted and not time, so that a machine that was asleep is none.
const LOOKS: u32 = 2;

pub struct Stalls {
    /// Of each worker.
    seen: Vec<Seen>,
    next_look: Instant,
    watchdog: Option<Watchdog>,
}

/// What the looks at one worker's loop have found.
#[derive(Clone, Copy)]
struct Seen {
    turn: Turn,
    /// The first look that found this turn running, and how many have since.
    since: Instant,
    looks: u32,
}

/// A change in what is known of a loop.
#[derive(PartialEq, Debug)]
enum Change {
    Stalled(Duration),
    Turns(Duration),
}

struct Watchdog {
    /// A quarter of the time it allows: when a loop was busy at one sign of life, there is time for the next.
    every: Duration,
    next: Instant,
    /// The turn of each worker that it was woken in.
    woken_in: Vec<u64>,
}

impl Stalls {
    pub fn new(workers: usize, now: Instant) -> Stalls {
        let turn = Turn { number: 0, runs: false };
        let watchdog = notify::watchdog().map(|most| Watchdog {
            every: most / 4,
            next: now,
            woken_in: vec![u64::MAX; workers],
        });
        Stalls { seen: vec![Seen { turn, since: now, looks: 0 }; workers], next_look: now + LOOK, watchdog }
    }

    /// When to look next.
    pub fn due(&self) -> Instant {
        self.watchdog.as_ref().map_or(self.next_look, |watchdog| self.next_look.min(watchdog.next))
    }

    /// `None`: a worker that has ended.
    pub fn look(&mut self, workers: &[Option<Handle>], now: Instant) {
        if now >= self.next_look {
            self.next_look = now + LOOK;
            for (number, seen) in self.seen.iter_mut().enumerate() {
                let Some(Some(worker)) = workers.get(number) else { continue };
                if let Some(change) = seen.look(worker.heartbeat().turn(), now) {
                    report(&change, number, workers.len(), worker);
                }
            }
        }
        if let Some(watchdog) = &mut self.watchdog
            && now >= watchdog.next
        {
            watchdog.next = now + watchdog.every;
            watchdog.look(workers);
        }
    }
}

impl Seen {
    fn look(&mut self, turn: Turn, now: Instant) -> Option<Change> {
        if turn.runs && turn == self.turn {
            self.looks += 1;
            return (self.looks == LOOKS).then(|| Change::Stalled(now.saturating_duration_since(self.since)));
        }
        let was_stalled = self.looks >= LOOKS;
        let change = was_stalled.then(|| Change::Turns(now.saturating_duration_since(self.since)));
        *self = Seen { turn, since: now, looks: 0 };
        change
    }
}

impl Watchdog {
    fn look(&mut self, workers: &[Option<Handle>]) {
        let running = || workers.iter().enumerate().filter_map(|(number, w)| Some((number, w.as_ref()?)));
        if running().all(|(number, worker)| worker.heartbeat().turn().number != self.woken_in[number]) {
            notify::alive();
        }
        for (number, worker) in running() {
            self.woken_in[number] = worker.heartbeat().turn().number;
            worker.wake();
        }
    }
}

fn report(change: &Change, number: usize, of: usize, worker: &Handle) {
    let name = if of == 1 { "the worker".to_owned() } else { format!("worker {}", number + 1) };
    match change {
        Change::Stalled(time) => {
            let place = worker.heartbeat().script_position();
            let place = place.map_or("not in a script".into(), |place| format!("in the script, at {place}"));
            log::warn!("the loop of {name} has stood still for {}, {place}", shown(*time));
        }
        Change::Turns(time) => log::warn!("the loop of {name} turns again after {}", shown(*time)),
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_does_not_end_is_reported_once_and_its_end_too() {
        let start = Instant::now();
        let mut seen = Seen { turn: Turn { number: 0, runs: false }, since: start, looks: 0 };
        let mut look = |number, runs, at| seen.look(Turn { number, runs }, start + LOOK * at);
        for at in 0..5 {
            assert_eq!(look(3, false, at), None, "it waits");
            assert_eq!(look(u64::from(at) + 4, true, at), None, "another turn each time");
        }
        assert_eq!(
            [5, 6, 7, 8].map(|at| look(9, true, at)),
            [None, None, Some(Change::Stalled(LOOK * 2)), None]
        );
        assert_eq!(look(9, false, 9), Some(Change::Turns(LOOK * 4)));
        assert_eq!(look(10, true, 10), None);
    }
}
