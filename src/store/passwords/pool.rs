//! Threads for work that takes long: as many as half of the cores, started when there is something to do for the first
//! time. Only so much work may wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread;

use super::super::lock;

type Work = Box<dyn FnOnce() + Send>;

/// Work that waits for a thread.
pub(super) const MOST_WAITING: usize = 64;

#[derive(Default)]
struct Pool {
    waiting: Mutex<VecDeque<Work>>,
    there_is_some: Condvar,
}

/// Runs this on one of the threads; false if too much waits already, or there can be no threads.
pub(super) fn run(work: Work) -> bool {
    static POOL: OnceLock<Option<&'static Pool>> = OnceLock::new();
    let Some(pool) = POOL.get_or_init(start) else { return false };
    let mut waiting = lock(&pool.waiting);
    if waiting.len() >= MOST_WAITING {
        return false;
    }
    waiting.push_back(work);
    pool.there_is_some.notify_one();
    true
}

fn start() -> Option<&'static Pool> {
    // As long as the process.
    let pool: &'static Pool = Box::leak(Box::default());
    let threads = (thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 8);
    let started = (0..threads).filter(|_| {
        let thread = thread::Builder::new().name("passwords".into());
        thread.spawn(|| pool.serve()).is_ok()
    });
    (started.count() > 0).then_some(pool)
}

impl Pool {
    fn serve(&self) {
        loop {
            let mut waiting = lock(&self.waiting);
            let work = loop {
                match waiting.pop_front() {
                    Some(work) => break work,
                    None => {
                        let woken = self.there_is_some.wait(waiting);
                        waiting = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
                    }
                }
            };
            drop(waiting);
            // The panic hook has said what and where; the thread goes on with the next.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}
